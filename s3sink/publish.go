package s3sink

import (
	"context"
	"errors"
	"sync"
	"time"

	"spillway/internal/s3event"
	"spillway/stream"
)

// abortTimeoutEach is what each unfinished multipart upload of a batch adds to the
// time limit for aborting them all.
const abortTimeoutEach = 10 * time.Millisecond

// errEnded is the cause with which Abort ends an upload that nothing has ended before.
var errEnded = errors.New("s3: the batch has ended")

// Publish makes every object visible that was committed and neither dropped nor
// skipped. Nothing is visible before the store has every part of every object.
//
// When the store fails, or the upload's context ends, no further object is
// published: Publish aborts and releases the rest before it returns, and the objects
// that are visible by then stay. Publish ends the upload's context itself if it takes
// too long. Its limit grows with the number of entries and with the bytes that still
// have to be sent or joined.
//
// The error is a [*stream.StoreError], which may wrap a [*guard.PanicError].
func (b *Batch) Publish() error {
	if !b.stop() {
		return b.publishError(errEnded)
	}
	defer b.goroutines.end()
	limit := b.publishTime()
	timer := time.AfterFunc(limit.limit, func() { b.fail(b.publishError(limit)) })
	defer timer.Stop()
	b.work.Wait()
	b.abortDropped()
	b.stageLarge()

	err := b.publish()
	if err != nil {
		b.fail(err)
	}
	return errors.Join(err, b.abortUnpublished())
}

// publishError returns err as the error of Publish.
func (b *Batch) publishError(err error) error {
	if _, ok := errors.AsType[*stream.StoreError](err); ok {
		return err
	}
	failed := &stream.StoreError{Op: "Publish", Key: b.dest.prefix, Err: err}
	if _, ok := errors.AsType[*publishTimeError](err); ok {
		failed.Code = codeOutOfTime
	}
	return failed
}

// publishTime returns the time limit of publishing, as the error that says that it is
// exceeded.
func (b *Batch) publishTime() *publishTimeError {
	b.mu.Lock()
	defer b.mu.Unlock()
	objects, toSend, toJoin := b.records.Len(), b.staging, int64(0)
	for i := range objects {
		switch r := b.records.At(i); {
		case r.state == held && r.body != nil:
			toSend += r.body.Size()
		case r.state == staged:
			toJoin += b.uploads[r].size
		}
	}
	return &publishTimeError{b.dest.store.publishing(objects, toSend, toJoin), objects}
}

// abortDropped aborts the multipart uploads of dropped objects.
func (b *Batch) abortDropped() {
	for _, m := range b.staged(func(s state) bool { return s == dropped }) {
		if b.start(b.ctx, func() error { return b.discard(m) }, b.fail) != nil {
			break // abortUnpublished aborts the rest
		}
	}
	b.work.Wait()
}

// staged returns the multipart uploads that are not aborted, of objects whose state
// in accepts.
func (b *Batch) staged(in func(state) bool) (uploads []*multipart) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for r, m := range b.uploads {
		if in(r.state) && !m.isAborted() {
			uploads = append(uploads, m)
		}
	}
	return uploads
}

// stageLarge sends the parts of held bodies that are larger than a part, before
// anything becomes visible. Only bodies on disk are.
func (b *Batch) stageLarge() {
	for i := range b.records.Len() {
		o, body := b.takeLarge(i)
		if o != nil && b.start(b.ctx, func() error { return o.stage(body) }, b.fail) != nil {
			body.Release()
		}
	}
	b.work.Wait()
}

// takeLarge returns the object with that number and its body if that is held and
// larger than a part. The body is no longer held.
func (b *Batch) takeLarge(number int) (*object, stream.Body) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.records.At(number)
	if r.state != held || r.body == nil || r.body.Size() <= b.sink.partSize {
		return nil, nil
	}
	r.state = staging
	return b.object(number), r.takeBody()
}

// publish publishes the objects, until the first failure.
func (b *Batch) publish() error {
	// The first failure ends this context, under which the next object waits for its
	// turn. Requests run under the upload's context: those that are making an object
	// visible already are not cut off.
	publishing, cancel := context.WithCancelCause(b.ctx)
	defer cancel(errEnded)
	failed := func(err error) {
		if b.ctx.Err() != nil {
			err = context.Cause(b.ctx) // the operation failed because the upload ended
		}
		cancel(err)
	}
	for i := range b.records.Len() {
		var err error
		switch r := b.records.At(i); {
		case b.inState(r, held):
			err = b.start(publishing, func() error { return b.publishObject(b.ctx, i) }, failed)
		case b.inState(r, staged):
			err = b.startComplete(publishing, func() error { return b.publishObject(b.ctx, i) }, failed)
		}
		if err != nil {
			break
		}
	}
	b.work.Wait()
	if publishing.Err() == nil {
		return nil
	}
	return b.publishError(context.Cause(publishing))
}

