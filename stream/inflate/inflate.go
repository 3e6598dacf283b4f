// Package inflate decodes raw deflate streams (RFC 1951), fast.
//
// Speed is the reason that it exists: it takes its input in whole blocks that
// are in memory already, keeps 64 bits of it at hand, decodes through one wide
// table, and hands its output on in long runs instead of copying it. It takes
// and refuses the same streams as the standard library's compress/flate, which
// the tests hold it to.
package inflate

import (
	"encoding/binary"
	"errors"
	"io"
)

const (
	// RunSize is the least length of a run but the last, in bytes, and MaxRun
	// the greatest of any.
	RunSize = 64 << 10
	MaxRun  = RunSize + slack

	// Memory is what a Reader takes, in bytes.
	Memory = 2*bufferSize + 4*(litEntries+distEntries) + 1<<10

	windowSize = 32 << 10 // the farthest that a match reaches back (RFC 1951, section 2)
	bufferSize = windowSize + RunSize + slack

	// slack is the room for what is written behind a run's end before that is
	// looked at: literals, a match of the greatest length, and what copying it
	// in large pieces writes too much.
	slack    = 6 + maxMatch + 16
	maxMatch = 258
)

var le = binary.LittleEndian

// A Source hands out its bytes in place.
type Source interface {
	// Peek returns what is next, at least one byte, or an error, which is io.EOF
	// at the end. The slice is valid until the next Peek.
	Peek() ([]byte, error)

	// Discard passes n bytes of what Peek has returned.
	Discard(n int)
}

// A CorruptError says that a stream is none.
type CorruptError struct {
	Reason string
}

func (e *CorruptError) Error() string { return "inflate: " + e.Reason }

// What a stream can be wrong in.
var (
	errBlockType = &CorruptError{"a block of a type that does not exist"}
	errStored    = &CorruptError{"the length of a stored block and its complement differ"}
	errLengths   = &CorruptError{"the code lengths of a block make no code"}
	errSymbol    = &CorruptError{"a symbol that its code does not have"}
	errDistance  = &CorruptError{"a match that begins before the stream"}
)

// state is what is next in a stream.
type state int

const (
	atBlock   state = iota // a block's header
	inStored               // bytes of a stored block
	inHuffman              // symbols
)

// A Reader decodes one stream at a time. Its zero value is of no use: see [New].
type Reader struct {
	src Source
	err error // what ends the stream, once its output has been handed on

	// in[pos:] is the input that is next, but for the low nbits of bits, which
	// come before it. Between two steps there are fewer than 8 of them, and
	// those above are zero.
	in    []byte
	pos   int
	bits  uint64
	nbits uint

	// out[:windowSize] is what came before the run, of which out[low:] is valid;
	// the run is out[windowSize:at].
	out   *[bufferSize]byte
	other *[bufferSize]byte // of the run before
	low   int
	at    int

	state  state
	final  bool
	stored int // bytes of the stored block that are left

	lit  *litTable
	dist *distTable
	own  struct { // tables of the last block that had its own
		lit  litTable
		dist distTable
	}
}

// New returns a Reader, which takes [Memory] bytes. It has to be reset before
// it is read from.
func New() *Reader {
	return &Reader{out: new([bufferSize]byte), other: new([bufferSize]byte), err: io.EOF, at: windowSize, low: windowSize}
}

// Reset begins the stream that src starts with, whatever came before.
func (r *Reader) Reset(src Source) {
	r.src, r.err = src, nil
	r.in, r.pos, r.bits, r.nbits = nil, 0, 0, 0
	r.at, r.low = windowSize, windowSize
	r.state, r.final = atBlock, false
}

// Next returns the next run of output, which is valid until the next call but
// one. Its error is io.EOF once the stream has ended: then exactly the stream's
// bytes have been discarded. Otherwise it is a [*CorruptError],
// io.ErrUnexpectedEOF where the source ends too early, or the source's. What
// came out before an error is returned before it.
func (r *Reader) Next() ([]byte, error) {
	r.turn()
	for r.err == nil && r.at < windowSize+RunSize {
		r.step()
	}
	if r.in != nil {
		r.src.Discard(r.pos)
		r.in, r.pos = nil, 0
	}
	if r.at == windowSize {
		return nil, r.err
	}
	return r.out[windowSize:r.at], nil
}

