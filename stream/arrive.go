package stream

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"spillway/stream/budget"
)

// Sized reads an entry whose compressed bytes are the next h.CompressedSize bytes of in,
// and moves in behind them. A body of those same bytes, as they are or framed as gzip, is
// verified by a worker once all of it has arrived.
func (p *Pipeline) Sized(h Header, in *Window) error {
	if h.SizeStated && p.total.count()+h.Size > p.rules.MaxExpanded {
		return &LimitError{What: ExpandedBound, Limit: p.rules.MaxExpanded}
	}
	if h.SizeStated {
		p.rules.Progress.count(&h, h.Size)
	}
	obj := p.create(&h)
	if head, tail, ok := h.frame(); ok {
		switch size := int64(len(head)) + h.CompressedSize + int64(len(tail)); {
		case in.onDisk():
			body := in.body(head, h.CompressedSize, tail)
			in.SeekTo(in.offset + h.CompressedSize)
			p.commitWhole(h, obj, body, int64(len(head)))
			return nil
		case size <= int64(p.share.PartSize()):
			body, err := whole(p.ctx, p.share, in, head, h.CompressedSize, tail)
			if err != nil {
				return err
			}
			p.commitWhole(h, obj, body, int64(len(head)))
			return nil
		}
	}
	d, err := p.decode(h, obj, in, h.CompressedSize)
	if err != nil {
		return err
	}
	defer d.Close()
	if d.CompressedSize < h.CompressedSize {
		return h.bad(trailingBytes)
	}
	return d.Commit()
}

const trailingBytes = "its deflate stream ends before its stated compressed size"

// frame returns what stands before and behind the entry's compressed bytes in its body.
// It reports false if the body has other bytes, or if the frame is not known yet.
func (h *Header) frame() (head, tail []byte, ok bool) {
	switch {
	case h.Form == AsIs && h.Codec == Stored:
		return nil, nil, true
	case h.Form == Gzip && h.Codec == Deflate && h.SizeStated && h.CRCStated:
		trailer := gzipTrailer(h.CRC32, h.Size)
		return gzipHeader[:], trailer[:], true
	}
	return nil, nil, false
}

// commitWhole has a worker verify and commit body, which has the entry's compressed
// bytes at offset.
func (p *Pipeline) commitWhole(header Header, obj Object, body Body, offset int64) {
	p.workers.do(func() error {
		h, verified := header, false
		defer func() {
			if !verified {
				body.Release()
			}
		}()
		facts, err := p.verify(&h, io.NewSectionReader(body, offset, h.CompressedSize))
		if err != nil {
			return err
		}
		verified = true
		return p.workers.commit(p.ctx, obj, body, facts)
	})
}

// verify verifies an entry that has all arrived, with one of the shared verifiers.
func (p *Pipeline) verify(h *Header, compressed *io.SectionReader) (Facts, error) {
	turn := p.share.NewTurn(p.ctx)
	done, err := p.share.Verifier(p.ctx)
	if err != nil {
		return Facts{}, err
	}
	defer done()
	begun := time.Now()
	defer func() { p.share.Account().Worked(time.Since(begun) - turn.Waited()) }()
	v := verifiers.Get().(*verifier)
	v.apart = false // the others are at work meanwhile
	defer verifiers.Put(v)

	defer v.end()
	uncompressed, err := v.decode(h.Codec, h.CompressedSize, budget.PausingReader{Reader: compressed, Turn: turn}, tools{})
	if err != nil {
		return Facts{}, err
	}
	facts, err := v.count(h, uncompressed, equipment{turn: turn}, &p.total, io.Discard)
	if err == nil {
		at, _ := compressed.Seek(0, io.SeekCurrent) // it cannot fail
		if at-int64(v.surplus(h.Codec)) < h.CompressedSize {
			err = h.bad(trailingBytes)
		}
	}
	return facts, damage(h, err)
}

// A Decoded is an entry that has been decoded, and compared with what the archive has
// stated so far. The reader checks that the entry ends there and calls Commit. It calls
// Close in any case.
type Decoded struct {
	CompressedSize int64 // bytes
	Facts          Facts

	p     *Pipeline
	h     Header
	obj   Object // nil if there is none
	src   entryReader
	tools tools
	body  *body
	frame framed
	gzip  gzipEnder // of the body; nil if that is no gzip member
}

// A gzipEnder writes the end of a gzip member.
type gzipEnder interface {
	end(counted Facts) error
}

// Decode reads an entry whose size is not stated. Its compressed stream begins at the
// next byte of in, and has at most limit bytes. Decode moves in to the stream's end.
// Full parts of the body go to the sink meanwhile.
func (p *Pipeline) Decode(h Header, in *Window, limit int64) (*Decoded, error) {
	d, err := p.decode(h, p.create(&h), in, limit)
	if err != nil {
		return nil, err
	}
	p.rules.Progress.count(&h, d.Facts.Size)
	return d, nil
}

// decode is Decode of an entry whose object is obj, nil if it has none.
func (p *Pipeline) decode(h Header, obj Object, in *Window, limit int64) (*Decoded, error) {
	taken, err := p.share.Tools(p.ctx, toolsFor(&h, limit)...)
	if err != nil {
		return nil, err
	}
	tools := tools{taken}
	d := &Decoded{p: p, h: h, obj: obj, src: entryReader{in: in, left: limit}, tools: tools}
	d.body = newBody(p.ctx, p.share, p.turn, &d.h, obj)
	decoded := false // not even if something panics
	defer func() {
		if !decoded {
			d.Close()
		}
	}()
	src, out := &d.src, io.Discard
	switch {
	case h.needsGzip():
		g := tools.deflater()
		g.reset(d.body)
		out, d.gzip = g, g
	case h.Form == Gzip:
		d.frame.w = d.body
		src.tee, d.gzip = &d.frame, &d.frame
	case h.Form == AsIs:
		out = d.body
	}

	v := p.own
	defer v.end()
	uncompressed, err := v.decode(h.Codec, limit, src, tools)
	if err != nil {
		return nil, err
	}
	d.Facts, err = v.count(&d.h, uncompressed, equipment{tools, p.turn}, &p.total, out)
	p.share.Account().Worked(v.worked)
	if err == nil {
		err = src.end(v.surplus(h.Codec))
	}
	if src.err != nil {
		return nil, src.err
	}
	if err != nil {
		return nil, damage(&d.h, err)
	}
	d.CompressedSize = src.n
	decoded = true
	return d, nil
}

// Commit completes the body and has a worker commit it.
func (d *Decoded) Commit() error {
	if d.gzip != nil {
		if err := d.gzip.end(d.Facts); err != nil {
			return err
		}
	}
	d.tools.Recycle()
	if d.obj == nil {
		return nil
	}
	p, rest := d.p, d.body.rest()
	p.workers.do(func() error { return p.workers.commit(p.ctx, d.obj, rest, d.Facts) })
	return nil
}

// Close releases what Commit has not taken.
func (d *Decoded) Close() {
	d.body.close()
	d.tools.Release()
}

// damage turns a failure to decode an entry into a [*FormatError].
func damage(h *Header, err error) error {
	if disk, ok := errors.AsType[*budget.DiskError](err); ok {
		return disk
	}
	switch _, failed := errors.AsType[*decodeError](err); {
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return h.bad(fmt.Sprintf("its zstd window is over %d MiB", maxWindow>>20))
	case failed:
		return h.bad("its compressed data is damaged or does not have its stated size")
	}
	return err
}