// startComplete is start for an operation that completes a multipart upload. It waits
// first for its turn among those operations.
func (b *Batch) startComplete(ctx context.Context, operation func() error, failed func(error)) error {
	turns := b.dest.store.completes
	if err := acquire(ctx, turns); err != nil {
		return err
	}
	err := b.start(ctx, func() error {
		defer func() { <-turns }()
		return operation()
	}, failed)
	if err != nil {
		<-turns
	}
	return err
}

// publishObject makes the held or staged object with that number visible. If that
// fails, the object is dropped.
func (b *Batch) publishObject(ctx context.Context, number int) error {
	b.mu.Lock()
	o := b.object(number)
	from, body := o.record.state, o.record.takeBody()
	if from != held && from != staged {
		b.mu.Unlock()
		return nil
	}
	o.record.state = publishing
	b.mu.Unlock()

	outcome, sent := dropped, int64(0)
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		o.record.state = outcome
		b.sent += sent
		if number < b.sizes.Len() {
			*b.sizes.At(number) = sent
		}
	}()
	length, err := o.makeVisible(ctx, from, body)
	if err == nil {
		outcome, sent = published, length
	}
	return err
}

// makeVisible sends the request that makes the object visible, and releases body. from
// is held or staged. body is nil if the object is staged, or empty. length is that of
// the object's body, in bytes.
func (o *object) makeVisible(ctx context.Context, from state, body stream.Body) (length int64, err error) {
	var w written
	if from == held {
		if body == nil {
			body = emptyBody{}
		}
		defer body.Release()
		w, err = o.put(ctx, body)
	} else if w, err = o.upload.complete(ctx); err == nil {
		o.batch.sink.multipart(s3event.Published)
	}
	if err == nil && o.batch.sink.verify {
		err = o.verify(ctx, w)
	}
	return w.size, err
}

// put writes a held body. For unmodified bodies, it sends a checksum that comes from the
// archive, so that the store checks that these are the verified bytes.
func (o *object) put(ctx context.Context, body stream.Body) (w written, err error) {
	w.size = body.Size()
	sent, store := sums{kind: o.batch.checksum(ctx)}, o.batch.dest.store
	request := newRequestBody(body, 0, w.size)
	if o.form() == stream.AsIs {
		sent.crc32, sent.md5 = o.identity.crc32, o.identity.md5[:]
	} else {
		err = sum(body, 0, w.size, &sent.crc32)
	}
	if err == nil {
		err = sent.addMD5(request)
	}
	if err != nil {
		return w, failure("PutObject", o.target(), request.cut(err))
	}
	w.crc32 = sent.crc32
	w.etag, _, err = store.put(ctx, o.target(), attributesOf(o.form(), o.identity), request, sent)
	store.lastPutFailed.Store(err != nil)
	return w, err
}

// verify looks at the object that has just been made visible. It is for stores whose word
// cannot be relied on.
func (o *object) verify(ctx context.Context, w written) error {
	there, err := o.batch.dest.store.headChecked(ctx, o.target(), o.batch.checksum(ctx))
	if err == nil && w.compare(there) == unlike {
		err = failure("HeadObject", o.target(), errNotStored)
	}
	return err
}

// Abort ends the upload's context and gives up everything that has not been
// published. It waits for the requests in flight and releases every buffer. It may be
// called more than once, and does nothing after Publish. The error joins those of the
// multipart uploads that could not be aborted: each is a [*stream.StoreError], or a
// [*guard.PanicError].
func (b *Batch) Abort() error {
	if !b.stop() {
		return nil
	}
	defer b.goroutines.end()
	b.fail(errEnded)
	b.work.Wait()
	return b.abortUnpublished()
}

// stop stops freeMemory. It reports false if the batch was stopped before.
func (b *Batch) stop() bool {
	b.mu.Lock()
	stopped := b.stopped
	b.stopped = true
	b.mu.Unlock()
	if stopped {
		return false
	}
	close(b.stopFreeing)
	b.freeing.Wait()
	return true
}

// abortUnpublished aborts the multipart uploads of objects that are not published, and
// releases held bodies. Nothing is in flight. It does not end with the upload's
// context.
func (b *Batch) abortUnpublished() error {
	for i := range b.records.Len() {
		b.mu.Lock()
		body := b.records.At(i).takeBody()
		b.mu.Unlock()
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
		if err := b.start(ctx, func() error { return b.abort(ctx, m) }, keep); err != nil {
			keep(failure("AbortMultipartUpload", m.target(), err))
		}
	}
	b.work.Wait()
	return errors.Join(errs...)
}
