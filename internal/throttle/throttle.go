// Package throttle keeps repeated events from filling the log.
package throttle

import (
	"sync"
	"time"
)

// A Throttle writes the first event of a kind at once. After that it writes the latest
// one at the end of each interval, if there was any, with the number of omitted ones. A
// nil Throttle writes all events.
type Throttle struct {
	interval time.Duration

	mu    sync.Mutex
	kinds map[string]*kind // with an event in the current interval
}

type kind struct {
	timer *time.Timer
	last  func(omitted int) // writes the latest event; nil if there is none
	count int               // of events since the last write
}

// New returns a Throttle. Callers bound the number of kinds: each has a timer while
// its events go on.
func New(interval time.Duration) *Throttle {
	return &Throttle{interval: interval, kinds: make(map[string]*kind)}
}

// Do calls write for an event of the named kind: at once, or at the end of the interval
// if it is then the latest event. omitted is the number of events that were not written
// since the last one. write must not call Do.
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

// next ends an interval of k.
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

// Flush writes all events that wait for the end of an interval.
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
