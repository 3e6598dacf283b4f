package budget

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// quantum is how long a goroutine decodes before it yields to another one that waits.
const quantum = 5 * time.Millisecond

// slots are shared out among the owners of uploads. While there are too few, owners
// get one in turn, however many of their calls wait. So the many uploads of one owner
// do not delay the single upload of another. Calls of one owner are served first come
// first served.
type slots struct {
	most    int          // slots for one owner
	waiting atomic.Int64 // calls

	mu     sync.Mutex // guards all below
	free   int
	owners map[string]*slotOwner // those that have slots or wait for one
	turns  []*slotOwner          // those that wait, the next first
}

// slotOwner is what one owner has of slots.
type slotOwner struct {
	name  string
	slots int
	calls []chan struct{} // that wait; each is closed under slots.mu when it gets a slot
}

// newSlots makes n slots. One owner gets at most most of them.
func newSlots(n, most int) *slots {
	return &slots{free: n, most: most, owners: make(map[string]*slotOwner)}
}

// enter waits for a slot. The error is the context's cause.
func (s *slots) enter(ctx context.Context, owner string) error {
	s.mu.Lock()
	o := s.owners[owner]
	if o == nil {
		o = &slotOwner{name: owner}
		s.owners[owner] = o
	}
	if s.free > 0 && o.slots < s.most && len(o.calls) == 0 {
		// Owners that wait have all that one owner gets.
		s.free--
		o.slots++
		s.mu.Unlock()
		return nil
	}
	ready := make(chan struct{})
	if len(o.calls) == 0 {
		s.turns = append(s.turns, o)
	}
	o.calls = append(o.calls, ready)
	s.waiting.Add(1)
	s.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(o.calls, ready); i >= 0 {
		o.calls = slices.Delete(o.calls, i, i+1)
		s.waiting.Add(-1)
		if len(o.calls) == 0 {
			s.turns = slices.DeleteFunc(s.turns, func(other *slotOwner) bool { return other == o })
		}
		s.forget(o)
	} else {
		s.giveBack(o) // it was served just now
	}
	return context.Cause(ctx)
}

// leave returns a slot.
func (s *slots) leave(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveBack(s.owners[owner])
}

// giveBack returns a slot of o and serves those who wait. The caller holds s.mu.
func (s *slots) giveBack(o *slotOwner) {
	o.slots--
	s.free++
	for s.free > 0 {
		next := slices.IndexFunc(s.turns, func(o *slotOwner) bool { return o.slots < s.most })
		if next < 0 {
			break
		}
		o := s.turns[next]
		s.turns = slices.Delete(s.turns, next, next+1)
		close(o.calls[0])
		o.calls = o.calls[1:]
		s.waiting.Add(-1)
		s.free--
		o.slots++
		if len(o.calls) > 0 {
			s.turns = append(s.turns, o)
		}
	}
	s.forget(o)
}

// forget drops an owner that has no slot and waits for none. The caller holds s.mu.
func (s *slots) forget(o *slotOwner) {
	if o.slots == 0 && len(o.calls) == 0 {
		delete(s.owners, o.name)
	}
}

// Verifier waits for a place among the entries that are verified beside the ones
// being read. Whoever gets one calls done. The error is the context's cause.
func (s *Share) Verifier(ctx context.Context) (done func(), err error) {
	if err := s.budget.verifiers.enter(ctx, s.owner); err != nil {
		return nil, err
	}
	return func() { s.budget.verifiers.leave(s.owner) }, nil
}

// A Turn is one goroutine's use of a processor. It has a slot while it decodes, and
// none while it waits for anything else. A nil Turn needs no slot. It belongs to
// that goroutine.
type Turn struct {
	slots  *slots
	ctx    context.Context // of the upload, which the turn is a part of
	owner  string
	within bool      // it has a slot
	since  time.Time // when it got it
	waited time.Duration
}

// NewTurn returns the turn of a goroutine that works for the upload.
func (s *Share) NewTurn(ctx context.Context) *Turn {
	return &Turn{slots: s.budget.processors, ctx: ctx, owner: s.owner}
}

// Waited is how long the goroutine has waited for a processor.
func (t *Turn) Waited() time.Duration { return t.waited }

// Begin waits for a slot. The error is the context's cause.
func (t *Turn) Begin() error {
	began := time.Now()
	if err := t.slots.enter(t.ctx, t.owner); err != nil {
		return err
	}
	t.within, t.since = true, time.Now()
	t.waited += t.since.Sub(began)
	return nil
}

// End gives the slot back, if there is one.
func (t *Turn) End() {
	if t != nil && t.within {
		t.within = false
		t.slots.leave(t.owner)
	}
}

// Contended reports whether others wait for a slot.
func (t *Turn) Contended() bool { return t != nil && t.slots.waiting.Load() > 0 }

// Yield lets others have their turn, if they wait and this one has been long. The
// error is the context's cause.
func (t *Turn) Yield() error {
	if t == nil {
		return nil
	}
	if !t.within { // the context has ended meanwhile
		return t.Begin()
	}
	if !t.Contended() || time.Since(t.since) < quantum {
		return nil
	}
	t.End()
	return t.Begin()
}

// Pause gives the slot back, if there is one, while the goroutine waits for
// something. resume waits for another one, unless the context has ended, which the
// next Yield reports.
func (t *Turn) Pause() (resume func()) {
	if t == nil || !t.within {
		return func() {}
	}
	t.End()
	return func() { _ = t.Begin() }
}
