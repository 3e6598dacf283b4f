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

	mu      sync.Mutex
	kinds   map[name]*kind // with an event in the current interval
	sources int            // kinds that have a source
}

// name identifies a kind.
type name struct{ kind, source string }

// maxSources is how many kinds with a source are told apart in an interval.
const maxSources = 100

type kind struct {
	timer *time.Timer
	last  func(omitted int) // writes the latest event; nil if there is none
	count int               // of events since the last write
}

// New returns a Throttle. Callers bound the number of kinds: each has a timer while
// its events go on.
func New(interval time.Duration) *Throttle {
	return &Throttle{interval: interval, kinds: make(map[name]*kind)}
}

// Do calls write for an event of the named kind: at once, or at the end of the interval
// if it is then the latest event. omitted is the number of events that were not written
// since the last one. write must not call Do.
func (t *Throttle) Do(kindName string, write func(omitted int)) { t.DoFrom(kindName, "", write) }

// DoFrom is [Throttle.Do] for an event from one of many sources. Those of each source are a
// kind of their own, so that a source with many events does not hide the others. Beyond
// 100 sources, the further ones are one kind together.
func (t *Throttle) DoFrom(kindName, source string, write func(omitted int)) {
	if t == nil {
		write(0)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := name{kindName, source}
	if t.kinds[n] == nil && source != "" && t.sources == maxSources {
		n.source = ""
	}
	k := t.kinds[n]
	if k != nil {
		k.last = write
		k.count++
		return
	}
	write(0)
	k = &kind{}
	k.timer = time.AfterFunc(t.interval, func() { t.next(n, k) })
	t.kinds[n] = k
	if n.source != "" {
		t.sources++
	}
}

// next ends an interval of k.
func (t *Throttle) next(n name, k *kind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kinds[n] != k {
		return // flushed
	}
	if k.last == nil {
		t.forget(n)
		return
	}
	k.write()
	k.timer.Reset(t.interval)
}

// forget ends a kind.
func (t *Throttle) forget(n name) {
	delete(t.kinds, n)
	if n.source != "" {
		t.sources--
	}
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
	for n, k := range t.kinds {
		k.timer.Stop()
		k.write()
		t.forget(n)
	}
}
