package upload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"

	"spillway/stream"
	"spillway/stream/budget"
)

// errStore is the error of a memoryStore that fails.
var errStore = &stream.StoreError{Op: "UploadPart", Key: "k", Err: errors.New("10.0.0.7 said no")}

// memoryStore is a Store in memory that checks that callers keep the Store's contract.
type memoryStore struct {
	t testing.TB

	// Each hook, if set, runs before the call that it is named after.
	onBegin   func(fail func(error))
	onFind    func() error
	onCommit  func(ctx context.Context, name string) error
	onPublish func() error
	onAbort   func() error

	// receipts is the prefix of receipts; onReceipt, if set, runs before one is written.
	receipts  string
	onReceipt func() error

	// visible is how many objects Publish makes visible before it fails; 0: it does not
	// fail.
	visible int

	mu      sync.Mutex
	objects map[string][]byte       // visible objects, by key
	stated  map[string]stream.Entry // what the archives stated of them
	batches []*memoryBatch
}

func newMemoryStore(t testing.TB) *memoryStore {
	return &memoryStore{t: t, objects: make(map[string][]byte), stated: make(map[string]stream.Entry)}
}

func (s *memoryStore) Begin(ctx context.Context, fail func(error), _ *budget.Share, try bool) Batch {
	b := &memoryBatch{store: s, try: try, ctx: ctx, fail: fail}
	s.mu.Lock()
	s.batches = append(s.batches, b)
	s.mu.Unlock()
	if s.onBegin != nil {
		s.onBegin(fail)
	}
	return b
}

func (s *memoryStore) Bucket(try bool) string {
	if try {
		return "symbols-try"
	}
	return "symbols"
}

func (s *memoryStore) MaxName() int     { return 1021 }
func (s *memoryStore) Receipts() string { return s.receipts }

func (s *memoryStore) Prefix(try bool) string {
	if try {
		return "try/v1/"
	}
	return "v1/"
}

// keys returns the visible keys.
func (s *memoryStore) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.objects))
}

// size is how long the bodies of what is visible are, in bytes.
func (s *memoryStore) size() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, body := range s.objects {
		n += int64(len(body))
	}
	return n
}

// begun returns the number of batches.
func (s *memoryStore) begun() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.batches)
}

// check reports how the contract was violated.
func (s *memoryStore) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, b := range s.batches {
		b.mu.Lock()
		if !b.ended {
			s.t.Errorf("batch %d was neither published nor aborted", i)
		}
		for _, o := range b.objects {
			if !o.committed && !o.dropped && !o.skipped {
				s.t.Errorf("batch %d: object %q was neither committed nor dropped", i, o.Name)
			}
		}
		b.mu.Unlock()
	}
}

type memoryBatch struct {
	store *memoryStore
	try   bool
	ctx   context.Context // the upload's
	fail  func(error)     // ends ctx

	mu        sync.Mutex
	objects   []*memoryObject
	published bool
	ended     bool
	uploaded  []string
	skipped   []string
	sent      int64
}

type memoryObject struct {
	stream.Entry
	batch              *memoryBatch
	body               bytes.Buffer
	facts              stream.Facts
	committed, dropped bool
	skipped            bool // by Skip or by Publish
	replaced           bool // set by Publish
}

func (b *memoryBatch) Create(e stream.Entry) stream.Object {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended || b.published {
		b.store.t.Errorf("Create(%q) after the batch's end", e.Name)
	}
	o := &memoryObject{Entry: e, batch: b}
	b.objects = append(b.objects, o)
	return o
}

func (b *memoryBatch) key(name string) string { return b.store.Prefix(b.try) + name }

// Find finds objects by their size and CRC-32.
func (b *memoryBatch) Find(_ context.Context, e stream.Entry) (stream.Found, error) {
	if b.store.onFind != nil {
		if err := b.store.onFind(); err != nil {
			return stream.Undecided, err
		}
	}
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	if there := b.store.stated[b.key(e.Name)]; there.Stated && there.Size == e.Size && there.CRC32 == e.CRC32 {
		return stream.Present, nil
	}
	return stream.Absent, nil
}

