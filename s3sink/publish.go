package s3sink

import (
	"context"
	"errors"
	"sync"
	"time"

	"spillway/stream"
)

// abortTimeoutEach is what each unfinished upload of a batch adds to the time
// that aborting them all may take.
const abortTimeoutEach = 10 * time.Millisecond

// errEnded is the cause of the end of a batch's work when nothing failed.
var errEnded = errors.New("s3: the batch has ended")

// Publish makes all objects visible that have been committed and neither
// dropped nor skipped. From its start on only ctx can interrupt the batch, not
// the context that it was begun with, and a time of its own, which grows with the
// entries and with the bytes that are still to be sent or joined. Nothing is visible before every part of
// every object is at the store. When the store fails, or the time is over, no further object is
// published, and everything that has not been published is aborted and
// released before Publish returns; what has been published stays. The error is
// a [*stream.StoreError], which a [*guard.PanicError] may be the cause of.
func (b *Batch) Publish(ctx context.Context) error {
	if !b.end() {
		return &stream.StoreError{Op: "Publish", Key: b.place.prefix, Err: errEnded}
	}
	if !b.unfollow() {
		<-b.ctx.Done()
	}
	limit := b.publishTime()
	ctx, cancel := context.WithTimeoutCause(ctx, limit.limit, limit)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { b.endWorking(context.Cause(ctx)) })
	defer stop()
	b.work.Wait()
	b.abortDropped() //nolint:contextcheck // ctx ends the batch's own context
	b.stageLarge()   //nolint:contextcheck // ctx ends the batch's own context

	err := b.publish()                 //nolint:contextcheck // ctx ends the batch's own context
	if left := b.clear(); err != nil { //nolint:contextcheck // aborts outlive ctx
		err = errors.Join(err, left)
	} else {
		err = left
	}
	b.endWorking(errEnded)
	b.endReading(errEnded)
	return err
}

// publishTime is how long publishing may take, as the cause of its end.
func (b *Batch) publishTime() *publishTimeError {
	objects := b.all()
	var toSend, toJoin int64
	for _, o := range objects {
		o.mu.Lock()
		switch o.state {
		case staging, held:
			toSend += o.length
		case staged:
			toJoin += o.length
		}
		o.mu.Unlock()
	}
	return &publishTimeError{b.place.store.publishing(len(objects), toSend, toJoin), len(objects)}
}

// abortDropped aborts what has been staged of objects that have been dropped.
func (b *Batch) abortDropped() {
	for _, m := range b.staged(func(s state) bool { return s == dropped }) {
		if b.run(b.ctx, func() error { return b.discard(m) }, b.fail) != nil {
			break // and aborted when the batch is cleared
		}
	}
	b.work.Wait()
}

// staged returns the multipart uploads of the objects in such states that have
// not been aborted.
func (b *Batch) staged(in func(state) bool) (uploads []*multipart) {
	for _, o := range b.all() {
		o.mu.Lock()
		m, wanted := o.upload, in(o.state)
		o.mu.Unlock()
		if m != nil && wanted && m.open() {
			uploads = append(uploads, m)
		}
	}
	return uploads
}

// stageLarge stages the bodies on disk that are larger than a part: nothing is
// visible before all parts of all objects are at the store. Bodies in memory
// are never larger.
func (b *Batch) stageLarge() {
	for _, o := range b.all() {
		o.mu.Lock()
		body := o.body
		large := o.state == held && body != nil && body.Size() > b.sink.partSize
		if large {
			o.state, o.body = staging, nil
		}
		o.mu.Unlock()
		if large && b.run(b.ctx, func() error { return o.stage(body) }, b.fail) != nil {
			body.Release()
		}
	}
	b.work.Wait()
}

