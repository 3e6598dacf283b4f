package inflate

import "math/bits"

// A table decodes the symbols of a Huffman code (RFC 1951, section 3.2.2): the
// low bits of the input, as many as the table is wide, select an entry. The entry of
// a longer code links to a second table, after the first.
//
// An entry, from its low bits: the length of the code, or of the codes of two
// literals (4 bits); how many extra bits follow it, how wide a linked table is, or
// the length of the first of two codes (4 bits); flags; and from bit 16 on the
// value: a literal or two, what extra bits are added to, or where the linked table
// begins. Zero stands for codes that do not exist.
const (
	lengthMask = 15
	extraShift = 4
	isLiteral  = 1 << 8
	isEnd      = 1 << 9
	isLink     = 1 << 10
	pairShift  = 11 // of the flag of two literals
	valueShift = 16

	maxCode = 15 // bits of the longest code

	// Widths of the tables, and how many entries the worst codes need. A search of
	// all codes found them.
	litBits, distBits       = 11, 8
	litEntries, distEntries = 2342, 402

	maxLit  = 286 // symbols of literals and lengths
	maxDist = 30  // symbols of distances
)

type (
	litTable  [litEntries]uint32
	distTable [distEntries]uint32
)

// litSymbols and distSymbols are the entries of symbols, without code lengths. Symbols
// that do not exist are zero.
var litSymbols, distSymbols = func() (lit [288]uint32, dist [32]uint32) {
	for s := range 256 {
		lit[s] = isLiteral | uint32(s)<<valueShift
	}
	lit[256] = isEnd
	base := uint32(3)
	for s := 257; s < 285; s++ {
		extra := uint32(max(0, (s-261)/4))
		lit[s] = extra<<extraShift | base<<valueShift
		base += 1 << extra
	}
	lit[285] = maxMatch << valueShift
	base = 1
	for s := range maxDist {
		extra := uint32(max(0, s/2-1))
		dist[s] = extra<<extraShift | base<<valueShift
		base += 1 << extra
	}
	return lit, dist
}()

// fixed are the tables of blocks with fixed codes (RFC 1951, section 3.2.6).
var fixed = func() (t struct {
	lit  litTable
	dist distTable
},
) {
	var lengths [288]uint8
	for s := range lengths {
		switch {
		case s < 144:
			lengths[s] = 8
		case s < 256:
			lengths[s] = 9
		case s < 280:
			lengths[s] = 7
		default:
			lengths[s] = 8
		}
	}
	build(t.lit[:], litBits, lengths[:], litSymbols[:])
	pair(&t.lit)
	for s := range 32 {
		lengths[s] = 5
	}
	build(t.dist[:], distBits, lengths[:32], distSymbols[:])
	return t
}()

// build makes the table of a code from its code lengths, 0 for a symbol without a code. It
// returns false if they are not a code. A code is complete, or has a single code of one
// bit, or none. Encoders write the last two if they need no distances.
func build(table []uint32, width int, lengths []uint8, symbols []uint32) bool {
	var count, next [maxCode + 1]int
	longest := 0
	for _, n := range lengths {
		count[n]++
		longest = max(longest, int(n))
	}
	clear(table[:1<<width])
	if longest == 0 {
		return true
	}
	code := 0
	var first [maxCode + 1]int // of the symbols in order of their codes
	total := 0
	for n := 1; n <= longest; n++ {
		code <<= 1
		next[n] = code
		code += count[n]
		first[n] = total
		total += count[n]
	}
	if code != 1<<longest && (code != 1 || longest != 1) {
		return false
	}
	var order [288]uint16
	for s, n := range lengths {
		if n > 0 {
			order[first[n]] = uint16(s)
			first[n]++
		}
	}

	left := count
	end, prefix, linked, linkedBits := 1<<width, -1, 0, 0
	for _, s := range order[:total] {
		n := int(lengths[s])
		reversed := int(bits.Reverse16(uint16(next[n])) >> (16 - n))
		next[n]++
		e := symbols[s]
		if e != 0 {
			e |= uint32(n)
		}
		if n <= width {
			for i := reversed; i < 1<<width; i += 1 << n {
				table[i] = e
			}
			left[n]--
			continue
		}
		if p := reversed & (1<<width - 1); p != prefix {
			prefix, linked = p, end
			linkedBits = linkWidth(left[:longest+1], n, width)
			end += 1 << linkedBits
			table[p] = isLink | uint32(linkedBits)<<extraShift | uint32(linked)<<valueShift
		}
		left[n]--
		for i := reversed >> width; i < 1<<linkedBits; i += 1 << (n - width) {
			table[linked+i] = e
		}
	}
	return true
}

