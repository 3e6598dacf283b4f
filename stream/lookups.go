package stream

import (
	"context"
	"sync"
	"sync/atomic"

	"spillway/internal/account"
	"spillway/internal/guard"
)

// maxLookups is how many entries of an archive are looked up at once.
const maxLookups = maxWorkers

// Lookups look the entries of an archive up in the store, in order, while its reader goes on.
type Lookups struct {
	p     *Pipeline
	entry func(i int) Header
	next  atomic.Int64 // the entry that is looked up next
	work  sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	found  []Found
	known  []bool
	wanted int           // the entry that the reader waits for
	wake   chan struct{} // closed once it is known; nil if the reader does not wait
}

// LookUp looks n entries up in the store, in the background. entry returns one of them, whose
// size and CRC-32 are stated. Goroutines call it until all entries are known. It is called at
// most once.
func (p *Pipeline) LookUp(n int, entry func(i int) Header) *Lookups {
	l := &Lookups{p: p, entry: entry, found: make([]Found, n), known: make([]bool, n)}
	p.lookups = l
	for range min(n, maxLookups) {
		l.work.Go(func() {
			for i := l.take(); i < n && p.ctx.Err() == nil; i = l.take() {
				if err := guard.Do(func() error { return l.lookUp(i) }); err != nil {
					p.end(err)
				}
			}
		})
	}
	return l
}

// take returns the number of the next entry.
func (l *Lookups) take() int { return int(l.next.Add(1)) - 1 }

func (l *Lookups) lookUp(i int) error {
	h := l.entry(i)
	found, err := l.p.sink.Find(l.p.ctx, Entry{Name: h.Name, Form: h.Form, Stated: true, Size: h.Size, CRC32: h.CRC32})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found[i], l.known[i] = found, true
	if l.wake != nil && l.wanted == i {
		close(l.wake)
		l.wake = nil
	}
	return nil
}

// Known reports whether Wait returns at once.
func (l *Lookups) Known(i int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known[i]
}

// Wait waits until an entry is known. The error is the cause of the upload's end.
func (l *Lookups) Wait(i int) (Found, error) {
	l.mu.Lock()
	if !l.known[i] {
		wake := make(chan struct{})
		l.wanted, l.wake = i, wake
		l.mu.Unlock()
		done := l.p.share.Account().During(account.OnStore)
		select {
		case <-wake:
		case <-l.p.ctx.Done():
		}
		done()
		l.mu.Lock()
	}
	defer l.mu.Unlock()
	if !l.known[i] {
		return Undecided, context.Cause(l.p.ctx)
	}
	return l.found[i], nil
}

// stop waits for the lookups under way, and begins no others. l may be nil.
func (l *Lookups) stop() {
	if l == nil {
		return
	}
	l.next.Add(int64(len(l.known)))
	defer l.p.share.Account().During(account.OnStore)()
	l.work.Wait()
}

// Skip passes over an entry that the store has, or that is not stored in any case, without
// reading it. The window's cursor is behind it. It has n bytes, with its header. For the limits
// on decoding, these have not arrived.
func (p *Pipeline) Skip(h *Header, n int64) error {
	p.passed.Add(n)
	if h.Directory {
		return nil
	}
	p.rules.Progress.count(h, h.Size)
	p.rules.Progress.note(func(r *Report) { r.Unread++ })
	if h.Form != Ignore {
		if err := p.rules.Symbols.reserve(p, 0); err != nil {
			return err
		}
		p.rules.Symbols.skip()
		p.sink.Skip(Entry{Name: h.Name, Form: h.Form, Stated: true, Size: h.Size, CRC32: h.CRC32})
		p.number(h)
	}
	return nil
}
