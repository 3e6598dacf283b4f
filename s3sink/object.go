package s3sink

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"spillway/internal/guard"
	"spillway/internal/s3event"
	"spillway/stream"
)

const (
	// maxParts is how many parts a multipart upload may have (S3 User Guide,
	// "Amazon S3 multipart upload limits").
	maxParts = 10_000

	// partsAtOnce is how many parts of a body that is on disk are on their way
	// at the same time.
	partsAtOnce = 4
)

// state is how far an object is on its way.
type state int

const (
	open       state = iota // neither Commit nor Drop has been called
	staging                 // committed; what becomes of it is being found out, or it is on its way
	held                    // committed; the body is in memory, or on disk
	staged                  // committed; the body is at the store, or about to be, as a multipart upload
	publishing              // the request that makes it visible is under way
	skipped                 // the store has it already
	dropped                 // given up
	published               // visible
)

// object is the body of one entry.
type object struct {
	batch *Batch
	name  string
	form  stream.Form

	// of the goroutine that calls Part and Commit, and then of the operation
	// that Commit begins
	known   known
	inParts bool    // Part has been called
	verdict verdict // on what was known at the first Part
	stored  stored  // if inParts and the store was asked

	mu     sync.Mutex // guards what follows; taken before Batch.mu; never held over a request or a call of the disk
	state  state
	upload *multipart  // nil if there is none
	body   stream.Body // if state is held; nil if empty
	length int64       // of the body in bytes, once it is committed
}

func (o *object) target() target {
	return o.batch.place.target(o.name)
}

func (o *object) is(s state) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state == s
}

// to moves the object to a state, if it has not been dropped meanwhile.
func (o *object) to(s state) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state == dropped {
		return false
	}
	o.state = s
	return true
}

// Part implements [stream.Object].
func (o *object) Part(ctx context.Context, buf stream.Body) (wanted bool, err error) {
	if !o.inParts {
		if err := o.beginParts(ctx); err != nil {
			buf.Release()
			return false, err
		}
	}
	if o.verdict == equal {
		buf.Release()
		return false, nil
	}
	if err := o.send(buf); err != nil {
		return false, err
	}
	return true, nil
}

// beginParts asks whether the store has the object, and begins a multipart
// upload if it does not, or if that can be told only at the end. An entry of
// unstated size is not asked for: it is never skipped.
func (o *object) beginParts(ctx context.Context) error {
	b := o.batch
	if o.known.sized {
		stored, err := b.place.store.head(ctx, o.target())
		if err != nil {
			return o.failed(ctx, err)
		}
		o.stored = stored
		o.verdict = compare(o.form, o.known, stored, b.sink.skipBySize)
	}
	if o.verdict != equal {
		if err := o.begin(ctx); err != nil {
			return o.failed(ctx, err)
		}
	}
	o.inParts = true
	return nil
}

// failed is the error of an operation under ctx that ended with err: what ended
// ctx, if something did, and otherwise err, which ends the batch.
func (o *object) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	o.batch.fail(err)
	return err
}

// begin begins the object's multipart upload, by a lasting request.
func (o *object) begin(ctx context.Context) error {
	m, err := beginMultipart(lasting(ctx), o.batch.place.store, o.target(), attributesOf(o.form, o.known))
	if err != nil {
		return err
	}
	o.batch.sink.multipart(s3event.Staged)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.upload = m
	return nil
}

// send sends a part in the background. It releases buf.
func (o *object) send(buf stream.Body) error {
	b := o.batch
	if b.ctx.Err() != nil {
		buf.Release()
		return context.Cause(b.ctx)
	}
	send, err := o.upload.next(buf, 0, buf.Size())
	if err != nil {
		buf.Release()
		b.fail(err)
		return err
	}
	spawn(&b.work, func() error {
		defer buf.Release()
		return send(b.ctx)
	}, b.fail)
	return nil
}

// Commit implements [stream.Object]. A body without parts before it goes on in
// the background: the store is asked for the object, then it is held or staged.
func (o *object) Commit(ctx context.Context, rest stream.Body, facts stream.Facts) error {
	if rest != nil && rest.Size() == 0 {
		rest.Release()
		rest = nil
	}
	stated := o.known.sized
	o.known = known{sized: true, hashed: true, size: facts.Size, crc32: facts.CRC32, md5: facts.MD5}
	if o.inParts {
		return o.commitParts(rest, stated) //nolint:contextcheck // what goes on in the background outlives the call
	}
	o.committed(rest)
	err := o.batch.run(ctx, func() error { return o.settle(rest) }, o.batch.fail) //nolint:contextcheck // what goes on in the background outlives the call
	if err != nil {
		release(rest)
	}
	return err
}

