package inflate

import "math/bits"

// A builder makes tables. Its fields are about the last one, and are kept only to be
// used again.
type builder struct {
	longest int // length of a code

	// The symbols in the order of their codes, and the codes with their first bit
	// lowest. Those of n bits are from first[n] to first[n+1].
	first   [maxCode + 2]int
	symbols [288]uint16
	codes   [288]uint16

	// next is what the symbol after a literal adds to the literal's entry, by the bits
	// after the literal's code. It is zero if the entry has no room for the symbol.
	next [1 << (litBits - 1)]uint32
}

// order puts the symbols in the order of their codes. The lengths are 0 for symbols
// without a code. It returns false if they are not a code. A code is complete, or has a
// single code of one bit, or none. Encoders write the last two if they need no distances.
func (b *builder) order(lengths []uint8) (complete, ok bool) {
	var count, at [maxCode + 1]int
	for _, n := range lengths {
		count[n&maxCode]++
	}
	code, used := 0, 0
	b.longest = 0
	for n := 1; n <= maxCode; n++ {
		b.first[n], at[n] = used, used
		code <<= 1
		if count[n] == 0 {
			continue
		}
		b.longest = n
		codes := b.codes[used : used+count[n]]
		for i := range codes {
			codes[i] = bits.Reverse16(uint16(code+i)) >> (16 - n)
		}
		code += count[n]
		used += count[n]
	}
	b.first[maxCode+1] = used
	complete = code == 1<<maxCode
	if !complete && (used > 1 || b.longest > 1) {
		return false, false
	}
	for s, n := range lengths {
		if n > 0 {
			b.symbols[at[n&maxCode]] = uint16(s)
			at[n&maxCode]++
		}
	}
	return complete, true
}

// begin orders the symbols, and clears the part of the table that codes lead to directly
// if not all of it will be set.
func (b *builder) begin(table []uint32, lengths []uint8) bool {
	complete, ok := b.order(lengths)
	if !complete {
		for i := range table {
			table[i] = isSpecial
		}
	}
	return ok
}

// build makes a table for a code. It returns false if the lengths are not a code.
func (b *builder) build(table []uint32, width int, lengths []uint8, symbols []uint32) bool {
	if !b.begin(table[:1<<width], lengths) {
		return false
	}
	for n := 1; n <= min(width, b.longest); n++ {
		for i := b.first[n]; i < b.first[n+1]; i++ {
			e := symbols[b.symbols[i]] + uint32(n)*oneBit
			for at := int(b.codes[i]); at < 1<<width; at += 1 << n {
				table[at] = e
			}
		}
	}
	b.link(table, width, symbols)
	return true
}

// buildLit makes the table of literals and lengths. An entry of a literal has the next
// symbol too if the table is wide enough for both codes.
func (b *builder) buildLit(table *[litEntries]uint32, lengths []uint8) bool {
	if !b.begin(table[:1<<litBits], lengths) {
		return false
	}
	// Literals with long codes come first: with few bits left for the next symbol. Then
	// next doubles.
	b.next[0] = 0
	for rest := range litBits {
		size := 1 << rest
		if rest > 0 {
			copy(b.next[size/2:size], b.next[:size/2])
			for i := b.first[rest]; i < b.first[rest+1]; i++ {
				if e := litNext[b.symbols[i]]; e != 0 {
					b.next[b.codes[i]] = e + uint32(rest)*oneBit
				}
			}
		}
		n := litBits - rest
		step := 1 << n
		for i := b.first[n]; i < b.first[n+1]; i++ {
			s, at := b.symbols[i], int(b.codes[i])
			e := litSymbols[s] + uint32(n)*oneBit
			if s < 256 {
				for _, next := range b.next[:size] {
					table[at&(1<<litBits-1)] = e + next
					at += step
				}
			} else {
				for range size {
					table[at&(1<<litBits-1)] = e
					at += step
				}
			}
		}
	}
	b.link(table[:], litBits, litSymbols[:])
	return true
}

// link makes the linked tables, of codes that are longer than the table is wide.
func (b *builder) link(table []uint32, width int, symbols []uint32) {
	end, prefix, linked, linkedBits := 1<<width, -1, 0, 0
	for n := width + 1; n <= b.longest; n++ {
		for i := b.first[n]; i < b.first[n+1]; i++ {
			code := int(b.codes[i])
			if p := code & (1<<width - 1); p != prefix {
				prefix, linked = p, end
				linkedBits = b.linkWidth(n, i, width)
				end += 1 << linkedBits
				table[p] = isLink | uint32(width) | uint32(linkedBits)<<codeShift | uint32(linked)<<valueShift
			}
			e := symbols[b.symbols[i]] + uint32(n-width)*oneBit
			for at := code >> width; at < 1<<linkedBits; at += 1 << (n - width) {
				table[linked+at] = e
			}
		}
	}
}

// linkWidth returns the width of the linked table whose first code is code i, which has n
// bits. All further codes that begin with the same bits must fit.
func (b *builder) linkWidth(n, i, width int) int {
	w := n - width
	for free := 1<<w - (b.first[n+1] - i); free > 0 && width+w < b.longest; {
		w++
		free = free<<1 - (b.first[width+w+1] - b.first[width+w])
	}
	return w
}
