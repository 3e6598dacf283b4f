package s3sink

import (
	"context"
	"sync"

	"spillway/internal/guard"
	"spillway/internal/s3event"
	"spillway/stream"
	"spillway/stream/budget"
)

// Batch is the objects of one archive. It is a [stream.Sink].
type Batch struct {
	sink   *Sink
	dest   destination
	prober *prober // of dest
	share  *budget.Share

	ctx  context.Context   // the upload's. Requests in the background end with it.
	fail func(cause error) // ends ctx. The first cause stays.

	work       sync.WaitGroup // operations in the background
	goroutines *goroutines    // that run them, until the batch has ended

	freeing     sync.WaitGroup // freeMemory
	nudge       chan struct{}  // receives when freeMemory should look again
	stopFreeing chan struct{}  // closed by stop

	mu        sync.Mutex             // guards the fields below; never held during a request or a disk call
	records   stream.Table[record]   // of all objects, by number
	sizes     stream.Table[int64]    // of the published bodies, by number, in bytes; empty without receipts
	uploads   map[*record]*multipart // of staged objects, and of those that are being staged
	staging   int64                  // bytes of bodies that are not held or staged yet
	sent      int64                  // bytes of published bodies
	firstHeld int                    // no object with a lower number has memory that freeMemory could free
	stopped   bool                   // Publish or Abort was called
}

// Create implements [stream.Sink]. The entry's form is not stream.Ignore.
func (b *Batch) Create(e stream.Entry) stream.Object {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := &object{
		batch:    b,
		number:   b.records.Len(),
		record:   b.records.Add(record{name: e.Name, form: uint8(e.Form)}),
		identity: identity{hasSize: e.Stated, size: e.Size, crc32: e.CRC32},
	}
	b.addSize()
	switch {
	case e.Found == stream.Absent:
		o.lookup = absent
	case e.Found == stream.Different:
		o.lookup = absent
		o.record.flags |= replaces
	case e.Stated:
		// The answer is there by the time that the body is, and tells what to compute.
		o.lookUp()
	}
	return o
}

// Skip implements [stream.Sink].
func (b *Batch) Skip(e stream.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addSize()
	b.records.Add(record{name: e.Name, form: uint8(e.Form), state: skipped, size: e.Size, crc32: e.CRC32, flags: unread})
}

// addSize makes room for the size of the next object's body. The caller holds b.mu.
func (b *Batch) addSize() {
	if b.sink.receipts != "" {
		b.sizes.Add(0)
	}
}

// Uploaded returns the names of the published objects, in creation order.
func (b *Batch) Uploaded() []string { return b.names(published) }

// Skipped returns the names of the entries that the store already had, in creation
// order.
func (b *Batch) Skipped() []string { return b.names(skipped) }

func (b *Batch) names(in state) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	count := 0
	for i := range b.records.Len() {
		if b.records.At(i).state == in {
			count++
		}
	}
	names := make([]string, 0, count)
	for i := range b.records.Len() {
		if r := b.records.At(i); r.state == in {
			names = append(names, r.name)
		}
	}
	return names
}

// Sent returns the size of the published objects' bodies, in bytes.
func (b *Batch) Sent() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sent
}

// checksum returns the best checksum that the store takes. If it has refused that, checksum
// probes the store first. A probe that fails changes nothing.
func (b *Batch) checksum(ctx context.Context) checksum {
	d := &b.dest.store.dialect
	if d.doubted.Load() {
		b.prober.settle(ctx)
	}
	return checksum(d.checksum.Load())
}

// spawn calls work in the background. If work fails or panics, spawn passes the error, or
// a [*guard.PanicError], to failed.
func (b *Batch) spawn(work func() error, failed func(error)) {
	b.work.Add(1)
	b.goroutines.run(func() {
		defer b.work.Done()
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
	b.spawn(func() error {
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
