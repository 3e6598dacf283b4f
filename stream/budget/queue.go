package budget

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A resource is a kind of room that uploads wait for. They take them in this order.
type resource int

const (
	floors  resource = iota // counted in uploads
	tickets                 // counted in uploads
	disk                    // in bytes of the quota of all uploads
	parts                   // in bytes of memory: leases, and the bytes of tickets

	resources
)

// shortages say what was short, to uploads that waited in vain. The disk has errors of
// its own.
var shortages = [resources]string{
	floors:  "every place for an upload is taken",
	tickets: "memory for a decoder, a long entry table, or an archive that has to be held",
	parts:   "memory for a part",
}

// A waiter is a call that waits for room. Its fields but ready are guarded by
// Budget.mu.
type waiter struct {
	ctx   context.Context // of the call
	share *Share          // nil for a floor
	need  int64
	since time.Time
	ready chan struct{} // closed once the room is the waiter's, or err is set
	err   error
}

// A queue is the calls that wait for one resource, and when some of it was last
// given back.
type queue struct {
	waiters  []*waiter // first come first served
	returned time.Time
}

// otherThan reports whether another upload than s waits.
func (q *queue) otherThan(s *Share) bool {
	return slices.ContainsFunc(q.waiters, func(w *waiter) bool { return w.share != s })
}

// acquire waits until the upload has need of r. share is nil for a floor. The error
// is the context's cause, or what the watchdog gives up with: a [*NoRoomError], for
// the disk a [*QuotaError].
func (b *Budget) acquire(ctx context.Context, r resource, share *Share, need int64) error {
	w := &waiter{ctx: ctx, share: share, need: need, since: time.Now(), ready: make(chan struct{})}
	b.mu.Lock()
	q := &b.queues[r]
	if r == floors && len(q.waiters) >= maxAdmitting {
		defer b.mu.Unlock()
		return b.noRoom(fmt.Sprintf("%s, and %d others wait for one", shortages[r], maxAdmitting))
	}
	q.waiters = append(q.waiters, w)
	b.serve()
	b.watch()
	b.mu.Unlock()
	select {
	case <-w.ready:
		return w.err
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(q.waiters, w); i >= 0 {
		q.waiters = slices.Delete(q.waiters, i, i+1)
		b.serve()
		return context.Cause(ctx)
	}
	return w.err // served just now
}

// serve gives free room to the waiters whose context has not ended. The caller holds b.mu.
func (b *Budget) serve() {
	for r := range resources {
		q := &b.queues[r]
		for len(q.waiters) > 0 {
			next := 0
			if r == parts {
				next = firstLease(q.waiters)
			}
			w := q.waiters[next]
			ended := context.Cause(w.ctx) // it leaves the queue in a moment
			if ended == nil && !b.fits(r, w.need) {
				break
			}
			q.waiters = slices.Delete(q.waiters, next, next+1)
			if w.err = ended; ended == nil {
				b.grant(r, w)
			}
			close(w.ready)
		}
	}
	if b.memoryWanted() {
		b.askBack()
	}
}

// firstLease is the first waiter whose upload has no lease yet, or else the first of
// all: nobody gets a second part before everybody has a first one.
func firstLease(waiters []*waiter) int {
	return max(0, slices.IndexFunc(waiters, func(w *waiter) bool { return w.share.leases == 0 }))
}

// fits reports whether there is room. A ticket needs its bytes as well; while it
// waits for them, nobody leases any. The caller holds b.mu.
func (b *Budget) fits(r resource, need int64) bool {
	switch r {
	case tickets:
		return b.free[tickets] >= need && b.free[parts] >= b.ticketSize
	case parts:
		if len(b.queues[tickets].waiters) > 0 && b.free[tickets] > 0 {
			return false
		}
	}
	return b.free[r] >= need
}

// grant takes the room of a waiter. The caller holds b.mu and knows that it fits.
func (b *Budget) grant(r resource, w *waiter) {
	b.free[r] -= w.need
	if w.share != nil {
		w.share.granted = time.Now()
	}
	switch r {
	case tickets:
		w.share.ticket = true
		b.lease(w.share, b.ticketSize)
	case disk:
		w.share.spill(w.need)
	case parts:
		w.share.leases++
		w.share.leased += w.need
		w.share.note()
		b.trim()
	}
}

// lease takes n bytes of memory that are free. The caller holds b.mu.
func (b *Budget) lease(s *Share, n int64) {
	b.free[parts] -= n
	s.leased += n
	s.note()
	b.trim()
}

// giveBack returns n of a resource and serves those who wait. The caller holds b.mu.
func (b *Budget) giveBack(r resource, n int64) {
	b.free[r] += n
	if n > 0 {
		b.queues[r].returned = time.Now()
	}
	b.serve()
}

// unlease returns n bytes of memory that s had leased. The caller holds b.mu.
func (b *Budget) unlease(s *Share, n int64) {
	s.leased -= n
	b.giveBack(parts, n)
}

// memoryWanted reports whether an upload that has a floor waits for memory. The
// caller holds b.mu.
func (b *Budget) memoryWanted() bool {
	return len(b.queues[parts].waiters) > 0 || len(b.queues[tickets].waiters) > 0 && b.free[tickets] > 0
}

// askBack tells those who hold buffers that somebody waits. The caller holds b.mu.
func (b *Budget) askBack() {
	for s := range b.shares {
		if s.held > 0 {
			select {
			case s.wanted <- struct{}{}:
			default:
			}
		}
	}
}
