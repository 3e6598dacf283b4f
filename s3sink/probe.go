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
	// probeName is the object that Probe writes and reads back. No entry has that
	// name: it is not a symbol key.
	probeName = ".spillway-probe"

	// noName is an object that is never there.
	noName = ".spillway-none"

	// probePart is the size of the part that Probe sends, in bytes. Within the
	// heartbeat's 5 s it needs about the rate that a part of 8 MiB needs in its
	// 68 s. A store that is too slow for parts is too slow for this one.
	probePart = 512 << 10

	// smallPart is that part where another place has tried the bucket's speed.
	smallPart = 1 << 10

	// rewriteAfter is how often the probe's object is written. It is also written
	// when the last PutObject has failed. Writing it every time would make thousands
	// of versions a day in a bucket that keeps them, and as many notifications.
	rewriteAfter = time.Hour

	// probeAttempts and probeBackoff bound the attempts of an operation and the
	// pauses between them. One failure does not mean that the store is down.
	probeAttempts = 3
	probeBackoff  = 250 * time.Millisecond

	// probeRequests is how many requests of probes may be in flight: three for each
	// place. Probes do not wait for the slots of uploads.
	probeRequests = 6
)

// probeText is the body of the probe's object. It never changes, so that instances
// do not overwrite each other's.
var probeText = []byte("Spillway wrote this object to see whether uploads can be stored. It may be deleted.\n")

// probeAttributes are as those of an entry, of which all is known.
func probeAttributes(form stream.Form) attributes {
	return attributesOf(form, known{
		sized: true, hashed: true,
		size: int64(len(probeText)), crc32: crc32.ChecksumIEEE(probeText), md5: md5.Sum(probeText),
	})
}

// prober proves that one place takes what entries are.
type prober struct {
	place
	api  *store // for probes: its pauses are short, and it has requests in flight of its own
	part int64  // bytes of a part

	turn  chan struct{} // holds a value while somebody uses what follows
	left  *multipart    // an upload that has not been aborted; nil if there is none
	wrote time.Time     // when the object was last written by this process
}

func newProber(p place, api *store, part int64) *prober {
	return &prober{place: p, api: api, part: part, turn: make(chan struct{}, 1)}
}

// probersOf are the probers of the places, which may be one and the same.
func probersOf(regular, try place, api *store) []*prober {
	switch {
	case regular == try:
		return []*prober{newProber(regular, api, probePart)}
	case regular.bucket == try.bucket:
		return []*prober{newProber(regular, api, probePart), newProber(try, api, smallPart)}
	}
	return []*prober{newProber(regular, api, probePart), newProber(try, api, probePart)}
}

// Probe proves that an upload that came now could be stored: in each bucket and
// under each prefix, it does what an entry needs, and reads back what can be read.
// It begins a multipart upload with an entry's metadata, sends a part with its
// checksum, and aborts it. At first, once an hour and after a failure, it writes a
// small object, compares its body, checksum and metadata, and deletes it. And it
// asks for an object that is not there, of which S3 says 403 to those who may not
// list the bucket. It ends with ctx, whatever the store does: an upload that it could not
// abort by then is aborted by the next probe, or swept. The error is a
// [*stream.StoreError] or a [*guard.PanicError]. See [Explain].
func (s *Sink) Probe(ctx context.Context) error {
	errs := make([]error, len(s.probers))
	var probes sync.WaitGroup
	for i, p := range s.probers {
		probes.Go(func() { errs[i] = p.probe(ctx) })
	}
	probes.Wait()
	return firstError(errs)
}

// probe is Probe for one place.
func (p *prober) probe(ctx context.Context) error {
	if err := enter(ctx, p.turn); err != nil {
		return failure("HeadObject", p.target(noName), err)
	}
	defer func() { <-p.turn }()
	steps := []func(context.Context) error{p.tryAbsent, p.tryObject, p.tryPart}
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

// tryAbsent asks for an object that is not there, as each entry begins.
func (p *prober) tryAbsent(ctx context.Context) error {
	_, err := p.api.head(ctx, p.target(noName))
	return err
}

// tryObject writes the probe's object, reads it back and deletes it, where that has
// not been tried for a while or has failed.
func (p *prober) tryObject(ctx context.Context) error {
	if time.Since(p.wrote) < rewriteAfter && !p.store.putFails.Load() {
		return nil
	}
	if err := p.writeAndRead(ctx); err != nil {
		return err
	}
	p.wrote = time.Now()
	p.store.putFails.Store(false)
	// Uploads never delete, so credentials may lack the permission. Then the object stays.
	_ = p.api.delete(ctx, p.target(probeName))
	return nil
}

// writeAndRead writes the probe's object and reads it back. Another instance may
// delete it in between.
func (p *prober) writeAndRead(ctx context.Context) error {
	t := p.target(probeName)
	for range probeAttempts {
		body := newBody(bytes.NewReader(probeText), 0, int64(len(probeText)))
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

// isProbe reports whether an object is the one that probes write. Some stores turn
// the underscores of metadata into hyphens.
func isProbe(got stored, body []byte) bool {
	for key, want := range probeAttributes(stream.AsIs).metadata {
		if got.metadata[key] != want && got.metadata[strings.ReplaceAll(key, "_", "-")] != want {
			return false
		}
	}
	sum := encodeCRC32(crc32.ChecksumIEEE(probeText))
	return got.found && bytes.Equal(body, probeText) && (got.crc32 == "" || got.crc32 == sum)
}

// tryPart begins a multipart upload, sends a part and aborts it.
func (p *prober) tryPart(ctx context.Context) error {
	if err := p.abortLeft(ctx); err != nil {
		return err
	}
	m, err := beginMultipart(ctx, p.api, p.target(probeName), probeAttributes(stream.Gzip))
	if err != nil {
		return err
	}
	p.left = m
	var crc uint32
	if err := sum(pattern{}, 0, p.part, &crc); err != nil {
		return failure("UploadPart", m.target, err)
	}
	_, clear, err := p.api.uploadPart(ctx, m.target, m.id, 1, newBody(pattern{}, 0, p.part), crc)
	m.unclear = !clear
	aborted := p.abortLeft(ctx)
	return firstError([]error{err, aborted})
}

// abortLeft aborts the upload that is left, if there is one.
func (p *prober) abortLeft(ctx context.Context) error {
	if p.left == nil {
		return nil
	}
	if err := p.left.abort(ctx); err != nil {
		return err
	}
	p.left = nil
	return nil
}

// pattern is a body without end that takes no memory.
type pattern struct{}

func (pattern) ReadAt(b []byte, off int64) (int, error) {
	for i := range b {
		at := uint64(off) + uint64(i)
		b[i] = byte(at*0x9E3779B97F4A7C15>>56) ^ byte(at)
	}
	return len(b), nil
}
