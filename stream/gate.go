package stream

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// quantum is how long a goroutine decodes before it lets another one that waits
// have its turn.
const quantum = 5 * time.Millisecond

// gate shares slots out among the owners of uploads. While there are too few, each
// owner gets one in turn, however many of its calls wait: the many uploads of one
// owner do not keep the single one of another waiting. Calls of one owner are
// served first come first served.
type gate struct {
	most    int          // slots that one owner may have
	waiting atomic.Int64 // calls

	mu     sync.Mutex // guards what follows
	free   int
	owners map[string]*gateOwner // those that have slots or wait for them
	turns  []*gateOwner          // those that wait, the next first
}

// gateOwner is an owner's part of a gate.
type gateOwner struct {
	name  string
	slots int             // that it has
	calls []chan struct{} // that wait; each is closed, under gate.mu, when it has a slot
}

// newGate makes a gate of so many slots, of which one owner may have most.
func newGate(slots, most int) *gate {
	return &gate{free: slots, most: most, owners: make(map[string]*gateOwner)}
}

// enter waits for a slot. The error is the context's cause.
func (g *gate) enter(ctx context.Context, owner string) error {
	g.mu.Lock()
	o := g.owners[owner]
	if o == nil {
		o = &gateOwner{name: owner}
		g.owners[owner] = o
	}
	if g.free > 0 && o.slots < g.most && len(o.calls) == 0 {
		// Whoever waits has as many as it may.
		g.free--
		o.slots++
		g.mu.Unlock()
		return nil
	}
	ready := make(chan struct{})
	if len(o.calls) == 0 {
		g.turns = append(g.turns, o)
	}
	o.calls = append(o.calls, ready)
	g.waiting.Add(1)
	g.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(o.calls, ready); i >= 0 {
		o.calls = slices.Delete(o.calls, i, i+1)
		g.waiting.Add(-1)
		if len(o.calls) == 0 {
			g.turns = slices.DeleteFunc(g.turns, func(other *gateOwner) bool { return other == o })
		}
		g.forget(o)
	} else {
		g.giveBack(o) // it was served just now
	}
	return context.Cause(ctx)
}

// leave gives a slot back.
func (g *gate) leave(owner string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.giveBack(g.owners[owner])
}

// giveBack takes a slot back from o and serves those who wait. The caller holds
// g.mu.
func (g *gate) giveBack(o *gateOwner) {
	o.slots--
	g.free++
	for g.free > 0 {
		next := slices.IndexFunc(g.turns, func(o *gateOwner) bool { return o.slots < g.most })
		if next < 0 {
			break
		}
		o := g.turns[next]
		g.turns = slices.Delete(g.turns, next, next+1)
		close(o.calls[0])
		o.calls = o.calls[1:]
		g.waiting.Add(-1)
		g.free--
		o.slots++
		if len(o.calls) > 0 {
			g.turns = append(g.turns, o)
		}
	}
	g.forget(o)
}

// forget drops an owner that has nothing and waits for nothing. The caller holds
// g.mu.
func (g *gate) forget(o *gateOwner) {
	if o.slots == 0 && len(o.calls) == 0 {
		delete(g.owners, o.name)
	}
}

// A turn is one goroutine's place at the gate of the processors. It has a slot
// while it decodes, and none while it waits for anything else. A nil turn needs no
// slot.
type turn struct {
	gate   *gate
	ctx    context.Context // of the upload, which the turn is a part of
	owner  string
	within bool      // it has a slot
	since  time.Time // when it got it
	waited time.Duration
}

func (s *Share) newTurn(ctx context.Context) *turn {
	return &turn{gate: s.m.processors, ctx: ctx, owner: s.owner}
}

// begin waits for a slot. The error is the context's cause.
func (t *turn) begin() error {
	begun := time.Now()
	if err := t.gate.enter(t.ctx, t.owner); err != nil {
		return err
	}
	t.within, t.since = true, time.Now()
	t.waited += t.since.Sub(begun)
	return nil
}

// end gives the slot back, if there is one.
func (t *turn) end() {
	if t != nil && t.within {
		t.within = false
		t.gate.leave(t.owner)
	}
}

// contended reports whether others wait for a slot.
func (t *turn) contended() bool { return t != nil && t.gate.waiting.Load() > 0 }

// yield lets others have their turn, if they wait and this one has been long. The
// error is the context's cause.
func (t *turn) yield() error {
	if t == nil {
		return nil
	}
	if !t.within { // the context has ended meanwhile
		return t.begin()
	}
	if !t.contended() || time.Since(t.since) < quantum {
		return nil
	}
	t.end()
	return t.begin()
}

// pause gives the slot back, if there is one, while the goroutine waits for
// something. resume waits for another one, unless the context has ended, which
// the next yield reports.
func (t *turn) pause() (resume func()) {
	if t == nil || !t.within {
		return func() {}
	}
	t.end()
	return func() { _ = t.begin() }
}

// pausing is a reader that may have to wait.
type pausing struct {
	io.Reader
	turn *turn
}

// Read implements [io.Reader].
func (p pausing) Read(b []byte) (int, error) {
	defer p.turn.pause()()
	return p.Reader.Read(b)
}
