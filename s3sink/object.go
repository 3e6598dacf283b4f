package s3sink

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"spillway/internal/guard"
	"spillway/internal/s3event"
	"spillway/stream"
)

const (
	// maxParts is the highest number of parts in a multipart upload (S3 User Guide,
	// "Amazon S3 multipart upload limits").
	maxParts = 10_000

	// partsAtOnce bounds the parts of one body on disk that are sent at the same
	// time.
	partsAtOnce = 4
)

// object is the body of one entry on its way into the store. It is there while
// something works on it: from Create until what Commit starts has ended, and again
// while it is staged to free memory, or published. What has to last is in its record.
//
// Its fields belong to the goroutine that calls Part and Commit, then to the operation
// that works on it.
type object struct {
	batch  *Batch
	number int
	record *record

	identity identity
	lookup   *lookup    // nil if the entry's size was not stated
	inParts  bool       // Part has been called
	upload   *multipart // nil if there is none
}

func (o *object) form() stream.Form { return stream.Form(o.record.form) }

func (o *object) target() target { return o.batch.dest.target(o.record.name) }

// Part implements [stream.Object].
func (o *object) Part(ctx context.Context, buf stream.Body) (wanted bool, err error) {
	if !o.inParts {
		if err := o.beginParts(ctx); err != nil {
			buf.Release()
			return false, err
		}
	}
	if o.lookup.match() == equal {
		buf.Release()
		return false, nil
	}
	if err := o.send(buf); err != nil {
		return false, err
	}
	return true, nil
}

// beginParts creates a multipart upload unless the store has the object already.
func (o *object) beginParts(ctx context.Context) error {
	if err := o.lookup.wait(ctx); err != nil {
		return o.fail(ctx, err)
	}
	if o.lookup.match() != equal {
		if err := o.begin(ctx); err != nil {
			return o.fail(ctx, err)
		}
	}
	o.inParts = true
	return nil
}

// fail ends the upload with err, the error of an operation under ctx. It returns the
// cause of the upload's end, which may be an earlier one.
func (o *object) fail(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	o.batch.fail(err)
	return err
}

// begin creates the object's multipart upload. It waits for the answer even if ctx
// ends: see finishSent.
func (o *object) begin(ctx context.Context) error {
	b := o.batch
	kind := b.checksum(ctx)
	m, err := beginMultipart(finishSent(ctx), b.dest.store, &b.dest, o.record.name, attributesOf(o.form(), o.identity), kind)
	if err != nil {
		return err
	}
	b.sink.multipart(s3event.Staged)
	o.upload = m
	b.mu.Lock()
	defer b.mu.Unlock()
	b.uploads[o.record] = m
	return nil
}

// send sends buf as a part, in the background, and releases it.
func (o *object) send(buf stream.Body) error {
	b := o.batch
	if b.ctx.Err() != nil {
		buf.Release()
		return context.Cause(b.ctx)
	}
	send, err := o.upload.addPart(buf, 0, buf.Size())
	if err != nil {
		buf.Release()
		b.fail(err)
		return err
	}
	b.spawn(func() error {
		defer buf.Release()
		return send(b.ctx)
	}, b.fail)
	return nil
}

// Commit implements [stream.Object]. What a body without earlier parts needs is done
// in the background: the object is compared with the store's, then held or staged.
func (o *object) Commit(ctx context.Context, rest stream.Body, facts stream.Facts) error {
	if rest != nil && rest.Size() == 0 {
		rest.Release()
		rest = nil
	}
	o.identity = identity{hasSize: true, hasMD5: facts.HasMD5, size: facts.Size, crc32: facts.CRC32, md5: facts.MD5}
	o.batch.identify(o.record, o.identity)
	if o.inParts {
		return o.commitParts(rest) //nolint:contextcheck // the background works under the upload's context
	}
	b := o.batch
	b.mu.Lock()
	settled := b.unsettled(o.record, rest)
	b.mu.Unlock()
	err := b.start(ctx, func() error { //nolint:contextcheck // the background works under the upload's context
		defer settled()
		return o.decide(rest)
	}, b.fail)
	if err != nil {
		settled()
		release(rest)
	}
	return err
}

