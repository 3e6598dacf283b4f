package stream

import (
	"io"

	"spillway/stream/budget"
)

const (
	readSize  = 32 << 10 // uncompressed bytes that are read at a time where they do not come in runs
	inputSize = 32 << 10 // compressed bytes that are read at a time
)

// runs are the uncompressed bytes of an entry, in pieces that stay valid until the
// next but one is asked for. After the last, the error is io.EOF.
type runs interface {
	Next() ([]byte, error)
}

// reads are the runs of a reader.
type reads struct {
	r          io.Reader
	buf, other []byte
	err        error // comes after the run that it came with
}

func (r *reads) reset(from io.Reader) { r.r, r.err = from, nil }

// Next implements [runs].
func (r *reads) Next() ([]byte, error) {
	r.buf, r.other = r.other, r.buf
	for r.err == nil {
		var n int
		if n, r.err = r.r.Read(r.buf); n > 0 {
			return r.buf[:n], nil
		}
	}
	return nil, r.err
}

// peeker hands out what it reads, as the inflater takes it.
type peeker struct {
	r          io.Reader
	buf        []byte
	at, filled int // buf[at:filled] has been read and not discarded
}

func (b *peeker) reset(from io.Reader) { b.r, b.at, b.filled = from, 0, 0 }

// Peek implements [inflate.Source].
func (b *peeker) Peek() ([]byte, error) {
	for b.at == b.filled {
		n, err := b.r.Read(b.buf)
		b.at, b.filled = 0, n
		if n == 0 && err != nil {
			return nil, err
		}
	}
	return b.buf[b.at:b.filled], nil
}

// Discard implements [inflate.Source].
func (b *peeker) Discard(n int) { b.at += n }

// counted counts what is read.
type counted struct {
	r io.Reader
	n int64
}

// Read implements [io.Reader].
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// decode returns what the compressed bytes in r, at most limit of them, expand to.
// Where that needs tools, t has them.
func (v *verifier) decode(c Codec, limit int64, r io.Reader, t tools) (runs, error) {
	v.taken = counted{r: r}
	r = &v.taken
	switch {
	case c == Deflate:
		v.input.reset(r)
		v.inflater.Reset(&v.input)
		return v.inflater, nil
	case c == BZip2:
		v.input.reset(r)
		t.bzip2().Reset(&v.input)
		r = t.bzip2()
	case c == Zstd && limit > 0:
		if err := t.zstd().Reset(r); err != nil {
			return nil, err
		}
		r = t.zstd()
	}
	v.reads.reset(r)
	return &v.reads, nil
}

// end lets go of what was decoded, and of what with.
func (v *verifier) end() {
	v.taken = counted{}
	v.input.reset(nil)
	v.reads.reset(nil)
}

// surplus is how many bytes behind its end a decoder has read.
func (v *verifier) surplus(c Codec) int {
	if c == Deflate || c == BZip2 {
		return v.input.filled - v.input.at
	}
	return 0
}

// consumed is how many of the compressed bytes a decoder has used. What it has read
// ahead may be another entry's.
func (v *verifier) consumed(c Codec) int64 {
	return v.taken.n - int64(v.surplus(c))
}

// toolsFor are the tools that an entry of at most limit compressed bytes is read
// with. Nothing is decoded of an entry without bytes.
func toolsFor(h *Header, limit int64) (kinds []*budget.Tool) {
	switch {
	case h.Codec == Zstd && limit > 0:
		kinds = append(kinds, zstdTool)
	case h.Codec == BZip2:
		kinds = append(kinds, bzip2Tool)
	}
	if h.needsGzip() {
		kinds = append(kinds, deflaterTool)
	}
	return kinds
}

// needsGzip reports whether an entry has to be compressed to be stored.
func (h *Header) needsGzip() bool { return h.Form == Gzip && h.Codec != Deflate }
