package stream

import (
	"compress/bzip2"
	"io"
	"math"

	"github.com/klauspost/compress/zstd"
)

const (
	readSize    = 32 << 10 // expanded bytes that are read at a time where they do not come in runs
	packedSize  = 32 << 10 // compressed bytes that are read at a time
	maxWindow   = 8 << 20  // of a zstd stream, in bytes
	bzip2Memory = 4 << 20  // bzip2 level 9: 900,000 symbols of 4 bytes, and tables
	zstdMemory  = 9 << 20  // the window, blocks and tables
)

// runs are the expanded bytes of an entry, in pieces that stay valid until the
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

const (
	// An entry may expand to maxRatio times its packed size, and so may all of
	// them together: a bomb may come in many pieces. Symbols expand to 4 to 10
	// times of it, and deflate can make it 1,032, zstd much more, of zeros.
	// The first ratioFrom bytes may be any: what is small does no harm.
	maxRatio  = 200
	ratioFrom = 16 << 20
)

// tooFar reports whether so many bytes are too many to come of packed ones.
func tooFar(expanded, packed int64) bool {
	return expanded > ratioFrom && expanded > maxRatio*packed
}

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

// decoder returns what the packed bytes in r expand to, and what ends it.
func (v *verifier) decoder(method uint16, r io.Reader) (runs, func(), error) {
	end := func() {}
	v.taken = counted{r: r}
	r = &v.taken
	switch method {
	case methodDeflate:
		v.packed.reset(r)
		v.inflater.Reset(&v.packed)
		return v.inflater, end, nil
	case methodBzip2:
		r = bzip2.NewReader(r)
	case methodZstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(math.MaxInt64))
		if err != nil {
			return nil, nil, err
		}
		r, end = z, z.Close
	}
	v.reads.reset(r)
	return &v.reads, end, nil
}

// surplus is how many bytes behind its end a decoder has read.
func (v *verifier) surplus(method uint16) int {
	if method == methodDeflate {
		return v.packed.filled - v.packed.at
	}
	return 0
}

// consumed is how many of the packed bytes a decoder has read and wanted. What it
// has read ahead may be another entry's.
func (v *verifier) consumed(method uint16) int64 {
	return v.taken.n - int64(v.surplus(method))
}

// decoderMemory is what a decoder takes beyond the floor, in bytes.
func decoderMemory(method uint16) int64 {
	switch method {
	case methodBzip2:
		return bzip2Memory
	case methodZstd:
		return zstdMemory
	}
	return 0
}
