// Package bzip2 decodes bzip2 streams.
//
// The standard library's decoder cannot be reset: it allocates 3.6 MB for each stream,
// however short. This one can be reused, and reports the work of a stream. It decodes
// every stream that a known encoder writes. It refuses streams on which other decoders
// disagree.
package bzip2

import (
	"errors"
	"io"
)

const (
	// Memory is the memory of a Reader, in bytes.
	Memory = 4*maxBlock + maxTrees*treeMemory + maxSelectors + 4<<10

	maxBlock     = 900_000 // symbols of a block, at level 9
	maxTrees     = 6
	maxSelectors = 1<<15 - 1
	groupSize    = 50 // symbols that are decoded with one tree
	maxAlphabet  = 258

	fileMagic  = 'B'<<16 | 'Z'<<8 | 'h'
	blockMagic = 0x314159265359
	endMagic   = 0x177245385090
)

// A Source is an input that is read in place.
type Source interface {
	// Peek returns the next bytes, at least one, or an error. At the end, that is
	// io.EOF. The slice is valid until the next Peek.
	Peek() ([]byte, error)

	// Discard consumes n bytes that Peek has returned.
	Discard(n int)
}

// A CorruptError says that a stream is damaged.
type CorruptError struct {
	Reason string
}

func (e *CorruptError) Error() string { return "bzip2: " + e.Reason }

var (
	errMagic      = &CorruptError{"not a bzip2 stream"}
	errBlockMagic = &CorruptError{"unknown block type"}
	errRandomized = &CorruptError{"a randomized block, which encoders no longer write"}
	errSymbols    = &CorruptError{"a block without symbols"}
	errTrees      = &CorruptError{"a number of Huffman trees other than 2 to 6"}
	errSelectors  = &CorruptError{"too few or invalid tree selectors"}
	errLengths    = &CorruptError{"the code lengths are not a complete Huffman code"}
	errTooLong    = &CorruptError{"a block that is longer than its level allows"}
	errOrigin     = &CorruptError{"the origin of a block is outside of it"}
	errRun        = &CorruptError{"a run without its length"}
	errChecksum   = &CorruptError{"a bad checksum"}
)

// A Reader decodes a stream, and those that follow it directly. Use [New] to make one.
type Reader struct {
	in      bitReader
	err     error // sticky
	level   int   // largest block of the stream, in symbols
	started bool  // the stream's header has been read

	streamSum uint32 // of the blocks' checksums
	wantSum   uint32 // of the block
	sum       uint32 // of the block's output so far

	symbols int64 // decoded since the last Reset
	blocks  int64

	tt        []uint32 // low 8 bits: a byte of the block; higher bits: index of the next one
	left      int      // bytes of the block before run-length decoding
	at        uint32   // index in tt of the next byte
	last      int      // the last byte written, -1 at the start
	run       int      // how often it was written in a row
	repeat    int      // how often it has to be written again
	zeroCount bool     // the length of the last run was zero

	reversed  [1 << 10]byte // output bytes with their bits reversed
	counts    [256]uint32
	selectors []uint8
	trees     [maxTrees]tree
}

// New returns a Reader, which takes [Memory] bytes. Call Reset before Read.
func New() *Reader {
	return &Reader{tt: make([]uint32, maxBlock), selectors: make([]uint8, 0, maxSelectors), err: io.EOF}
}

// Reset begins a new stream at the start of src. With a nil src, it only drops the last one.
func (r *Reader) Reset(src Source) {
	r.in = bitReader{src: src}
	r.err, r.started = nil, false
	if src == nil {
		r.err = io.EOF
	}
	r.symbols, r.blocks = 0, 0
	r.left, r.last, r.run, r.repeat, r.zeroCount = 0, -1, 0, 0, false
	r.sum, r.wantSum = 0, 0
}

// Work returns how many symbols and blocks have been decoded since the last
// Reset. Decoding takes time in proportion to them, and to the bytes read.
func (r *Reader) Work() (symbols, blocks int64) { return r.symbols, r.blocks }

// Read implements [io.Reader]. The error is io.EOF at the end of the last stream, a
// [*CorruptError], io.ErrUnexpectedEOF if the source ends too early, or the source's
// error.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for r.err == nil {
		if n := r.expand(p); n > 0 {
			r.add(p[:n])
			return n, nil
		}
		if r.err == nil {
			r.err = r.next()
		}
	}
	return 0, r.err
}

