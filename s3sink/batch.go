package s3sink

import (
	"context"
	"slices"
	"sync"

	"spillway/internal/guard"
	"spillway/internal/s3event"
	"spillway/stream"
)

// Batch is the objects of one archive. It is a [stream.Sink].
type Batch struct {
	sink  *Sink
	place place
	share *stream.Share

	ctx  context.Context   // the upload's. Requests in the background end with it.
	fail func(cause error) // ends ctx. The first cause stays.

	work sync.WaitGroup // requests in the background

	room     sync.WaitGroup // makeRoom
	nudge    chan struct{}  // receives when makeRoom should look again
	stopRoom chan struct{}  // closed by end

	mu      sync.Mutex // guards what follows; taken after an object's
	objects []*object  // in creation order
	held    []*object  // oldest first; some have been dropped since
	ended   bool
}

// Create begins the object of an entry whose form is not stream.Ignore.
func (b *Batch) Create(e stream.Entry) stream.Object {
	o := &object{
		batch: b,
		name:  e.Name,
		form:  e.Form,
		known: known{sized: e.Stated, size: e.Size, crc32: e.CRC32},
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects = append(b.objects, o)
	return o
}

// Uploaded returns the names of the objects that have been published, in
// creation order.
func (b *Batch) Uploaded() []string { return b.names(published) }

// Skipped returns the names of the entries that the store had already, in
// creation order.
func (b *Batch) Skipped() []string { return b.names(skipped) }

func (b *Batch) names(in state) []string {
	names := []string{}
	for _, o := range b.all() {
		if o.is(in) {
			names = append(names, o.name)
		}
	}
	return names
}

// Sent is the size of the bodies of the objects that have been published, in
// bytes.
func (b *Batch) Sent() int64 {
	var sent int64
	for _, o := range b.all() {
		if o.is(published) {
			sent += o.length
		}
	}
	return sent
}

// all returns the batch's objects in creation order.
func (b *Batch) all() []*object {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.objects)
}

// spawn calls work in a goroutine of the group. Its error is for failed, and so is
// its panic, as a [*guard.PanicError].
func spawn(group *sync.WaitGroup, work func() error, failed func(error)) {
	group.Go(func() {
		if err := guard.Do(work); err != nil {
			failed(err)
		}
	})
}

// run waits until the store may begin another operation, and runs it in the
// background. failed gets the operation's error. run returns the cause if ctx ends
// first. The operation must not call run.
func (b *Batch) run(ctx context.Context, operation func() error, failed func(error)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case b.place.store.pending <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	spawn(&b.work, func() error {
		defer func() { <-b.place.store.pending }()
		return operation()
	}, failed)
	return nil
}

// discard aborts a multipart upload that nobody wants any more. Its parts in
// flight have deadlines of their own and take none of the abort's time.
func (b *Batch) discard(m *multipart) error {
	m.inFlight.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), abortTimeout)
	defer cancel()
	return b.abort(ctx, m)
}

// abort aborts a multipart upload of the batch, of which nothing is in flight.
func (b *Batch) abort(ctx context.Context, m *multipart) error {
	err := m.abort(ctx)
	if err == nil {
		b.sink.multipart(s3event.Aborted)
	}
	return err
}
