package archive

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
)

// BZip2Stream returns data as a bzip2 stream of a level from 1 to 9. It uses two equal
// Huffman trees, the fewest that the format allows.
func BZip2Stream(level int, data []byte) []byte {
	w := &bitWriter{}
	w.write(24, 'B'<<16|'Z'<<8|'h')
	w.write(8, uint64('0'+level))
	most := level*100_000 - 19
	sums := uint32(0)
	for len(data) > 0 {
		runs, n := runLengths(data, most)
		sum := bzip2Sum(data[:n])
		data = data[n:]
		sums = bits.RotateLeft32(sums, 1) ^ sum
		w.block(runs, sum)
	}
	w.write(48, 0x177245385090)
	w.write(32, uint64(sums))
	return w.bytes()
}

// runLengths encodes runs of 4 to 255 equal bytes. n is how many bytes of data fit into a
// block of most bytes.
func runLengths(data []byte, most int) (out []byte, n int) {
	for n < len(data) && len(out)+5 <= most {
		run := 1
		for run < 255 && n+run < len(data) && data[n+run] == data[n] {
			run++
		}
		for range min(run, 4) {
			out = append(out, data[n])
		}
		if run >= 4 {
			out = append(out, byte(run-4))
		}
		n += run
	}
	return out, n
}

// bzip2Sum is the CRC-32 that takes the highest bit of a byte first.
func bzip2Sum(data []byte) uint32 {
	sum := ^uint32(0)
	for _, b := range data {
		sum ^= uint32(b) << 24
		for range 8 {
			if sum>>31 != 0 {
				sum = sum<<1 ^ 0x04c11db7
			} else {
				sum <<= 1
			}
		}
	}
	return ^sum
}

// rotations sorts the rotations of data. It doubles the length of the compared prefix each
// time.
func rotations(data []byte) []int32 {
	n := len(data)
	order, rank, next := make([]int32, n), make([]int32, n), make([]int32, n)
	for i, b := range data {
		order[i], rank[i] = int32(i), int32(b)
	}
	counts := make([]int32, max(n, 256)+1)
	sortBy := func(shift int) {
		clear(counts)
		for _, r := range rank {
			counts[r+1]++
		}
		for i := 1; i < len(counts); i++ {
			counts[i] += counts[i-1]
		}
		for _, i := range order {
			at := (int(i) - shift + n) % n
			next[counts[rank[at]]] = int32(at)
			counts[rank[at]]++
		}
		order, next = next, order
	}
	sortBy(0)
	for length, ranks := 0, 0; ; length = max(1, 2*length) {
		if length > 0 {
			sortBy(length % n)
		}
		ranks = 0
		for i, at := range order {
			if i > 0 {
				before := order[i-1]
				if rank[at] != rank[before] || rank[(int(at)+length)%n] != rank[(int(before)+length)%n] {
					ranks++
				}
			}
			next[at] = int32(ranks)
		}
		rank, next = next, rank
		if ranks == n-1 || length >= n {
			return order
		}
	}
}

// block writes a block of run-length encoded bytes.
func (w *bitWriter) block(runs []byte, sum uint32) {
	order := rotations(runs)
	last := make([]byte, len(runs))
	for i, at := range order {
		last[i] = runs[(int(at)+len(runs)-1)%len(runs)]
	}
	w.write(48, 0x314159265359)
	w.write(32, uint64(sum))
	w.write(1, 0)
	w.write(24, uint64(slices.Index(order, 0)))

	var front []byte
	for b := range 256 {
		if bytes.IndexByte(runs, byte(b)) >= 0 {
			front = append(front, byte(b))
		}
	}
	w.bytesUsed(front)
	symbols := moveToFront(last, slices.Clone(front))
	alphabet := len(front) + 2
	groups := (len(symbols) + 49) / 50
	w.write(3, 2)
	w.write(15, uint64(groups))
	for range groups {
		w.write(1, 0)
	}
	lengths := codeLengths(symbols, alphabet)
	for range 2 {
		w.lengths(lengths)
	}
	codes := canonicalCodes(lengths)
	for _, s := range symbols {
		w.write(uint(lengths[s]), codes[s])
	}
}