// pair makes one entry decode two literals, if both codes fit into the table's width.
func pair(table *litTable) {
	// Backwards: the second code is at a lower index, whose entry is not paired yet.
	for i := 1<<litBits - 1; i >= 0; i-- {
		e := table[i]
		if e&isLiteral == 0 {
			continue
		}
		n := e & lengthMask
		if next := table[i>>n]; next&isLiteral != 0 && n+next&lengthMask <= litBits {
			table[i] = e + next&lengthMask | n<<extraShift | 1<<pairShift | next>>valueShift<<(valueShift+8)
		}
	}
}

// linkWidth returns the width of the linked table whose first code has n bits. The codes
// that are left and begin with the same bits must fit.
func linkWidth(left []int, n, width int) int {
	bits := n - width
	for free := 1 << bits; width+bits < len(left)-1; free <<= 1 {
		if free -= left[width+bits]; free <= 0 {
			break
		}
		bits++
	}
	return bits
}

// lengthOrder is the order of the code lengths of code lengths (RFC 1951,
// section 3.2.7).
var lengthOrder = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// lengthSymbols are the entries of code lengths and their repetitions.
var lengthSymbols = func() (symbols [19]uint32) {
	for s := range symbols {
		symbols[s] = isLiteral | uint32(s)<<valueShift
	}
	return symbols
}()

const lengthBits = 7 // of the longest code of a code length

// codes reads the codes of a block (RFC 1951, section 3.2.7) into tables.
func (r *Reader) codes() bool {
	if !r.need(14) {
		return false
	}
	lits, dists, n := int(r.take(5))+257, int(r.take(5))+1, int(r.take(4))+4
	if lits > maxLit || dists > maxDist {
		r.err = errLengths
		return false
	}
	var lengths [maxLit + maxDist]uint8
	for _, s := range lengthOrder[:n] {
		if !r.need(3) {
			return false
		}
		lengths[s] = uint8(r.take(3))
	}
	var table [1 << lengthBits]uint32
	if !build(table[:], lengthBits, lengths[:len(lengthOrder)], lengthSymbols[:]) {
		r.err = errLengths
		return false
	}
	clear(lengths[:len(lengthOrder)])
	for i := 0; i < lits+dists; {
		e, ok := r.symbol(table[:], lengthBits)
		if !ok {
			return false
		}
		value, repeat := uint8(0), 1
		switch s := e >> valueShift; s {
		case 16:
			if i == 0 || !r.need(2) {
				r.fail(errLengths)
				return false
			}
			value, repeat = lengths[i-1], 3+int(r.take(2))
		case 17:
			if !r.need(3) {
				return false
			}
			repeat = 3 + int(r.take(3))
		case 18:
			if !r.need(7) {
				return false
			}
			repeat = 11 + int(r.take(7))
		default:
			value = uint8(s)
		}
		if i+repeat > lits+dists {
			r.err = errLengths
			return false
		}
		for range repeat {
			lengths[i] = value
			i++
		}
	}
	if !build(r.own.lit[:], litBits, lengths[:lits], litSymbols[:]) || !build(r.own.dist[:], distBits, lengths[lits:lits+dists], distSymbols[:]) {
		r.err = errLengths
		return false
	}
	pair(&r.own.lit)
	return true
}

// fail ends the stream with err, unless it has ended before.
func (r *Reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}
