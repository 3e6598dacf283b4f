package s3sink

import (
	"bytes"
	"context"
	"crypto/md5"
	"hash/crc32"
	"strings"
	"sync"
	"time"

	"spillway/internal/guard"
	"spillway/stream"
)

const (
	// probeName is the object that Probe writes and reads back. No entry has this name,
	// because it is not a symbol key.
	probeName = ".spillway-probe"

	// absentName is an object that does not exist.
	absentName = ".spillway-none"

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

	// probeAttempts and probeBackoff bound the attempts of an operation and the
	// pauses between them. One failure does not mean that the store is down.
	probeAttempts = 3
	probeBackoff  = 250 * time.Millisecond

	// probeRequests bounds the probes' requests in flight: three for each destination.
	// Probes do not wait for the slots of uploads.
	probeRequests = 6
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
	api  *store // has shorter pauses and slots of its own
	part int64  // bytes of a part

	turn     chan struct{} // holds a value while the fields below are in use
	leftover *multipart    // an upload that could not be aborted; nil if there is none
	wrote    time.Time     // when this process last wrote the object
}

func newProber(p destination, api *store, part int64) *prober {
	return &prober{destination: p, api: api, part: part, turn: make(chan struct{}, 1)}
}

// probersOf returns the probers of the destinations, which may be equal.
func probersOf(regular, try destination, api *store) []*prober {
	switch {
	case regular == try:
		return []*prober{newProber(regular, api, probePart)}
	case regular.bucket == try.bucket:
		return []*prober{newProber(regular, api, probePart), newProber(try, api, smallPart)}
	}
	return []*prober{newProber(regular, api, probePart), newProber(try, api, probePart)}
}

// Probe checks that an upload could be stored now. In each bucket and under each prefix, it
// makes the requests that an entry needs:
//   - It creates a multipart upload with an entry's metadata, sends a part with its
//     checksum, and aborts the upload.
//   - At first, once an hour and after a failure, it writes a small object, reads it back,
//     compares its body, checksum and metadata, and deletes it.
//   - It looks up an object that does not exist. S3 answers 403 to credentials that may
//     not list the bucket.
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
	return firstError(errs)
}

// probe is Probe for one destination.
func (p *prober) probe(ctx context.Context) error {
	if err := acquire(ctx, p.turn); err != nil {
		return failure("HeadObject", p.target(absentName), err)
	}
	defer func() { <-p.turn }()
	steps := []func(context.Context) error{p.checkAbsent, p.checkObject, p.checkPart}
	errs := make([]error, len(steps))
	var running sync.WaitGroup
	for i, step := range steps {
		running.Go(func() { errs[i] = guard.Do(func() error { return step(ctx) }) })
	}
	running.Wait()
	return firstError(errs)
}

func firstError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkAbsent looks up an object that does not exist.
func (p *prober) checkAbsent(ctx context.Context) error {
	_, err := p.api.head(ctx, p.target(absentName))
	return err
}

// checkObject writes the probe's object, reads it back and deletes it, unless this
// succeeded within the last rewriteAfter and no upload's PutObject has failed since.
func (p *prober) checkObject(ctx context.Context) error {
	if time.Since(p.wrote) < rewriteAfter && !p.store.lastPutFailed.Load() {
		return nil
	}
	if err := p.writeAndRead(ctx); err != nil {
		return err
	}
	p.wrote = time.Now()
	p.store.lastPutFailed.Store(false)
	// Credentials may lack this permission, which uploads do not need. Then the object
	// stays.
	_ = p.api.delete(ctx, p.target(probeName))
	return nil
}

// writeAndRead writes the probe's object and reads it back. It tries again if the object
// is gone, because another instance may have deleted it.
func (p *prober) writeAndRead(ctx context.Context) error {
	t := p.target(probeName)
	for range probeAttempts {
		body := newRequestBody(bytes.NewReader(probeText), 0, int64(len(probeText)))
		if err := p.api.put(ctx, t, probeAttributes(stream.AsIs), body, crc32.ChecksumIEEE(probeText)); err != nil {
			return err
		}
		got, text, err := p.api.get(ctx, t)
		switch {
		case err != nil:
			return err
		case isProbe(got, text):
			return nil
		case got.found:
			return failure("GetObject", t, errDiffers)
		}
	}
	return failure("GetObject", t, errDiffers)
}

// isProbe reports whether an object is the probe's. Some stores turn underscores in
// metadata keys into hyphens.
func isProbe(got objectInfo, body []byte) bool {
	for key, want := range probeAttributes(stream.AsIs).metadata {
		if got.metadata[key] != want && got.metadata[strings.ReplaceAll(key, "_", "-")] != want {
			return false
		}
	}
	sum := encodeCRC32(crc32.ChecksumIEEE(probeText))
	return got.found && bytes.Equal(body, probeText) && (got.crc32 == "" || got.crc32 == sum)
}

// checkPart creates a multipart upload, sends a part and aborts the upload.
func (p *prober) checkPart(ctx context.Context) error {
	if err := p.abortLeftover(ctx); err != nil {
		return err
	}
	m, err := beginMultipart(ctx, p.api, &p.destination, probeName, probeAttributes(stream.Gzip))
	if err != nil {
		return err
	}
	p.leftover = m
	var crc uint32
	if err := sum(pattern{}, 0, p.part, &crc); err != nil {
		return failure("UploadPart", m.target(), err)
	}
	_, certain, err := p.api.uploadPart(ctx, m.target(), m.id, 1, newRequestBody(pattern{}, 0, p.part), crc)
	m.uncertain = !certain
	aborted := p.abortLeftover(ctx)
	return firstError([]error{err, aborted})
}

// abortLeftover aborts the upload that could not be aborted, if there is one.
func (p *prober) abortLeftover(ctx context.Context) error {
	if p.leftover == nil {
		return nil
	}
	if err := p.leftover.abort(ctx); err != nil {
		return err
	}
	p.leftover = nil
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