// publish publishes until the first failure.
func (b *Batch) publish() error {
	// Not the batch's context: a request that makes an object visible is not
	// cut off because that of another has failed.
	publishing, cancel := context.WithCancelCause(b.ctx)
	defer cancel(errEnded)
	failed := func(err error) {
		if b.ctx.Err() != nil {
			err = context.Cause(b.ctx) // it cut the operation off
		}
		cancel(err)
	}
	for _, o := range b.all() {
		var err error
		switch {
		case o.is(held):
			err = b.run(publishing, func() error { return o.publish(b.ctx) }, failed)
		case o.is(staged):
			err = b.runComplete(publishing, func() error { return o.publish(b.ctx) }, failed)
		}
		if err != nil {
			break
		}
	}
	b.work.Wait()
	if publishing.Err() == nil {
		return nil
	}
	err := context.Cause(publishing)
	if _, ok := errors.AsType[*stream.StoreError](err); ok {
		return err
	}
	failure := &stream.StoreError{Op: "Publish", Key: b.place.prefix, Err: err}
	if _, ok := errors.AsType[*publishTimeError](err); ok {
		failure.Code = codeOutOfTime
	}
	return failure
}

// runComplete is run for an operation that completes a multipart upload, which
// waits for its turn among those first.
func (b *Batch) runComplete(ctx context.Context, operation func() error, failed func(error)) error {
	turns := b.place.store.completes
	if err := enter(ctx, turns); err != nil {
		return err
	}
	err := b.run(ctx, func() error {
		defer func() { <-turns }()
		return operation()
	}, failed)
	if err != nil {
		<-turns
	}
	return err
}

// publish makes the object visible, which is held or staged. If that fails, the
// object is dropped.
func (o *object) publish(ctx context.Context) error {
	o.mu.Lock()
	from, body := o.state, o.takeBody()
	if from != held && from != staged {
		o.mu.Unlock()
		return nil
	}
	o.state = publishing
	o.mu.Unlock()

	outcome := dropped
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.state = outcome
	}()
	err := o.makeVisible(ctx, from, body)
	if err == nil {
		outcome = published
	}
	return err
}

// makeVisible sends the request that makes the object visible. It was held, with
// that body, or staged. makeVisible releases body.
func (o *object) makeVisible(ctx context.Context, from state, body stream.Body) error {
	if from == held {
		defer release(body)
		return o.put(ctx, body)
	}
	err := o.upload.complete(ctx)
	if err == nil {
		o.batch.sink.multipart(MultipartPublished)
	}
	return err
}

// put writes a held body, nil if it is empty. The checksum of one that is stored as
// it is is the archive's, so that the store sees whether these are the bytes that
// were verified.
func (o *object) put(ctx context.Context, body stream.Body) error {
	if body == nil {
		body = nothing{}
	}
	crc32 := o.known.crc32
	if o.form != stream.AsIs {
		crc32 = 0
		if err := sum(body, 0, body.Size(), &crc32); err != nil {
			return failure("PutObject", o.target(), err)
		}
	}
	store := o.batch.place.store
	err := store.put(ctx, o.target(), attributesOf(o.form, o.known), newBody(body, 0, body.Size()), crc32)
	store.putFails.Store(err != nil)
	return err
}

// Abort gives up everything that has not been published. It waits for the
// requests in flight and releases every buffer. It may be called more than
// once, and does nothing after Publish. The error says which uploads could not
// be aborted: each is a [*stream.StoreError], or a [*guard.PanicError].
func (b *Batch) Abort() error {
	if !b.end() {
		return nil
	}
	b.unfollow()
	b.endWorking(errEnded)
	b.endReading(errEnded)
	b.work.Wait()
	return b.clear()
}

// end stops makeRoom. It reports false if the batch has ended before.
func (b *Batch) end() bool {
	b.mu.Lock()
	ended := b.ended
	b.ended = true
	b.mu.Unlock()
	if ended {
		return false
	}
	close(b.stopRoom)
	b.room.Wait()
	return true
}

// clear aborts what has been staged and is not published, and releases what is
// held. Nothing is in flight.
func (b *Batch) clear() error {
	for _, o := range b.all() {
		o.mu.Lock()
		body := o.takeBody()
		o.mu.Unlock()
		release(body)
	}
	uploads := b.staged(func(s state) bool { return s != published })
	timeout := abortTimeout + time.Duration(len(uploads))*abortTimeoutEach
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), timeout)
	defer cancel()
	var (
		mu   sync.Mutex
		errs []error
	)
	keep := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
	}
	for _, m := range uploads {
		if err := b.run(ctx, func() error { return b.abort(ctx, m) }, keep); err != nil {
			keep(failure("AbortMultipartUpload", m.target, err))
		}
	}
	b.work.Wait()
	return errors.Join(errs...)
}
