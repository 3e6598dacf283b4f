package budget

import (
	"slices"
	"time"

	"spillway/internal/guard"
)

const (
	// lookEvery is how often the watchdog looks, while somebody waits.
	lookEvery = 100 * time.Millisecond

	// slowAfter is how long a client may take for a part, or a buffer to fill, while
	// another upload waits for the room.
	slowAfter = 20 * time.Second

	// evictEvery is the shortest time between two evictions, however many wait: what
	// the first one frees may be enough for all.
	evictEvery = time.Second

	// slowBuffer is the smallest buffer that is taken from a slow client, in bytes.
	// Smaller ones of all uploads together are a thirty-second of the budget.
	slowBuffer = 64 << 10

	slowUpload = "an upload that arrives slowly while others wait for memory"
)

// watch starts the watchdog if somebody waits and it does not run. It runs until
// nobody waits. The caller holds b.mu.
func (b *Budget) watch() {
	if !b.watching && b.anybodyWaits() {
		b.watching = true
		time.AfterFunc(lookEvery, b.look)
	}
}

func (b *Budget) anybodyWaits() bool {
	return slices.ContainsFunc(b.queues[:], func(q queue) bool { return len(q.waiters) > 0 })
}

// look is one look of the watchdog: it ends waits that have been in vain, and takes
// room from the slowest client.
func (b *Budget) look() {
	b.mu.Lock()
	b.giveUp()
	evict := b.slowest()
	b.watching = false
	b.watch()
	b.mu.Unlock()
	if evict != nil {
		evict()
	}
}

// giveUp ends the calls that have waited in vain. The caller holds b.mu.
func (b *Budget) giveUp() {
	var progress [resources]time.Time
	for r := parts; r > floors; r-- {
		progress[r] = b.progress(r, &progress)
	}
	for r := range resources {
		q := &b.queues[r]
		q.waiters = slices.DeleteFunc(q.waiters, func(w *waiter) bool {
			if time.Since(later(w.since, progress[r])) < b.wait {
				return false
			}
			w.err = b.shortage(r, w.need)
			close(w.ready)
			return true
		})
	}
	b.serve()
}

// progress is when the resource r was last given back, or one of the uploads that
// have some made progress. later has that of the resources after r, which those
// uploads may wait for themselves. Nothing makes a wait for a floor longer. The
// caller holds b.mu.
func (b *Budget) progress(r resource, after *[resources]time.Time) time.Time {
	at := b.queues[r].returned
	for s := range b.shares {
		if s.has(r) {
			at = later(at, s.progress(r, after))
		}
	}
	return at
}

// has reports whether s has room that those who wait for r want. The caller holds
// Budget.mu.
func (s *Share) has(r resource) bool {
	if r == disk {
		return s.spilled > 0
	}
	return s.ticket
}

// progress is when the upload, which has some of r, last made progress: when its
// client last sent something, it last got room, or what it waits for itself was
// given back. Once the
// whole archive has arrived, the upload waits for its disk and the store only, whose
// operations end. The caller holds Budget.mu.
func (s *Share) progress(r resource, after *[resources]time.Time) time.Time {
	sent, done := s.pace.last()
	at := later(sent, s.granted)
	for waited := r; waited <= parts; waited++ {
		if slices.ContainsFunc(s.budget.queues[waited].waiters, func(w *waiter) bool { return w.share == s }) {
			return later(at, after[waited])
		}
	}
	if done {
		return time.Now()
	}
	return at
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// shortage is the error of an upload that gets no room, or loses what it has. The
// caller holds b.mu.
func (b *Budget) shortage(r resource, need int64) error {
	if r == disk {
		b.spill.refused++
		return b.spill.full(need)
	}
	return b.noRoom(shortages[r])
}

// A victim is what can be taken from a slow client.
type victim struct {
	share  *Share
	buffer *Buffer  // moves to the disk; nil: the upload ends
	r      resource // that is wanted
	need   int64
	slow   time.Duration
}

// slowest finds what to take from the slowest client, and returns how to take it: nil
// if nobody is slow, or nobody waits for it. The caller holds b.mu, and calls what
// is returned without it.
func (b *Budget) slowest() (evict func()) {
	if time.Since(b.evicted) < evictEvery {
		return nil
	}
	v := victim{slow: slowAfter}
	for s := range b.shares {
		b.considerBuffers(s, &v)
		for _, r := range []resource{tickets, disk} {
			if q := &b.queues[r]; s.has(r) && q.otherThan(s) {
				v.consider(victim{share: s, r: r, need: q.waiters[0].need, slow: s.pace.slow()})
			}
		}
	}
	if v.share == nil {
		return nil
	}
	b.evicted = time.Now()
	if v.buffer == nil {
		err := error(b.noRoom(slowUpload))
		if v.r == disk {
			err = b.shortage(disk, v.need)
		}
		return func() { v.share.end(err) }
	}
	v.buffer.filling = time.Time{} // it is moved once
	return func() { b.moveToDisk(v.buffer) }
}

func (v *victim) consider(other victim) {
	if other.slow >= v.slow {
		*v = other
	}
}

// considerBuffers considers the buffers of s, if somebody waits for memory. The caller
// holds b.mu.
func (b *Budget) considerBuffers(s *Share, v *victim) {
	if !b.memoryWanted() {
		return
	}
	for buffer := range s.buffers {
		if buffer.room >= slowBuffer && !buffer.filling.IsZero() {
			v.consider(victim{share: s, buffer: buffer, r: parts, slow: time.Since(buffer.filling)})
		}
	}
}

// moveToDisk moves the buffer of a slow client to the disk. If there is no room, its
// upload ends.
func (b *Budget) moveToDisk(buffer *Buffer) {
	err := guard.Do(buffer.toDisk)
	if err == nil {
		return
	}
	if _, ok := err.(*guard.PanicError); !ok { //nolint:errorlint // Do does not wrap it
		b.mu.Lock()
		err = b.noRoom(slowUpload)
		b.mu.Unlock()
	}
	buffer.share.end(err)
}