// turn puts the end of the run before the next one, in the other buffer.
func (r *Reader) turn() {
	n := r.at - windowSize
	if n == 0 {
		return
	}
	copy(r.other[:windowSize], r.out[n:r.at])
	r.low = max(0, r.low-n)
	r.at = windowSize
	r.out, r.other = r.other, r.out
}

// step decodes some more.
func (r *Reader) step() {
	switch r.state {
	case atBlock:
		r.block()
	case inStored:
		r.copyStored()
	case inHuffman:
		r.fast()
		if r.state == inHuffman && r.err == nil && r.at < windowSize+RunSize {
			r.careful()
		}
	}
}

// more gets more input, after all that there was has been used.
func (r *Reader) more() bool {
	if r.in != nil {
		r.src.Discard(r.pos)
	}
	r.pos = 0
	if r.in, r.err = r.src.Peek(); r.err != nil {
		r.in = nil
		if errors.Is(r.err, io.EOF) {
			r.err = io.ErrUnexpectedEOF
		}
		return false
	}
	return true
}

// need has at least n bits at hand, and never a byte more than that takes.
func (r *Reader) need(n uint) bool {
	for r.nbits < n {
		if r.pos == len(r.in) && !r.more() {
			return false
		}
		r.bits |= uint64(r.in[r.pos]) << r.nbits
		r.pos++
		r.nbits += 8
	}
	return true
}

// take returns the next n bits, which are at hand.
func (r *Reader) take(n uint) uint {
	v := uint(r.bits & (1<<n - 1))
	r.bits >>= n
	r.nbits -= n
	return v
}

// block reads a block's header (RFC 1951, section 3.2.3).
func (r *Reader) block() {
	if r.final {
		r.err = io.EOF
		return
	}
	if !r.need(3) {
		return
	}
	r.final = r.take(1) == 1
	switch r.take(2) {
	case 0:
		r.bits, r.nbits = 0, 0 // of the byte that is begun
		if !r.need(32) {
			return
		}
		length := r.take(16)
		if r.take(16) != length^0xffff {
			r.err = errStored
			return
		}
		r.stored, r.state = int(length), inStored
	case 1:
		r.lit, r.dist = &fixed.lit, &fixed.dist
		r.state = inHuffman
	case 2:
		if r.codes() {
			r.lit, r.dist = &r.own.lit, &r.own.dist
			r.state = inHuffman
		}
	default:
		r.err = errBlockType
	}
}

// copyStored copies bytes of a stored block. There are no bits at hand.
func (r *Reader) copyStored() {
	if r.stored == 0 {
		r.state = atBlock
		return
	}
	if r.pos == len(r.in) && !r.more() {
		return
	}
	n := copy(r.out[r.at:windowSize+RunSize], r.in[r.pos:min(len(r.in), r.pos+r.stored)])
	r.at += n
	r.pos += n
	r.stored -= n
}

