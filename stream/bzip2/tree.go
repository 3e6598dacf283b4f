package bzip2

const (
	maxLength  = 20 // of a code, in bits
	fastBits   = 10
	treeMemory = 4*(1<<fastBits) + 4*(maxLength+2)*2 + 2*maxAlphabet
)

// tree is a Huffman code. Codes of a length are consecutive, in the order of
// their symbols, and longer ones follow shorter ones.
type tree struct {
	fast    [1 << fastBits]uint32 // by the next bits: symbol<<8 | length, 0 for longer codes
	limit   [maxLength + 2]uint32 // by length: the first code that is longer, in maxLength bits
	offset  [maxLength + 2]uint32 // by length: subtracted from a code, it gives the index in symbols
	symbols [maxAlphabet]uint16   // in the order of their codes
	lengths [maxAlphabet]uint8
}

// readTree reads the code lengths of an alphabet.
func (r *Reader) readTree(t *tree, alphabet int) error {
	v, err := r.in.take(5)
	if err != nil {
		return err
	}
	length := int(v)
	for i := range alphabet {
		for {
			if length < 1 || length > maxLength {
				return errLengths
			}
			// 0: this length. 10: one more. 11: one less.
			step, err := r.in.take(1)
			if err != nil {
				return err
			}
			if step == 0 {
				break
			}
			if step, err = r.in.take(1); err != nil {
				return err
			}
			length += 1 - 2*int(step)
		}
		t.lengths[i] = uint8(length)
	}
	return t.build(alphabet)
}

// build makes the tables. It refuses incomplete codes: known encoders do not write them, and
// decoders disagree on them.
func (t *tree) build(alphabet int) error {
	var counts [maxLength + 1]uint32
	for _, l := range t.lengths[:alphabet] {
		counts[l]++
	}
	var next [maxLength + 1]uint32 // by length: index in symbols
	code, index := uint32(0), uint32(0)
	clear(t.fast[:])
	for l := 1; l <= maxLength; l++ {
		next[l] = index
		t.offset[l] = code - index
		code += counts[l]
		index += counts[l]
		if code > 1<<l {
			return errLengths
		}
		t.limit[l] = code << (maxLength - l)
		code <<= 1
	}
	if code != 2<<maxLength {
		return errLengths
	}
	for symbol, l := range t.lengths[:alphabet] {
		at := next[l]
		next[l]++
		t.symbols[at] = uint16(symbol)
		if l <= fastBits {
			first := (at + t.offset[l]) << (fastBits - l)
			entry := uint32(symbol)<<8 | uint32(l)
			for i := range t.fast[first : first+1<<(fastBits-l)] {
				t.fast[int(first)+i] = entry
			}
		}
	}
	return nil
}

// decode returns the symbol whose code is in the highest bits, and the code's length.
func (t *tree) decode(bits uint64) (symbol uint32, length uint) {
	if e := t.fast[bits>>(64-fastBits)]; e != 0 {
		return e >> 8, uint(e & 0xff)
	}
	code := uint32(bits >> (64 - maxLength))
	length = fastBits + 1
	for code >= t.limit[length] {
		length++ // ends, because the code is complete
	}
	return uint32(t.symbols[code>>(maxLength-length)-t.offset[length]]), length
}
