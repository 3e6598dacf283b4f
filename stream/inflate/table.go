package inflate

// A table decodes the symbols of a Huffman code (RFC 1951, section 3.2.2): the
// low bits of the input, as many as the table is wide, select an entry. The entry of
// a longer code links to a second table, after the first.
//
// An entry has one or two symbols. Two are two literals, or a literal and a length.
// From its low bits:
//
//	0–5    how many bits to take: the codes, and the extra bits of a length or distance
//	6–7    how many literals
//	8–13   the length of the codes, or how many bits a link's table is wide
//	14–15  isSpecial, isLiterals
//	16–31  a distance without its extra bits
//	16–23  the first literal
//	24–31  the second literal, or a length without its extra bits, less minMatch
//	16–27  where a link's table begins
//	30–31  what is special: isLink, isEnd, or neither where no code leads
//
// A link takes the bits that were looked up. The table that it links to decodes the rest.
const (
	takeMask    = 1<<6 - 1
	countShift  = 6
	codeShift   = 8
	codeMask    = 63
	isSpecial   = 1 << 14
	isLiterals  = 1 << 15 // no length; the sign of the low half, which is faster to test
	isLink      = isSpecial | 1<<30
	isEnd       = isSpecial | 1<<31
	linkMask    = 1<<12 - 1 // of the value of a link
	valueShift  = 16
	lengthShift = 24

	oneBit = 1 | 1<<codeShift // more in a code

	maxCode = 15 // bits of the longest code

	// Widths of the tables, and how many entries the worst codes need. A search of
	// all codes found them.
	litBits, distBits       = 11, 8
	litEntries, distEntries = 2342, 402

	maxLit  = 286 // symbols of literals and lengths
	maxDist = 30  // symbols of distances
)

// codes are the codes of a block.
type codes struct {
	lit     [litEntries]uint32
	dist    [distEntries]uint32
	lengths [256]uint8 // of literals, which entries of two do not tell
}

// litSymbols and distSymbols are the entries of symbols, without the lengths of their codes.
var litSymbols, distSymbols = func() (lit [288]uint32, dist [32]uint32) {
	for s := range 256 {
		lit[s] = literal(uint8(s))
	}
	lit[256] = isSpecial | isEnd
	length := uint32(0)
	for s := 257; s < 285; s++ {
		extra := uint32(max(0, (s-261)/4))
		lit[s] = extra | length<<lengthShift
		length += 1 << extra
	}
	lit[285] = (maxMatch - minMatch) << lengthShift
	lit[286], lit[287] = isSpecial, isSpecial
	distance := uint32(1)
	for s := range maxDist {
		extra := uint32(max(0, s/2-1))
		dist[s] = extra | distance<<valueShift
		distance += 1 << extra
	}
	dist[30], dist[31] = isSpecial, isSpecial
	return lit, dist
}()

// litNext is what a symbol adds to the entry of a literal before it, zero if it cannot.
var litNext = func() (next [288]uint32) {
	for s, e := range litSymbols {
		switch {
		case e&isLiterals != 0:
			next[s] = 1<<countShift | uint32(s)<<lengthShift
		case e&isSpecial == 0:
			next[s] = e - isLiterals // the flag of the literal
		}
	}
	return next
}()

// literal returns the entry of a literal, without the length of its code.
func literal(s uint8) uint32 { return isLiterals | 1<<countShift | uint32(s)<<valueShift }

// isPair reports whether an entry has two symbols.
func isPair(e uint32) bool {
	n := e >> countShift & 3
	if e&(isLiterals|isSpecial) == 0 {
		n++
	}
	return n == 2
}

// fixed are the tables of blocks with fixed codes (RFC 1951, section 3.2.6).
var fixed = func() (c codes) {
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
	var dists [32]uint8
	for s := range dists {
		dists[s] = 5
	}
	c.build(new(builder), lengths[:], dists[:])
	return c
}()

// build makes the tables from the lengths of the codes.
func (c *codes) build(b *builder, lit, dist []uint8) bool {
	copy(c.lengths[:], lit)
	return b.buildLit(&c.lit, lit) && b.build(c.dist[:], distBits, dist, distSymbols[:])
}

// lengthOrder is the order of the code lengths of code lengths (RFC 1951,
// section 3.2.7).
var lengthOrder = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// lengthSymbols are the entries of code lengths and their repetitions.
var lengthSymbols = func() (symbols [19]uint32) {
	for s := range symbols {
		symbols[s] = literal(uint8(s))
	}
	return symbols
}()

const lengthBits = 7 // of the longest code of a code length

// readCodes reads the codes of a block (RFC 1951, section 3.2.7) into tables.
func (r *Reader) readCodes() bool {
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
		r.refill()
		if !r.need(3) {
			return false
		}
		lengths[s] = uint8(r.take(3))
	}
	var table [1 << lengthBits]uint32
	if !r.builder.build(table[:], lengthBits, lengths[:len(lengthOrder)], lengthSymbols[:]) {
		r.err = errLengths
		return false
	}
	clear(lengths[:len(lengthOrder)])
	var ok bool
	for i := 0; i < lits+dists; {
		r.refill()
		e := table[r.bits&(1<<lengthBits-1)]
		if r.nbits >= lengthBits && e&isSpecial == 0 {
			r.take(uint(e & takeMask))
		} else if e, ok = r.symbol(table[:], lengthBits, nil); !ok {
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
	if !r.own.build(&r.builder, lengths[:lits], lengths[lits:lits+dists]) {
		r.err = errLengths
		return false
	}
	return true
}

// fail ends the stream with err, unless it has ended before.
func (r *Reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}
