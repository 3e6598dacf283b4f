package stream

import (
	"io"

	"spillway/stream/budget"
)

const (
	chunkSize = 32 << 10 // bytes of a chunk of a decoder that has an io.Reader
	inputSize = 32 << 10 // compressed bytes that are decoded, or read from the disk, at a time
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

// A source yields compressed bytes in place. It is an [inflate.Source] and a
// [bzip2.Source].
type source interface {
	// Peek returns the next bytes, at least one, or an error. At the end, that is
	// io.EOF. The slice is valid until the next Peek.
	Peek() ([]byte, error)

	// Discard consumes n bytes that Peek has returned.
	Discard(n int)
}

// input is the compressed bytes of one entry. It counts those that have been decoded. It is
// an io.Reader for decoders that want one.
type input struct {
	source
	n int64 // bytes consumed
}

func (i *input) Discard(n int) {
	i.n += int64(n)
	i.source.Discard(n)
}

func (i *input) Read(p []byte) (int, error) {
	b, err := i.Peek()
	if err != nil {
		return 0, err
	}
	n := copy(p, b)
	i.Discard(n)
	return n, nil
}

// decode begins to decode the compressed bytes in src, at most limit of them, with t if
// the codec needs tools.
func (v *verifier) decode(c Codec, limit int64, src source, t tools) (chunks, error) {
	v.input, v.tools = input{source: src}, t
	var r io.Reader = &v.input
	switch {
	case c == Deflate:
		v.inflater.Reset(&v.input)
		return v.inflater, nil
	case c == BZip2:
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
	v.input, v.tools = input{}, tools{}
	v.reader.reset(nil)
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