// release releases a body, unless it is nil.
func release(body stream.Body) {
	if body != nil {
		body.Release()
	}
}

// commitParts commits a body whose earlier parts have been handed over.
func (o *object) commitParts(rest stream.Body) error {
	b := o.batch
	switch {
	case o.lookup.match() == equal:
		release(rest)
		b.setState(o.record, skipped)
		return nil
	case o.lookup != nil && o.compare(o.lookup.existing) == equal:
		release(rest)
		b.setState(o.record, skipped)
		b.spawn(func() error { return b.discard(o.upload) }, b.fail)
		return nil
	}
	if rest != nil {
		if err := o.send(rest); err != nil {
			return err
		}
	}
	if err := o.checkSent(); err != nil {
		b.fail(err)
		return err
	}
	b.setState(o.record, staged)
	return nil
}

// decide skips, holds or stages an object whose whole body is rest, nil if it is
// empty. It takes rest over.
func (o *object) decide(rest stream.Body) error {
	defer func() { release(rest) }()
	b := o.batch
	if o.lookup == nil {
		o.lookUp()
	}
	if err := o.lookup.wait(b.ctx); err != nil {
		return err
	}
	if o.compare(o.lookup.existing) == equal {
		b.setState(o.record, skipped)
		return nil
	}
	body := rest
	rest = nil // hold or stage releases it
	if body == nil || body.Held() {
		o.hold(body)
		return nil
	}
	return o.stage(body)
}

// hold keeps the body until the object is published, or until another upload waits
// for memory.
func (o *object) hold(body stream.Body) {
	b := o.batch
	if !b.hold(o, body) {
		release(body)
		return
	}
	if body != nil && body.Memory() > 0 && b.share.Waited() {
		select {
		case b.nudge <- struct{}{}:
		default:
		}
	}
}

// stage sends the whole body as a multipart upload, and releases it. If the object is
// dropped meanwhile, the batch aborts the upload later.
func (o *object) stage(body stream.Body) error {
	defer body.Release()
	if err := o.begin(o.batch.ctx); err != nil {
		return err
	}
	if err := o.sendAll(body); err != nil {
		return err
	}
	if err := o.checkSent(); err != nil {
		return err
	}
	o.batch.setState(o.record, staged)
	return nil
}

// errOtherBytes says that the bytes that were sent are not those that were verified:
// memory or the disk has changed them.
var errOtherBytes = errors.New("s3: the bytes to be stored are not those that were verified")

// checkSent compares the size and CRC-32 of an unmodified body, whose parts have all
// been added, with the archive's.
func (o *object) checkSent() error {
	m := o.upload
	if o.form() == stream.AsIs && (m.size != o.identity.size || m.crc32 != o.identity.crc32) {
		return failure("UploadPart", o.target(), errOtherBytes)
	}
	return nil
}

// sendAll sends the whole body in parts, a few at a time. The first failure cancels
// the others.
func (o *object) sendAll(body stream.Body) error {
	size := partSize(body.Size(), o.batch.sink.partSize)
	parts, ctx := errgroup.WithContext(o.batch.ctx)
	parts.SetLimit(partsAtOnce)
	for off := int64(0); off < body.Size() && ctx.Err() == nil; off += size {
		send, err := o.upload.addPart(body, off, min(size, body.Size()-off))
		if err != nil {
			send = func(context.Context) error { return err }
		}
		parts.Go(func() error { return guard.Do(func() error { return send(ctx) }) })
	}
	if err := parts.Wait(); err != nil {
		return err
	}
	return context.Cause(o.batch.ctx) // the loop ends early when the upload does
}

// partSize returns the part size for a body of n bytes: usual, or more where that
// would make too many parts.
func partSize(n, usual int64) int64 { return max(usual, (n+maxParts-1)/maxParts) }
