package s3sink

import (
	"context"
	"crypto/md5"
	"errors"
	"hash/crc32"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"spillway/internal/s3event"
	"spillway/stream"
)

// names are the names of a prober's objects. No entry has one, because they are not symbol
// keys.
type names struct {
	// single is written with one request, joined in parts. Two names, because some stores
	// keep metadata of an object that is written again.
	single, joined string

	absent string // does not exist
}

// probeNames are the names of Probe's objects.
var probeNames = names{single: ".spillway-probe", joined: ".spillway-probe-parts", absent: ".spillway-none"}

const (
	// probePart is the size of the part that Probe sends, in bytes. Within the
	// heartbeat's 5 s it needs about the rate that a part of 8 MiB needs in its
	// 68 s. A store that is too slow for parts is too slow for this one.
	probePart = 512 << 10

	// smallPart is the size of the part where another prober checks the bucket's speed.
	smallPart = 1 << 10

	// rewriteAfter is how often the probe's object is written. It is also written
	// when the last PutObject has failed. Writing it every time would make thousands
	// of versions a day in a bucket that keeps them, and as many notifications.
	rewriteAfter = time.Hour

	// probeWrites bounds how often the probe's object is written because other instances
	// delete it.
	probeWrites = 3

	// settleTimeout bounds a probe that an upload waits for.
	settleTimeout = 5 * time.Second

	// probeRequests bounds the probes' requests in flight: five for each destination.
	// Probes do not wait for the slots of uploads.
	probeRequests = 10
)

// probeText is the body of the probe's object. It never changes, so that two instances
// write the same object.
var probeText = []byte("Spillway wrote this object to see whether uploads can be stored. It may be deleted.\n")

// probeAttributes returns the attributes of an entry with that body.
func probeAttributes(form stream.Form) attributes {
	return attributesOf(form, identity{
		hasSize: true, hasMD5: true,
		size: int64(len(probeText)), crc32: crc32.ChecksumIEEE(probeText), md5: md5.Sum(probeText),
	})
}

// prober checks that entries can be stored in one destination.
type prober struct {
	destination
	names
	api        *store        // makes one attempt per operation, and has slots of its own
	part       int64         // bytes of a part
	roundLimit time.Duration // of one round of checks; 0: none but the context's
	onChecksum func(bucket string, c s3event.Checksum)

	// What has succeeded at least once.
	created atomic.Bool // CreateMultipartUpload
	read    atomic.Bool // GetObject of an object that was written

	turn     chan struct{} // holds a value while the fields below are in use
	leftover *multipart    // an upload of checkPart that could not be aborted; nil if there is none
	unjoined *multipart    // the same, of joinProbe
	untried  checksum      // the first one that the last probe had no time for
	wrote    time.Time     // when this process last wrote the object
}

// probersOf returns the probers of the destinations, which may be equal.
func probersOf(regular, try destination, api *store, onChecksum func(string, s3event.Checksum)) []*prober {
	probers := []*prober{{destination: regular, names: probeNames, api: api, part: probePart}}
	if regular != try {
		part := int64(probePart)
		if regular.bucket == try.bucket {
			part = smallPart
		}
		probers = append(probers, &prober{destination: try, names: probeNames, api: api, part: part})
	}
	for _, p := range probers {
		p.turn, p.onChecksum = make(chan struct{}, 1), onChecksum
	}
	return probers
}

// prober returns the prober of regular symbols, or of try symbols.
func (s *Sink) prober(try bool) *prober {
	if try {
		return s.probers[len(s.probers)-1]
	}
	return s.probers[0]
}

// Probe checks that an upload could be stored now. In each bucket and under each prefix, it
// makes the requests that an entry needs:
//   - It creates a multipart upload with an entry's metadata, sends a part with its
//     checksum, and aborts the upload.
//   - At first, once an hour and after a failure, it writes a small object, once with
//     PutObject and once in parts. It reads it back, compares its body, checksum and
//     metadata, and deletes it.
//   - It looks up an object that does not exist. S3 answers 403 to credentials that may
//     not list the bucket.
//
// Where there are receipts, it writes and deletes a small object under their prefix as well.
//
// When it writes the object, it also finds out which checksums the store takes.
//
// Each operation is one attempt. A check that fails in a way that uploads retry is repeated
// once: one failure does not keep an upload from being stored.
//
// Probe ends with ctx. The next probe, or the sweep, aborts an upload that Probe could not
// abort by then. The error is a [*stream.StoreError] or a [*guard.PanicError]. See
// [Explain].
func (s *Sink) Probe(ctx context.Context) error {
	errs := make([]error, len(s.probers))
	var probes sync.WaitGroup
	for i, p := range s.probers {
		probes.Go(func() { errs[i] = p.probe(ctx) })
	}
	probes.Wait()
	if err := firstError(errs); err != nil {
		return err
	}
	// After the others, which find out by which checksum the store checks what it gets.
	errs = make([]error, len(s.receiptProbers))
	for i, p := range s.receiptProbers {
		probes.Go(func() { errs[i] = p.probe(ctx) })
	}
	probes.Wait()
	return firstError(errs)
}

// probe is Probe for one destination.
func (p *prober) probe(ctx context.Context) error {
	if err := acquire(ctx, p.turn); err != nil {
		return failure("HeadObject", p.target(p.absent), err)
	}
	defer func() { <-p.turn }()
	err := p.runAll(ctx).worst()
	if p.store.speaksTLS(ctx, err) {
		return withCode(err, codeTLSPort)
	}
	return err
}