func (b *memoryBatch) Skip(e stream.Entry) {
	o := b.Create(e).(*memoryObject)
	b.mu.Lock()
	defer b.mu.Unlock()
	o.skipped = true
}

func (o *memoryObject) NeedsMD5(bool) bool { return false }

func (o *memoryObject) Part(_ context.Context, buf stream.Body) (bool, error) {
	defer buf.Release()
	return true, o.add(buf)
}

func (o *memoryObject) add(b stream.Body) error {
	_, err := io.Copy(&o.body, io.NewSectionReader(b, 0, b.Size()))
	return err
}

func (o *memoryObject) Commit(ctx context.Context, rest stream.Body, facts stream.Facts) error {
	defer rest.Release()
	if hook := o.batch.store.onCommit; hook != nil {
		if err := hook(ctx, o.Name); err != nil {
			return err
		}
	}
	if err := o.add(rest); err != nil {
		return err
	}
	o.batch.mu.Lock()
	defer o.batch.mu.Unlock()
	o.committed, o.facts = true, facts
	return nil
}

func (b *memoryBatch) Drop(number int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects[number].dropped = true
}

// Publish makes objects visible under the keys that the real store would use. It skips
// those that are there already with the same body.
func (b *memoryBatch) Publish() error {
	if b.store.onPublish != nil {
		if err := b.store.onPublish(); err != nil {
			return err
		}
	}
	if b.ctx.Err() != nil {
		return fmt.Errorf("the upload ended while it was published: %w", context.Cause(b.ctx))
	}
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.published || b.ended {
		b.store.t.Error("Publish after the batch's end")
	}
	b.published = true
	for _, o := range b.objects {
		if o.skipped && !o.dropped {
			b.skipped = append(b.skipped, o.Name)
		}
		if !o.committed || o.dropped {
			continue
		}
		key := b.key(o.Name)
		old, there := b.store.objects[key]
		if o.skipped = there && bytes.Equal(old, o.body.Bytes()); o.skipped {
			b.skipped = append(b.skipped, o.Name)
			continue
		}
		o.replaced = there
		b.store.objects[key], b.store.stated[key] = o.body.Bytes(), o.Entry
		b.uploaded = append(b.uploaded, o.Name)
		b.sent += int64(o.body.Len())
		if len(b.uploaded) == b.store.visible {
			return errStore
		}
	}
	b.ended = true
	return nil
}

func (b *memoryBatch) Abort() (err error) {
	if b.store.onAbort != nil {
		err = b.store.onAbort()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		b.store.t.Error("Abort after the batch's end")
	}
	b.ended = true
	b.fail(errors.New("aborted"))
	return err
}

func (b *memoryBatch) Len() int { return len(b.objects) }

func (b *memoryBatch) Result(number int) (stream.Result, bool) {
	o := b.objects[number]
	r := stream.Result{Name: o.Name, Form: o.Form, Skipped: o.skipped, Unread: !o.committed, Replaced: o.replaced, Facts: o.facts}
	switch {
	case r.Unread:
		r.Facts = stream.Facts{Size: o.Size, CRC32: o.CRC32}
	case !r.Skipped:
		r.BodySize = int64(o.body.Len())
	}
	return r, !o.dropped
}

func (b *memoryBatch) WriteReceipt(name, _ string, body io.ReaderAt, size int64) error {
	if !b.ended {
		b.store.t.Error("WriteReceipt before the batch is published")
	}
	if hook := b.store.onReceipt; hook != nil {
		if err := hook(); err != nil {
			return err
		}
	}
	text, err := io.ReadAll(io.NewSectionReader(body, 0, size+1))
	if err != nil || int64(len(text)) != size {
		b.store.t.Errorf("a receipt of %d bytes, and %d are stated: %v", len(text), size, err)
	}
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	b.store.objects[b.store.receipts+name] = text
	return nil
}

func (b *memoryBatch) Uploaded() []string { return b.uploaded }
func (b *memoryBatch) Skipped() []string  { return b.skipped }
func (b *memoryBatch) Sent() int64        { return b.sent }
