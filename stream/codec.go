package stream

import (
	"io"

	"spillway/stream/budget"
)

const (
	chunkSize = 32 << 10 // bytes of a chunk of a decoder that has an io.Reader
	inputSize = 32 << 10 // compressed bytes that are read at a time
)

// chunks yields the uncompressed bytes of an entry. A chunk is valid until the next
// but one is asked for. After the last one, the error is io.EOF.
type chunks interface {
	Next() ([]byte, error)
}

// chunkReader yields the bytes of a reader.
type chunkReader struct {
	r          io.Reader
	buf, other []byte
	err        error // returned after the chunk that it came with
}

func (r *chunkReader) reset(from io.Reader) { r.r, r.err = from, nil }

// Next implements [chunks].
func (r *chunkReader) Next() ([]byte, error) {
	r.buf, r.other = r.other, r.buf
	for r.err == nil {
		var n int
		if n, r.err = r.r.Read(r.buf); n > 0 {
			return r.buf[:n], nil
		}
	}
	return nil, r.err
}

// inputBuffer is the input of a decoder that takes it from a buffer.
type inputBuffer struct {
	r          io.Reader
	buf        []byte
	at, filled int // buf[at:filled] has been read and not discarded
}

func (b *inputBuffer) reset(from io.Reader) { b.r, b.at, b.filled = from, 0, 0 }

// Peek implements [inflate.Source].
func (b *inputBuffer) Peek() ([]byte, error) {
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
func (b *inputBuffer) Discard(n int) { b.at += n }

// countingReader counts the bytes read.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// decode begins to decode the compressed bytes in r, at most limit of them, with t if
// the codec needs tools.
func (v *verifier) decode(c Codec, limit int64, r io.Reader, t tools) (chunks, error) {
	v.compressed, v.tools = countingReader{r: r}, t
	r = &v.compressed
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
	v.reader.reset(r)
	return &v.reader, nil
}

// end forgets the entry and its tools.
func (v *verifier) end() {
	v.compressed, v.tools = countingReader{}, tools{}
	v.input.reset(nil)
	v.reader.reset(nil)
}

// readAhead returns how many bytes beyond its stream a decoder has read.
func (v *verifier) readAhead(c Codec) int {
	if c == Deflate || c == BZip2 {
		return v.input.filled - v.input.at
	}
	return 0
}

// consumed returns how many compressed bytes have been decoded. Bytes that were read
// ahead may belong to another entry.
func (v *verifier) consumed(c Codec) int64 {
	return v.compressed.n - int64(v.readAhead(c))
}

// toolsFor returns the tools for an entry of at most limit compressed bytes. An entry
// without bytes is not decoded.
func toolsFor(h *Header, limit int64) (kinds []*budget.Tool) {
	switch {
	case h.Codec == Zstd && limit > 0:
		kinds = append(kinds, zstdTool)
	case h.Codec == BZip2:
		kinds = append(kinds, bzip2Tool)
	}
	if h.needsGzip() {
		kinds = append(kinds, gzipTool)
	}
	return kinds
}