// runAll makes all checks that are due. The caller has the turn.
func (p *prober) runAll(ctx context.Context) findings {
	d := &p.store.dialect
	if time.Since(p.wrote) >= rewriteAfter || p.store.lastPutFailed.Load() || d.doubted.Load() {
		return p.writeAll(ctx)
	}
	return p.run(ctx, p.checkAbsent, p.checkPart(checksum(d.checksum.Load())))
}

// settle probes a store that has refused the checksum that it is sent, unless another caller
// has done so meanwhile.
func (p *prober) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if acquire(ctx, p.turn) != nil {
		return
	}
	defer func() { <-p.turn }()
	if p.store.dialect.doubted.Load() {
		_ = p.writeAll(ctx) // the upload's own requests fail if the store does
	}
}

// writeAll makes all checks, and notes it if they went well. The caller has the turn.
func (p *prober) writeAll(ctx context.Context) findings {
	found := p.chooseChecksum(ctx)
	if found.worst() == nil {
		p.wellNow(ctx)
	}
	return found
}

// chooseChecksum makes all checks with each checksum, the best one first, until the store
// takes one. A store that takes the best gets no request more. If ctx ends first, the next call
// goes on where this one was. The caller has the turn.
func (p *prober) chooseChecksum(ctx context.Context) findings {
	var first, last findings
	for _, c := range checksums[p.untried:] {
		last = p.run(ctx, p.checkAbsent, p.checkPut(c), p.checkJoined(c), p.checkPart(c))
		err := last.worst()
		if err == nil || errors.Is(err, errNotStored) {
			p.untried = wholeCRC32
			p.learn(c)
			return last
		}
		if !refusesChecksum(err) {
			if ctx.Err() == nil {
				c = wholeCRC32
			}
			p.untried = c
			return last
		}
		if first == nil {
			first = last
		}
	}
	p.untried = wholeCRC32
	if errors.Is(last.worst(), errUnchecked) {
		return last
	}
	return first // names what the store refuses of the usual requests
}

// learn records that the store takes c.
func (p *prober) learn(c checksum) {
	if p.store.dialect.learn(c) {
		p.onChecksum(p.bucket, c.event())
	}
}

// wellNow records that all checks went well, and deletes the probe's objects. Credentials may
// lack this permission, which uploads do not need. Then the objects stay.
func (p *prober) wellNow(ctx context.Context) {
	p.wrote = time.Now()
	p.store.lastPutFailed.Store(false)
	_ = p.deleteObjects(ctx)
}

// deleteObjects deletes the objects that the checks write, if they are there.
func (p *prober) deleteObjects(ctx context.Context) findings {
	written := []string{p.single, p.joined}
	errs := make([]error, len(written))
	var deleting sync.WaitGroup
	for i, name := range written {
		deleting.Go(func() { errs[i] = p.api.delete(ctx, p.target(name)) })
	}
	deleting.Wait()
	return findingsOf(errs...)
}

// run makes checks at the same time, and returns what they found, in their order.
func (p *prober) run(ctx context.Context, checks ...func(context.Context) error) findings {
	if p.roundLimit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.roundLimit)
		defer cancel()
	}
	errs := make([]error, len(checks))
	var running sync.WaitGroup
	for i, check := range checks {
		running.Go(func() { errs[i] = runCheck(ctx, check) })
	}
	running.Wait()
	found := findingsOf(errs...)
	p.blameHeaders(ctx, found)
	return found
}

func firstError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkPart returns a check that creates a multipart upload, sends a part and aborts the
// upload.
func (p *prober) checkPart(c checksum) func(context.Context) error {
	return func(ctx context.Context) error {
		err := p.begin(ctx, &p.leftover, p.single, stream.Gzip, c)
		if err == nil {
			err = p.sendPart(ctx, p.leftover, pattern{}, p.part)
		}
		return findingsOf(err, abortLeftover(ctx, &p.leftover)).err()
	}
}

// sendPart sends n bytes of r as the only part of m. Unlike that of an upload, the request ends
// with ctx.
func (p *prober) sendPart(ctx context.Context, m *multipart, r io.ReaderAt, n int64) error {
	if err := sum(r, 0, n, &m.crc32); err != nil {
		return failure("UploadPart", m.target(), err)
	}
	m.size = n
	part, certain, err := m.sendPart(ctx, 1, newRequestBody(r, 0, n), m.crc32)
	m.uncertain = !certain
	if err != nil {
		return err
	}
	m.parts = []sentPart{part}
	return failure("UploadPart", m.target(), m.checksum.provenBy(part.proof))
}

// begin creates a multipart upload whose bytes the store checks by c. It aborts the one that
// leftover names first, and then names the new one there.
func (p *prober) begin(ctx context.Context, leftover **multipart, name string, form stream.Form, c checksum) error {
	if err := abortLeftover(ctx, leftover); err != nil {
		return err
	}
	m, err := beginMultipart(ctx, p.api, &p.destination, name, probeAttributes(form), c)
	if err != nil {
		return err
	}
	*leftover = m
	p.created.Store(true)
	if m.checksum != c {
		return failure("CreateMultipartUpload", m.target(), errOtherChecksum)
	}
	return nil
}

// abortLeftover aborts the upload that could not be aborted, if there is one.
func abortLeftover(ctx context.Context, leftover **multipart) error {
	if *leftover == nil {
		return nil
	}
	if err := (*leftover).abort(ctx); err != nil {
		return err
	}
	*leftover = nil
	return nil
}

// pattern is an endless body that takes no memory.
type pattern struct{}

func (pattern) ReadAt(b []byte, off int64) (int, error) {
	for i := range b {
		at := uint64(off) + uint64(i)
		b[i] = byte(at*0x9E3779B97F4A7C15>>56) ^ byte(at)
	}
	return len(b), nil
}
