// Package ziptest reads zip archives in tests, into a store that checks its calls.
package ziptest

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"spillway/stream"
	"spillway/stream/budget"
)

// Store is a [stream.Sink] in memory. It checks the Sink's contract: calls on one object are
// sequential, parts are full, only a Drop follows a Commit, and no call follows [Store.Close].
type Store struct {
	PartSize int

	// OnPart and OnCommit, if set, are called first. They may block.
	OnPart   func(ctx context.Context, o *Object) (wanted bool, err error)
	OnCommit func(ctx context.Context, o *Object) error

	// NeedsMD5, if set, is [stream.Object.NeedsMD5] of each object. Otherwise all need it.
	NeedsMD5 func(o *Object, held bool) bool

	Discard bool // drop bodies after counting their bytes

	// FindEntry, if set, is [stream.Sink.Find]. Otherwise all entries are absent.
	FindEntry func(e stream.Entry) (stream.Found, error)

	t testing.TB

	mu      sync.Mutex
	objects []*Object // in the order of their creation
	closed  bool
}

// Object is the object of one entry.
type Object struct {
	stream.Entry
	Body       []byte
	BodyLength int64 // of the body, even if that is discarded
	Parts      int
	Held       bool // the rest was a held buffer
	Unwanted   bool // Part reported false
	Facts      stream.Facts

	store     *Store
	busy      atomic.Bool // during a call
	committed bool
	skipped   bool
	dropped   bool
}

// NewStore returns an empty store for readings with budget m.
func NewStore(t testing.TB, m *budget.Budget) *Store {
	return &Store{t: t, PartSize: m.PartSize()}
}

// Create implements [stream.Sink].
func (s *Store) Create(e stream.Entry) stream.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.t.Errorf("Create(%q) after the reading returned", e.Name)
	}
	if e.Form == stream.Ignore {
		s.t.Errorf("Create(%q) for an ignored entry", e.Name)
	}
	o := &Object{Entry: e, store: s}
	s.objects = append(s.objects, o)
	return o
}

// Find implements [stream.Sink].
func (s *Store) Find(_ context.Context, e stream.Entry) (stream.Found, error) {
	if s.FindEntry == nil {
		return stream.Absent, nil
	}
	return s.FindEntry(e)
}

// Skip implements [stream.Sink].
func (s *Store) Skip(e stream.Entry) {
	o := s.Create(e).(*Object)
	s.mu.Lock()
	defer s.mu.Unlock()
	o.skipped = true
}

// Skipped returns the names of the entries that were skipped, in the order of their creation.
func (s *Store) Skipped() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.objects {
		if o.skipped && !o.dropped {
			names = append(names, o.Name)
		}
	}
	return names
}

// Close says that the reading has returned. All objects must have ended.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, o := range s.objects {
		if !o.committed && !o.dropped && !o.skipped {
			s.t.Errorf("object %q was neither committed nor dropped", o.Name)
		}
	}
}

// Kept returns the objects that would be published, in the order of their creation.
func (s *Store) Kept() []*Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.objects), func(o *Object) bool { return !o.committed || o.dropped })
}

// enter marks the start of a call on o, and end its end.
func (o *Object) enter(call string) (end func()) {
	if o.busy.Swap(true) {
		o.store.t.Errorf("%s of %q during another call", call, o.Name)
	}
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	if o.store.closed {
		o.store.t.Errorf("%s of %q after the reading returned", call, o.Name)
	}
	return func() { o.busy.Store(false) }
}

func (o *Object) add(b stream.Body) error {
	o.BodyLength += b.Size()
	if o.store.Discard {
		return nil
	}
	data, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	o.Body = append(o.Body, data...)
	return err
}

// NeedsMD5 implements [stream.Object].
func (o *Object) NeedsMD5(held bool) bool {
	return o.store.NeedsMD5 == nil || o.store.NeedsMD5(o, held)
}

// Part implements [stream.Object].
func (o *Object) Part(ctx context.Context, b stream.Body) (bool, error) {
	defer o.enter("Part")()
	defer b.Release()
	switch {
	case o.committed || o.dropped:
		o.store.t.Errorf("Part of %q, which has ended", o.Name)
	case o.Unwanted:
		o.store.t.Errorf("Part of %q, whose parts are not wanted", o.Name)
	case b.Size() != int64(o.store.PartSize):
		o.store.t.Errorf("Part of %q with %d bytes, want a full part of %d", o.Name, b.Size(), o.store.PartSize)
	}
	if o.store.OnPart != nil {
		if wanted, err := o.store.OnPart(ctx, o); err != nil || !wanted {
			o.Unwanted = true
			return false, err
		}
	}
	o.Parts++
	return true, o.add(b)
}

// Commit implements [stream.Object].
func (o *Object) Commit(ctx context.Context, rest stream.Body, facts stream.Facts) error {
	defer o.enter("Commit")()
	if rest != nil {
		defer rest.Release()
	}
	switch {
	case o.committed || o.dropped:
		o.store.t.Errorf("Commit of %q, which has ended", o.Name)
	case o.Unwanted != (rest == nil):
		o.store.t.Errorf("Commit of %q: parts unwanted %t, and rest nil %t", o.Name, o.Unwanted, rest == nil)
	case rest != nil && rest.Memory() > 0 && rest.Size() > int64(o.store.PartSize):
		o.store.t.Errorf("Commit of %q with %d bytes, more than a part", o.Name, rest.Size())
	case rest != nil && o.Parts > 0 && rest.Size() == 0:
		o.store.t.Errorf("Commit of %q with an empty last part", o.Name)
	}
	if o.store.OnCommit != nil {
		if err := o.store.OnCommit(ctx, o); err != nil {
			return err
		}
	}
	if rest != nil {
		o.Held = rest.Held()
		if err := o.add(rest); err != nil {
			return err
		}
	}
	o.Facts = facts
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	o.committed = true
	return nil
}

// Drop implements [stream.Sink].
func (s *Store) Drop(number int) {
	s.mu.Lock()
	o := s.objects[number]
	s.mu.Unlock()
	defer o.enter("Drop")()
	s.mu.Lock()
	defer s.mu.Unlock()
	o.dropped = true
}
