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
	dest  destination
	share *stream.Share

	ctx  context.Context   // the upload's. Requests in the background end with it.
	fail func(cause error) // ends ctx. The first cause stays.

	work sync.WaitGroup // operations in the background

	freeing     sync.WaitGroup // freeMemory
	nudge       chan struct{}  // receives when freeMemory should look again
	stopFreeing chan struct{}  // closed by stop

	mu      sync.Mutex // guards the fields below; taken after object.mu
	objects []*object  // in creation order
	held    []*object  // the oldest first; some may have been dropped
	stopped bool       // Publish or Abort was called
}

// Create implements [stream.Sink]. The entry's form is not stream.Ignore.
func (b *Batch) Create(e stream.Entry) stream.Object {
	o := &object{
		batch:    b,
		name:     e.Name,
		form:     e.Form,
		identity: identity{hasSize: e.Stated, size: e.Size, crc32: e.CRC32},
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects = append(b.objects, o)
	return o
}

// Uploaded returns the names of the published objects, in creation order.
func (b *Batch) Uploaded() []string { return b.names(published) }

// Skipped returns the names of the entries that the store already had, in creation
// order.
func (b *Batch) Skipped() []string { return b.names(skipped) }

func (b *Batch) names(in state) []string {
	names := []string{}
	for _, o := range b.all() {
		if o.inState(in) {
			names = append(names, o.name)
		}
	}
	return names
}

// Sent returns the size of the published objects' bodies, in bytes.
func (b *Batch) Sent() int64 {
	var sent int64
	for _, o := range b.all() {
		if o.inState(published) {
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

// spawn calls work in a goroutine of the group. If work fails or panics, spawn passes
// the error, or a [*guard.PanicError], to failed.
func spawn(group *sync.WaitGroup, work func() error, failed func(error)) {
	group.Go(func() {
		if err := guard.Do(work); err != nil {
			failed(err)
		}
	})
}

// start waits until the store may begin another operation, and runs the operation in
// the background. It passes the operation's error to failed. If ctx ends first, start
// returns its cause. The operation must not call start.
func (b *Batch) start(ctx context.Context, operation func() error, failed func(error)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case b.dest.store.pending <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	spawn(&b.work, func() error {
		defer func() { <-b.dest.store.pending }()
		return operation()
	}, failed)
	return nil
}

// discard waits for the parts in flight of a multipart upload and aborts the upload.
// The wait does not use up the abort's time limit: parts have their own.
func (b *Batch) discard(m *multipart) error {
	m.inFlight.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), abortTimeout)
	defer cancel()
	return b.abort(ctx, m)
}

// abort aborts a multipart upload that has no parts in flight.
func (b *Batch) abort(ctx context.Context, m *multipart) error {
	err := m.abort(ctx)
	if err == nil {
		b.sink.multipart(s3event.Aborted)
	}
	return err
}
