package s3sink

import (
	"bytes"
	"context"
	"crypto/md5"
	"hash/crc32"

	"spillway/stream"
)

// checkPut returns a check that writes an object with one request, and reads it back.
func (p *prober) checkPut(c checksum) func(context.Context) error {
	return func(ctx context.Context) error { return p.writeAndRead(ctx, c, p.single, p.putProbe) }
}

// checkJoined is checkPut for an object in parts.
func (p *prober) checkJoined(c checksum) func(context.Context) error {
	return func(ctx context.Context) error { return p.writeAndRead(ctx, c, p.joined, p.joinProbe) }
}

// writeAndRead writes an object of that name and reads it back. It tries again if the object
// is gone, because another instance may have deleted it.
func (p *prober) writeAndRead(ctx context.Context, c checksum, name string, write func(context.Context, checksum) error) error {
	t := p.target(name)
	for range probeWrites {
		if err := write(ctx, c); err != nil {
			return err
		}
		got, text, err := p.api.get(ctx, t, c)
		switch {
		case err != nil:
			return err
		case got.found:
			p.read.Store(true)
			return failure("GetObject", t, checkProbe(got, text))
		}
	}
	return failure("GetObject", t, errNotStored)
}

// putProbe writes the probe's object with one request.
func (p *prober) putProbe(ctx context.Context, c checksum) error {
	t, crc := p.target(p.single), crc32.ChecksumIEEE(probeText)
	put := func(adjust func(*sums)) error {
		body := newRequestBody(bytes.NewReader(probeText), 0, int64(len(probeText)))
		sent := sums{kind: c, crc32: crc}
		if err := sent.addMD5(body); err != nil {
			return failure("PutObject", t, err)
		}
		adjust(&sent)
		_, proof, err := p.api.put(ctx, t, probeAttributes(stream.AsIs), body, sent)
		if err != nil {
			return err
		}
		return failure("PutObject", t, c.provenBy(proof))
	}
	if c == contentMD5 {
		// No answer shows whether a store checks this header. A refusal does.
		err := put(func(s *sums) { s.md5 = make([]byte, md5.Size) })
		switch {
		case err == nil:
			return failure("PutObject", t, errOtherChecksum)
		case !refusesChecksum(err):
			return err
		}
	}
	return put(func(*sums) {})
}

// joinProbe writes the probe's object as a multipart upload of one part. Then it begins and
// aborts another upload of the same key: some stores delete the object with it.
func (p *prober) joinProbe(ctx context.Context, c checksum) error {
	err := p.begin(ctx, &p.unjoined, p.joined, stream.AsIs, c)
	if err == nil {
		err = p.join(ctx, p.unjoined)
	}
	if err != nil {
		return findingsOf(err, abortLeftover(ctx, &p.unjoined)).err()
	}
	p.unjoined = nil
	err = p.begin(ctx, &p.unjoined, p.joined, stream.AsIs, c)
	return findingsOf(err, abortLeftover(ctx, &p.unjoined)).err()
}

func (p *prober) join(ctx context.Context, m *multipart) error {
	if err := p.sendPart(ctx, m, bytes.NewReader(probeText), int64(len(probeText))); err != nil {
		return err
	}
	_, err := m.complete(ctx)
	return err
}
