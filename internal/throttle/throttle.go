// Package throttle keeps what happens over and over from filling a log.
package throttle

import (
	"sync"
	"time"
)

// A Throttle writes the first event of a kind at once, and then one at the end of
// each interval in which there were more. It counts those that it leaves out, so
// that none goes unmentioned. A nil Throttle writes all.
type Throttle struct {
	interval time.Duration

	mu    sync.Mutex
	kinds map[string]*kind // those with an event in the interval
}

type kind struct {
	timer *time.Timer
	last  func(omitted int) // the event to write next; nil if there is none
	count int               // of those since the one that was written
}

// New returns a Throttle. The number of kinds is up to its callers: each has a
// timer as long as its events go on.
func New(interval time.Duration) *Throttle {
	return &Throttle{interval: interval, kinds: make(map[string]*kind)}
}

// Do has write called for an event of that kind: now, or, for the latest event
// in an interval, at its end. omitted is how many events were left out since the
// last one that was written. write must not call Do.
func (t *Throttle) Do(name string, write func(omitted int)) {
	if t == nil {
		write(0)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.kinds[name]
	if k != nil {
		k.last = write
		k.count++
		return
	}
	write(0)
	k = &kind{}
	k.timer = time.AfterFunc(t.interval, func() { t.next(name, k) })
	t.kinds[name] = k
}

// next ends an interval.
func (t *Throttle) next(name string, k *kind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kinds[name] != k {
		return // flushed
	}
	if k.last == nil {
		delete(t.kinds, name)
		return
	}
	k.write()
	k.timer.Reset(t.interval)
}

func (k *kind) write() {
	if k.last != nil {
		k.last(k.count - 1)
		k.last, k.count = nil, 0
	}
}

// Flush writes what waits for the end of its interval.
func (t *Throttle) Flush() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, k := range t.kinds {
		k.timer.Stop()
		k.write()
		delete(t.kinds, name)
	}
}
