package s3sink

import "sync/atomic"

// maxIdle is how many goroutines of a batch wait for something to run. Each keeps the stack of
// the deepest call that it has made.
const maxIdle = 16

// goroutines run functions in goroutines that are used again until end is called. The
// calls of the SDK are deep: a new goroutine's stack would grow, and be copied, several
// times for each request.
type goroutines struct {
	waiting chan func()
	idle    atomic.Int64 // goroutines that receive from waiting, or are about to
	ended   chan struct{}
}

func newGoroutines() *goroutines {
	return &goroutines{waiting: make(chan func()), ended: make(chan struct{})}
}

// run calls f in a goroutine.
func (g *goroutines) run(f func()) {
	select {
	case g.waiting <- f:
	default:
		go g.loop(f)
	}
}

func (g *goroutines) loop(f func()) {
	for f != nil {
		f()
		f = g.next()
	}
}

// next waits for the next function. It returns nil if the goroutine is not needed any more.
func (g *goroutines) next() func() {
	defer g.idle.Add(-1)
	if g.idle.Add(1) > maxIdle {
		return nil
	}
	select {
	case f := <-g.waiting:
		return f
	case <-g.ended:
		return nil
	}
}

// end ends each goroutine once it has nothing to run. It is called once.
func (g *goroutines) end() { close(g.ended) }