func (w *bitWriter) bytesUsed(used []byte) {
	var ranges uint64
	var sets [16]uint64
	for _, b := range used {
		ranges |= 1 << (15 - b>>4)
		sets[b>>4] |= 1 << (15 - b&15)
	}
	w.write(16, ranges)
	for _, set := range sets {
		if set != 0 {
			w.write(16, set)
		}
	}
}

// moveToFront returns the symbols of a block, with the one that ends it.
func moveToFront(last, front []byte) (symbols []uint16) {
	run := 0
	flush := func() {
		for ; run > 0; run = (run - 1) / 2 {
			symbols = append(symbols, uint16(run-1)&1)
		}
	}
	end := uint16(len(front) + 1)
	for _, b := range last {
		i := bytes.IndexByte(front, b)
		if i == 0 {
			run++
			continue
		}
		flush()
		copy(front[1:i+1], front[:i])
		front[0] = b
		symbols = append(symbols, uint16(i+1))
	}
	flush()
	return append(symbols, end)
}

// codeLengths are the lengths of a Huffman code, of at most 17 bits.
func codeLengths(symbols []uint16, alphabet int) []int {
	counts := make([]int, alphabet)
	for _, s := range symbols {
		counts[s]++
	}
	for {
		type node struct{ weight, left, right int }
		nodes := make([]node, alphabet, 2*alphabet)
		var open []int
		for i, c := range counts {
			nodes[i] = node{max(c, 1), -1, i}
			open = append(open, i)
		}
		for len(open) > 1 {
			slices.SortFunc(open, func(a, b int) int { return nodes[b].weight - nodes[a].weight })
			a, b := open[len(open)-1], open[len(open)-2]
			open = append(open[:len(open)-2], len(nodes))
			nodes = append(nodes, node{nodes[a].weight + nodes[b].weight, a, b})
		}
		lengths := make([]int, alphabet)
		var walk func(i, depth int)
		walk = func(i, depth int) {
			if nodes[i].left < 0 {
				lengths[i] = depth
				return
			}
			walk(nodes[i].left, depth+1)
			walk(nodes[i].right, depth+1)
		}
		walk(len(nodes)-1, 0)
		if slices.Max(lengths) <= 17 {
			return lengths
		}
		for i := range counts {
			counts[i] = counts[i]/2 + 1
		}
	}
}

func canonicalCodes(lengths []int) []uint64 {
	codes := make([]uint64, len(lengths))
	code := uint64(0)
	for l := 1; l <= 17; l++ {
		for s, length := range lengths {
			if length == l {
				codes[s] = code
				code++
			}
		}
		code <<= 1
	}
	return codes
}

// lengths writes code lengths as differences.
func (w *bitWriter) lengths(lengths []int) {
	at := lengths[0]
	w.write(5, uint64(at))
	for _, l := range lengths {
		for ; at < l; at++ {
			w.write(2, 2)
		}
		for ; at > l; at-- {
			w.write(2, 3)
		}
		w.write(1, 0)
	}
}

// bitWriter writes bits, the highest of each byte first.
type bitWriter struct {
	out  []byte
	bits uint64
	n    uint
}

// write writes the lowest k bits of v, at most 56.
func (w *bitWriter) write(k uint, v uint64) {
	for ; k > 0; k-- {
		w.bits = w.bits<<1 | v>>(k-1)&1
		if w.n++; w.n == 64 {
			w.out = binary.BigEndian.AppendUint64(w.out, w.bits)
			w.n = 0
		}
	}
}

func (w *bitWriter) bytes() []byte {
	for w.n%8 != 0 {
		w.write(1, 0)
	}
	for w.n > 0 {
		w.n -= 8
		w.out = append(w.out, byte(w.bits>>w.n))
	}
	return w.out
}