// expand decodes the block's run lengths into p.
func (r *Reader) expand(p []byte) (n int) {
	tt, at, left := r.tt, r.at, r.left
	for n < len(p) {
		if r.repeat > 0 {
			k := min(r.repeat, len(p)-n)
			fill(p[n:n+k], byte(r.last))
			n += k
			r.repeat -= k
			continue
		}
		if left == 0 {
			break
		}
		at = tt[at]
		b := int(at & 0xff)
		at >>= 8
		left--
		if r.run == 4 {
			// After a length of zero, decoders count further bytes of the same
			// value in different ways.
			r.repeat, r.run, r.zeroCount = b, 0, b == 0
			continue
		}
		switch {
		case b != r.last || r.run == 0 && !r.zeroCount:
			r.run = 1
		case r.run == 0:
			r.err = errRun
			return n
		default:
			r.run++
		}
		r.zeroCount = false
		r.last = b
		p[n] = byte(b)
		n++
	}
	r.at, r.left = at, left
	if left == 0 && r.run == 4 {
		r.err = errRun
	}
	return n
}

func fill(p []byte, b byte) {
	for i := range p {
		p[i] = b
	}
}

// next reads what follows a block: another block, or the end of the stream and the next
// stream. It returns io.EOF after the last stream.
func (r *Reader) next() error {
	if r.sum != r.wantSum {
		return errChecksum
	}
	if !r.started {
		r.started = true
		if err := r.header(); err != nil {
			return err
		}
	}
	magic, err := r.in.wide(48)
	switch {
	case err != nil:
		return err
	case magic == blockMagic:
		r.blocks++
		return r.block()
	case magic != endMagic:
		return errBlockMagic
	}
	sum, err := r.in.wide(32)
	if err != nil {
		return err
	}
	if uint32(sum) != r.streamSum {
		return errChecksum
	}
	r.sum, r.wantSum = 0, 0
	r.in.align()
	if err := r.in.atEnd(); err != nil {
		return err
	}
	return r.header()
}

// header reads a stream's header.
func (r *Reader) header() error {
	b, err := r.in.wide(32)
	if err != nil {
		return err
	}
	level := int(b&0xff) - '0'
	if b>>8 != fileMagic || level < 1 || level > 9 {
		return errMagic
	}
	r.level, r.streamSum = level*maxBlock/9, 0
	return nil
}

// bitReader reads bits, the highest of each byte first.
type bitReader struct {
	src  Source
	in   []byte
	pos  int
	bits uint64 // the n highest are next; lower ones may be those of in[pos:]
	n    uint
}

// more gets more input after all of in has been used.
func (b *bitReader) more() (err error) {
	if b.in != nil {
		b.src.Discard(b.pos)
	}
	b.pos = 0
	if b.in, err = b.src.Peek(); err != nil {
		b.in = nil
	}
	return err
}

// need loads input until there are k bits at hand, at most 56.
func (b *bitReader) need(k uint) error {
	if b.n >= k {
		return nil
	}
	if b.pos+8 <= len(b.in) {
		b.bits |= be.Uint64(b.in[b.pos:]) >> b.n
		b.pos += int((63 - b.n) >> 3)
		b.n |= 56
		return nil
	}
	b.bits &= ^uint64(0) << (64 - b.n) // a shift by 64 is 0
	for b.n < k {
		if b.pos == len(b.in) {
			if err := b.more(); err != nil {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return err
			}
		}
		b.bits |= uint64(b.in[b.pos]) << (56 - b.n)
		b.pos++
		b.n += 8
	}
	return nil
}

// drop consumes k bits, which are at hand.
func (b *bitReader) drop(k uint) {
	b.bits <<= k
	b.n -= k
}

// take returns and consumes the next k bits, at most 25.
func (b *bitReader) take(k uint) (uint32, error) {
	v, err := b.wide(k)
	return uint32(v), err
}

// wide returns and consumes the next k bits, at most 56.
func (b *bitReader) wide(k uint) (uint64, error) {
	if err := b.need(k); err != nil {
		return 0, err
	}
	v := b.bits >> (64 - k)
	b.drop(k)
	return v, nil
}

// align consumes the rest of a partly consumed byte.
func (b *bitReader) align() { b.drop(b.n % 8) }

// atEnd returns io.EOF at the source's end. Call align first.
func (b *bitReader) atEnd() error {
	if b.n > 0 || b.pos < len(b.in) {
		return nil
	}
	return b.more()
}
