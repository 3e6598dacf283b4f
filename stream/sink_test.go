package stream_test

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spillway/stream"
)

// store is a [stream.Sink] in memory that holds whoever calls it to the Sink's
// contract: calls of one object come in turn, parts are full, nothing follows
// an object's end but a Drop, and nothing at all comes after [store.close].
type store struct {
	t        testing.TB
	partSize int

	// onPart and onCommit, if set, are asked first. They run on the caller's
	// goroutine and may block.
	onPart   func(ctx context.Context, o *object) (wanted bool, err error)
	onCommit func(ctx context.Context, o *object) error

	discard bool // bodies are counted and not kept

	mu      sync.Mutex
	objects []*object // in the order of their creation
	closed  bool      // the reading has returned
}

// object is what came of one entry.
type object struct {
	stream.Entry
	store *store
	busy  atomic.Bool // a call is under way

	body      []byte
	length    int64 // of the body, also when it is discarded
	parts     int
	held      bool // rest came in a held buffer
	unwanted  bool // Part reported false
	facts     stream.Facts
	committed bool
	dropped   bool
}

func newStore(t testing.TB, m *stream.Memory) *store {
	return &store{t: t, partSize: m.PartSize()}
}

func (s *store) Create(e stream.Entry) stream.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.t.Errorf("Create(%q) after the reading returned", e.Name)
	}
	if e.Form == stream.Ignore {
		s.t.Errorf("Create(%q) of an entry that is ignored", e.Name)
	}
	o := &object{Entry: e, store: s}
	s.objects = append(s.objects, o)
	return o
}

// close says that the reading has returned: all objects must have ended.
func (s *store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, o := range s.objects {
		if !o.committed && !o.dropped {
			s.t.Errorf("object %q was neither committed nor dropped", o.Name)
		}
	}
}

// kept is the objects that would be published, in the order of their creation.
func (s *store) kept() []*object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.objects), func(o *object) bool { return !o.committed || o.dropped })
}

// enter begins a call of o, which end ends.
func (o *object) enter(call string) (end func()) {
	if o.busy.Swap(true) {
		o.store.t.Errorf("%s of %q while another call is under way", call, o.Name)
	}
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	if o.store.closed {
		o.store.t.Errorf("%s of %q after the reading returned", call, o.Name)
	}
	return func() { o.busy.Store(false) }
}

func (o *object) add(b stream.Body) error {
	o.length += b.Size()
	if o.store.discard {
		return nil
	}
	data, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	o.body = append(o.body, data...)
	return err
}

// bytesOf is what b has.
func bytesOf(t testing.TB, b stream.Body) []byte {
	t.Helper()
	data := make([]byte, b.Size())
	if n, err := b.ReadAt(data, 0); n < len(data) {
		t.Errorf("read %d of a body's %d bytes: %v", n, len(data), err)
	}
	return data
}

func (o *object) Part(ctx context.Context, b stream.Body) (bool, error) {
	defer o.enter("Part")()
	defer b.Release()
	switch {
	case o.committed || o.dropped:
		o.store.t.Errorf("Part of %q, which has ended", o.Name)
	case o.unwanted:
		o.store.t.Errorf("Part of %q, whose parts are not wanted", o.Name)
	case b.Size() != int64(o.store.partSize):
		o.store.t.Errorf("Part of %q with %d bytes, want a full part of %d", o.Name, b.Size(), o.store.partSize)
	}
	if o.store.onPart != nil {
		if wanted, err := o.store.onPart(ctx, o); err != nil || !wanted {
			o.unwanted = true
			return false, err
		}
	}
	o.parts++
	return true, o.add(b)
}

func (o *object) Commit(ctx context.Context, rest stream.Body, facts stream.Facts) error {
	defer o.enter("Commit")()
	if rest != nil {
		defer rest.Release()
	}
	switch {
	case o.committed || o.dropped:
		o.store.t.Errorf("Commit of %q, which has ended", o.Name)
	case o.unwanted != (rest == nil):
		o.store.t.Errorf("Commit of %q: parts unwanted %t, and rest nil %t", o.Name, o.unwanted, rest == nil)
	case rest != nil && rest.Memory() > 0 && rest.Size() > int64(o.store.partSize):
		o.store.t.Errorf("Commit of %q with %d bytes, more than a part", o.Name, rest.Size())
	case rest != nil && o.parts > 0 && rest.Size() == 0:
		o.store.t.Errorf("Commit of %q with an empty last part", o.Name)
	}
	if o.store.onCommit != nil {
		if err := o.store.onCommit(ctx, o); err != nil {
			return err
		}
	}
	if rest != nil {
		o.held = rest.Held()
		if err := o.add(rest); err != nil {
			return err
		}
	}
	o.facts = facts
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	o.committed = true
	return nil
}

func (o *object) Drop() {
	defer o.enter("Drop")()
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	o.dropped = true
}

// reading is one call of [stream.ReadZip] and what it takes. The zero value of
// each field but data stands for an ordinary one.
type reading struct {
	data   []byte
	source io.Reader // instead of data
	ctx    context.Context
	memory *stream.Memory
	rules  *stream.Rules
	store  *store
	shared bool // memory is used by others as well
}

// ordinary takes any name.
var ordinary = stream.Rules{Form: formByName, MaxEntries: 1000, MaxExpanded: 1 << 30}

// formByName tells the forms apart as a symbol server does.
func formByName(name string) (stream.Form, error) {
	switch {
	case strings.HasSuffix(name, ".sym"):
		return stream.Gzip, nil
	case strings.HasSuffix(name, "-symbols.txt"):
		return stream.Ignore, nil
	}
	return stream.AsIs, nil
}

// newMemory is a budget of four uploads with parts of 5 MiB, the smallest.
func newMemory(t testing.TB) *stream.Memory {
	t.Helper()
	m, err := stream.NewMemory(64<<20, 5<<20, 4, time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// do reads the archive and checks what holds for every reading, whatever its
// outcome: the objects have ended, the budget is whole, there is a report.
func (r reading) do(t testing.TB) (*store, *stream.Report, error) {
	t.Helper()
	if r.source == nil {
		r.source = bytes.NewReader(r.data)
	}
	if r.memory == nil {
		r.memory = newMemory(t)
	}
	if r.rules == nil {
		r.rules = &ordinary
	}
	if r.store == nil {
		r.store = newStore(t, r.memory)
	}
	if r.ctx == nil {
		r.ctx = t.Context()
	}
	ctx, share, err := r.memory.Admit(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	report, err := stream.ReadZip(ctx, r.source, share, r.store, *r.rules)
	r.store.close()
	if report == nil {
		t.Fatal("no report")
	}
	share.Close() // panics if anything of it is still out
	if u := r.memory.Usage(); !r.shared && u != (stream.Usage{Total: u.Total}) {
		t.Errorf("the budget after the reading: %+v", u)
	}
	return r.store, report, err
}