// committed takes note of a body that came as a whole, nil if it is empty.
func (o *object) committed(body stream.Body) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state == dropped {
		return
	}
	o.state = staging
	if body != nil {
		o.length = body.Size()
	}
}

// release releases a body, which is nil if it is empty.
func release(body stream.Body) {
	if body != nil {
		body.Release()
	}
}

// commitParts ends a body of which parts went before.
func (o *object) commitParts(rest stream.Body, stated bool) error {
	b := o.batch
	now := different
	if stated {
		now = compare(o.form, o.known, o.stored, b.sink.skipBySize)
	}
	switch {
	case o.verdict == equal:
		release(rest)
		o.to(skipped)
		return nil
	case now == equal:
		release(rest)
		o.to(skipped)
		spawn(&b.work, func() error { return b.discard(o.upload) }, b.fail)
		return nil
	}
	if rest != nil {
		if err := o.send(rest); err != nil {
			return err
		}
	}
	if err := o.sent(); err != nil {
		b.fail(err)
		return err
	}
	o.to(staged)
	return nil
}

// settle finds out what becomes of a committed body that is all in rest, nil if
// it is empty. It releases rest, or leaves it to the object.
func (o *object) settle(rest stream.Body) error {
	defer func() { release(rest) }()
	b := o.batch
	stored, err := b.place.store.head(b.ctx, o.target())
	if err != nil {
		return err
	}
	if compare(o.form, o.known, stored, b.sink.skipBySize) == equal {
		o.to(skipped)
		return nil
	}
	body := rest
	rest = nil // hold or stage has it
	if body == nil || body.Held() {
		o.hold(body)
		return nil
	}
	return o.stage(body)
}

// hold keeps the body until the object is published, or until somebody waits
// for the memory that it takes.
func (o *object) hold(body stream.Body) {
	b := o.batch
	o.mu.Lock()
	if o.state == dropped {
		o.mu.Unlock()
		release(body)
		return
	}
	o.state = held
	o.body = body
	if body == nil {
		o.mu.Unlock()
		return
	}
	if body.Memory() == 0 {
		o.mu.Unlock()
		return
	}
	b.mu.Lock()
	b.held = append(b.held, o)
	b.mu.Unlock()
	o.mu.Unlock()
	if b.share.Waited() {
		select {
		case b.nudge <- struct{}{}:
		default:
		}
	}
}

// stage sends the whole body as a multipart upload, which is aborted later if the
// object has been dropped meanwhile. It releases body.
func (o *object) stage(body stream.Body) error {
	defer body.Release()
	if err := o.begin(o.batch.ctx); err != nil {
		return err
	}
	if err := o.sendAll(body); err != nil {
		return err
	}
	if err := o.sent(); err != nil {
		return err
	}
	o.to(staged)
	return nil
}

// errOtherBytes says that what was sent is not what was verified: the memory or
// the disk in between has changed it.
var errOtherBytes = errors.New("s3: the bytes to be stored are not those that were verified")

// sent takes note of the length of a body whose parts have all been handed over
// to be sent. Those of one that is stored as it is are the archive's.
func (o *object) sent() error {
	m := o.upload
	if o.form == stream.AsIs && (m.size != o.known.size || m.crc32 != o.known.crc32) {
		return failure("UploadPart", m.target, errOtherBytes)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.length = m.size
	return nil
}

// sendAll sends the whole body in parts, a few of them at a time. The first
// failure cuts the others off.
func (o *object) sendAll(body stream.Body) error {
	size := partSize(body.Size(), o.batch.sink.partSize)
	parts, ctx := errgroup.WithContext(o.batch.ctx)
	parts.SetLimit(partsAtOnce)
	for off := int64(0); off < body.Size() && ctx.Err() == nil; off += size {
		send, err := o.upload.next(body, off, min(size, body.Size()-off))
		if err != nil {
			send = func(context.Context) error { return err }
		}
		parts.Go(func() error { return guard.Do(func() error { return send(ctx) }) })
	}
	if err := parts.Wait(); err != nil {
		return err
	}
	return context.Cause(o.batch.ctx) // it may have kept parts from being sent
}

// partSize is the size of the parts of a body of n bytes: usual, or what it
// takes not to need too many of them.
func partSize(n, usual int64) int64 { return max(usual, (n+maxParts-1)/maxParts) }

// Drop implements [stream.Object]. What has been staged, or is being staged, is
// aborted when the batch ends, in turn: there may be thousands.
func (o *object) Drop() {
	o.mu.Lock()
	if o.state == publishing || o.state == published || o.state == dropped {
		o.mu.Unlock()
		return
	}
	o.state = dropped
	body := o.takeBody()
	o.mu.Unlock()
	release(body)
}

// takeBody returns the held body, nil if there is none. The caller releases it, and
// holds o.mu.
func (o *object) takeBody() stream.Body {
	body := o.body
	o.body = nil
	return body
}