// fast decodes symbols while there is input to fill the bit buffer from in one
// load, and room for what a full one may become.
func (r *Reader) fast() {
	in, pos, bits, nbits := r.in, r.pos, r.bits, r.nbits
	out, at := r.out, r.at
	lit, dist := r.lit, r.dist
	low := r.low

symbols:
	for pos <= len(in)-16 && at < windowSize+RunSize {
		// 56 bits or more: the upper ones of what is loaded are loaded again.
		bits |= le.Uint64(in[pos:]) << (nbits & 63)
		pos += int((63 - nbits) >> 3)
		nbits |= 56

		// Literals of short codes, and enough bits left for a length. Two bytes
		// are written also where there is one.
		e := lit[bits&(1<<litBits-1)]
		if e&isLiteral != 0 {
			le.PutUint16(out[at:], uint16(e>>valueShift))
			at += int(e>>pairShift&1) + 1
			bits >>= e & lengthMask
			nbits -= uint(e & lengthMask)
			if e = lit[bits&(1<<litBits-1)]; e&isLiteral != 0 {
				le.PutUint16(out[at:], uint16(e>>valueShift))
				at += int(e>>pairShift&1) + 1
				bits >>= e & lengthMask
				nbits -= uint(e & lengthMask)
				if e = lit[bits&(1<<litBits-1)]; e&isLiteral != 0 {
					le.PutUint16(out[at:], uint16(e>>valueShift))
					at += int(e>>pairShift&1) + 1
					bits >>= e & lengthMask
					nbits -= uint(e & lengthMask)
					continue
				}
			}
		}
		if e&isLink != 0 {
			e = lit[uint64(e>>valueShift)+bits>>litBits&(1<<(e>>extraShift&lengthMask)-1)]
		}
		bits >>= e & lengthMask
		nbits -= uint(e & lengthMask)
		if e&(isLiteral|isEnd) != 0 || e == 0 {
			if e&isLiteral != 0 {
				out[at] = byte(e >> valueShift)
				at++
				continue
			}
			r.state = atBlock
			if e == 0 {
				r.err = errSymbol
			}
			break symbols
		}
		extra := e >> extraShift & lengthMask
		length := int(e>>valueShift) + int(bits&(1<<extra-1))
		bits >>= extra
		nbits -= uint(extra)

		bits |= le.Uint64(in[pos:]) << (nbits & 63)
		pos += int((63 - nbits) >> 3)
		nbits |= 56
		d := dist[bits&(1<<distBits-1)]
		if d&isLink != 0 {
			d = dist[uint64(d>>valueShift)+bits>>distBits&(1<<(d>>extraShift&lengthMask)-1)]
		}
		if d == 0 {
			r.err = errSymbol
			break symbols
		}
		bits >>= d & lengthMask
		extra = d >> extraShift & lengthMask
		distance := int(d>>valueShift) + int(bits&(1<<extra-1))
		bits >>= extra
		nbits -= uint(d&lengthMask + extra)

		from := at - distance
		if from < low {
			r.err = errDistance
			break symbols
		}
		if distance < 16 {
			at = overlapping(out, at, from, length)
			continue
		}
		end := at + length
		for at < end {
			*(*[16]byte)(out[at:]) = *(*[16]byte)(out[from:])
			at += 16
			from += 16
		}
		at = end
	}

	// What was loaded and not used goes back, but for the bits of a byte.
	pos -= int(nbits >> 3)
	nbits &= 7
	r.pos, r.bits, r.nbits, r.at = pos, bits&(1<<nbits-1), nbits, at
}

// overlapping copies a match of whatever distance, and returns where it ends. It
// may write 7 bytes more.
func overlapping(out *[bufferSize]byte, at, from, length int) int {
	end := at + length
	if at-from >= 8 {
		for at < end {
			*(*[8]byte)(out[at:]) = *(*[8]byte)(out[from:])
			at += 8
			from += 8
		}
		return end
	}
	if at-from == 1 && length >= 16 {
		// A run of one byte, which is most of what expands far.
		run := uint64(out[from]) * 0x0101010101010101
		for ; at < end; at += 8 {
			le.PutUint64(out[at:], run)
		}
		return end
	}
	for ; at < end; at++ {
		out[at] = out[from]
		from++
	}
	return end
}

// careful decodes one symbol, with its match if it is one, and uses no byte of
// input that is not its own.
func (r *Reader) careful() {
	e, ok := r.symbol(r.lit[:], litBits)
	switch {
	case !ok:
		return
	case e&isLiteral != 0:
		r.out[r.at] = byte(e >> valueShift)
		r.at++
		return
	case e&isEnd != 0:
		r.state = atBlock
		return
	}
	length, ok := r.value(e)
	if !ok {
		return
	}
	if e, ok = r.symbol(r.dist[:], distBits); !ok {
		return
	}
	distance, ok := r.value(e)
	if !ok {
		return
	}
	if r.at-distance < r.low {
		r.err = errDistance
		return
	}
	r.at = overlapping(r.out, r.at, r.at-distance, length)
}

// symbol decodes a symbol and takes its code. Of two literals it is the first.
func (r *Reader) symbol(table []uint32, width uint) (e uint32, ok bool) {
	for {
		e = table[r.bits&(1<<width-1)]
		if e&isLink != 0 && r.nbits > width {
			e = table[uint64(e>>valueShift)+r.bits>>width&(1<<(e>>extraShift&lengthMask)-1)]
		}
		n := uint(e & lengthMask)
		if e>>pairShift&1 != 0 {
			n = uint(e >> extraShift & lengthMask)
		}
		switch {
		case e&isLink == 0 && e != 0 && n <= r.nbits:
			r.take(n)
			return e, true
		case e == 0 && r.nbits >= maxCode:
			r.err = errSymbol
			return 0, false
		}
		if !r.need(r.nbits + 1) {
			return 0, false
		}
	}
}

// value is what a symbol and its extra bits mean.
func (r *Reader) value(e uint32) (v int, ok bool) {
	extra := uint(e >> extraShift & lengthMask)
	if !r.need(extra) {
		return 0, false
	}
	return int(e>>valueShift) + int(r.take(extra)), true
}
