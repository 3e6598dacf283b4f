package bzip2

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

var be = binary.BigEndian

// block decodes a block: its header, its symbols, and the inverse of the
// Burrows-Wheeler transform.
func (r *Reader) block() error {
	head, err := r.in.wide(33)
	if err != nil {
		return err
	}
	r.sum, r.wantSum = 0, uint32(head>>1)
	r.streamSum = bits.RotateLeft32(r.streamSum, 1) ^ r.wantSum
	if head&1 != 0 {
		return errRandomized
	}
	origin, err := r.in.take(24)
	if err != nil {
		return err
	}
	var front [256]byte // bytes of the block, the most recent one first
	used, err := r.bytesUsed(&front)
	if err != nil {
		return err
	}
	trees, err := r.readSelectors()
	if err != nil {
		return err
	}
	for i := range trees {
		if err := r.readTree(&r.trees[i], used+2); err != nil {
			return err
		}
	}
	n, err := r.readSymbols(&front, used)
	r.symbols += int64(n)
	if err != nil {
		return err
	}
	if int(origin) >= n {
		return errOrigin
	}
	r.invert(n, origin)
	return nil
}

// bytesUsed reads the bytes that occur in a block, in ascending order.
func (r *Reader) bytesUsed(front *[256]byte) (n int, err error) {
	ranges, err := r.in.take(16)
	if err != nil {
		return 0, err
	}
	for i := range 16 {
		if ranges&(1<<(15-i)) == 0 {
			continue
		}
		set, err := r.in.take(16)
		if err != nil {
			return 0, err
		}
		for j := range 16 {
			if set&(1<<(15-j)) != 0 {
				front[n] = byte(16*i + j)
				n++
			}
		}
	}
	if n == 0 {
		return 0, errSymbols
	}
	return n, nil
}

// readSelectors reads the tree of each group of symbols, and returns the number of trees.
func (r *Reader) readSelectors() (trees int, err error) {
	head, err := r.in.take(18)
	if err != nil {
		return 0, err
	}
	trees, n := int(head>>15), int(head&maxSelectors)
	if trees < 2 || trees > maxTrees {
		return 0, errTrees
	}
	if n == 0 {
		return 0, errSelectors
	}
	front := [maxTrees]uint8{0, 1, 2, 3, 4, 5}
	r.selectors = r.selectors[:n]
	for i := range r.selectors {
		short := r.in.need(maxTrees)
		ones := bits.LeadingZeros64(^r.in.bits)
		if ones >= int(r.in.n) && short != nil {
			return 0, short
		}
		if ones >= trees {
			return 0, errSelectors
		}
		r.in.drop(uint(ones + 1))
		tree := front[ones]
		copy(front[1:ones+1], front[:ones])
		front[0] = tree
		r.selectors[i] = tree
	}
	return trees, nil
}

// readSymbols decodes a block's symbols into r.tt, and counts each byte value. n is the number
// of bytes.
func (r *Reader) readSymbols(front *[256]byte, used int) (n int, err error) {
	clear(r.counts[:])
	end := uint32(used + 1)
	run, power := 0, 1 // of the byte at the front
	group := 0
	for {
		if group == len(r.selectors) {
			return n, errSelectors
		}
		t := &r.trees[r.selectors[group]]
		group++
		for range groupSize {
			var short error // the input has fewer bits than the longest code
			if r.in.n < maxLength {
				short = r.in.need(maxLength)
			}
			symbol, length := t.decode(r.in.bits)
			if length > r.in.n {
				return n, short
			}
			r.in.drop(length)
			if symbol < 2 {
				// The length of a run of the front byte, in bijective base 2.
				run += power << symbol
				power <<= 1
				if run > r.level {
					return n, errTooLong
				}
				continue
			}
			if run > 0 {
				if run > r.level-n {
					return n, errTooLong
				}
				b := front[0]
				r.counts[b] += uint32(run)
				for i := range r.tt[n : n+run] {
					r.tt[n+i] = uint32(b)
				}
				n += run
				run, power = 0, 1
			}
			if symbol == end {
				return n, nil
			}
			if n == r.level {
				return n, errTooLong
			}
			b := front[symbol-1]
			copy(front[1:symbol], front[:symbol-1])
			front[0] = b
			r.counts[b]++
			r.tt[n] = uint32(b)
			n++
		}
	}
}

// invert links the n bytes in r.tt in their order before the transform.
func (r *Reader) invert(n int, origin uint32) {
	tt := r.tt[:n]
	sum := uint32(0)
	for i, count := range r.counts {
		r.counts[i] = sum
		sum += count
	}
	for i := range tt {
		b := byte(tt[i])
		tt[r.counts[b]] |= uint32(i) << 8
		r.counts[b]++
	}
	r.at, r.left = tt[origin]>>8, n
	r.last, r.run, r.repeat, r.zeroCount = -1, 0, 0, false
}

// add adds p to the block's CRC-32. bzip2 takes the highest bit of each byte first. Reversing
// the bits lets it use the CRC-32 of hash/crc32, which processors have instructions for.
func (r *Reader) add(p []byte) {
	sum := bits.Reverse32(r.sum)
	for len(p) > 0 {
		n := copy(r.reversed[:], p)
		p = p[n:]
		for i := 0; i < n; i += 8 {
			v := be.Uint64(r.reversed[i:])
			be.PutUint64(r.reversed[i:], bits.ReverseBytes64(bits.Reverse64(v)))
		}
		sum = crc32.Update(sum, crc32.IEEETable, r.reversed[:n])
	}
	r.sum = bits.Reverse32(sum)
}
