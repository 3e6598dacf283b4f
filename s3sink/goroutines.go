package s3sink

// goroutines run functions in goroutines that are used again until end is called. The
// calls of the SDK are deep: a new goroutine's stack would grow, and be copied, several
// times for each request.
type goroutines struct {
	waiting chan func()
	ended   chan struct{}
}

func newGoroutines() *goroutines { return &goroutines{make(chan func()), make(chan struct{})} }

// run calls f in a goroutine.
func (g *goroutines) run(f func()) {
	select {
	case g.waiting <- f:
	default:
		go g.loop(f)
	}
}

func (g *goroutines) loop(f func()) {
	for {
		f()
		select {
		case f = <-g.waiting:
		case <-g.ended:
			return
		}
	}
}

// end ends each goroutine once it has nothing to run. It is called once.
func (g *goroutines) end() { close(g.ended) }
