package zip_test

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// records are the headers and records of an archive, each with what follows it up to the
// next one. Joined they are the archive. What precedes the first is one, too.
type records [][]byte

// signatures of the headers and records.
var signatures = map[string]struct {
	offset int // of the field that is an offset in the archive
	wide   bool
}{
	"PK\x03\x04": {}, "PK\x07\x08": {}, "PK\x01\x02": {42, false}, "PK\x05\x06": {16, false}, "PK\x06\x06": {48, true}, "PK\x06\x07": {8, true},
}

func parseRecords(data []byte) (all records) {
	start := 0
	for i := range data {
		if i+4 > len(data) {
			break
		}
		if _, ok := signatures[string(data[i:i+4])]; ok && i > start {
			all, start = append(all, slices.Clone(data[start:i])), i
		}
	}
	return append(all, slices.Clone(data[start:]))
}

// is reports whether record i has that signature and n bytes at least.
func (r records) is(i int, signature string, n int) bool {
	return len(r[i]) >= n && bytes.HasPrefix(r[i], []byte(signature))
}

// last returns the number of the last record with that signature and n bytes at least, or
// -1.
func (r records) last(signature string, n int) int {
	for i := range slices.Backward(r) {
		if r.is(i, signature, n) {
			return i
		}
	}
	return -1
}

// at returns the offset of record i.
func (r records) at(i int) (offset int) {
	for _, b := range r[:i] {
		offset += len(b)
	}
	return offset
}

// move adds n to the offset in record i.
func (r records) move(i, n int) {
	if len(r[i]) < 56 && !r.is(i, "PK\x01\x02", 46) && !r.is(i, "PK\x05\x06", 22) && !r.is(i, "PK\x06\x07", 20) {
		return
	}
	switch s := signatures[string(r[i][:4])]; {
	case s.wide:
		field := r[i][s.offset:]
		binary.LittleEndian.PutUint64(field, binary.LittleEndian.Uint64(field)+uint64(n))
	case s.offset > 0:
		field := r[i][s.offset:]
		binary.LittleEndian.PutUint32(field, binary.LittleEndian.Uint32(field)+uint32(n))
	}
}

// changeRecords moves, doubles, swaps, embeds and shifts whole records of an archive. Each
// three bytes of steps are a change and what it is to.
func changeRecords(data, steps []byte) []byte {
	r := parseRecords(data)
	for ; len(steps) >= 3 && len(r) > 1 && len(r) < 100; steps = steps[3:] {
		r = r.change(steps[0], int(steps[1]), int(steps[2]))
	}
	return bytes.Join(r, nil)
}

// numberOfChanges is how many changes [records.change] knows.
const numberOfChanges = 13

func (r records) change(what byte, a, b int) records {
	i, j := a%len(r), b%len(r)
	switch what % numberOfChanges {
	case 0:
		r[i], r[j] = r[j], r[i]
	case 1:
		return slices.Insert(r, j, slices.Clone(r[i]))
	case 2:
		moved := r[i]
		return slices.Insert(slices.Delete(r, i, i+1), min(j, len(r)-1), moved)
	case 3:
		return slices.Delete(r, i, i+1)
	case 4: // bytes before all
		return slices.Insert(r, 0, bytes.Repeat([]byte{byte(b)}, a))
	case 5: // bytes anywhere
		r[i] = append(r[i], bytes.Repeat([]byte{byte(b >> 4)}, b&0xf)...)
	case 6: // other offsets
		r.move(i, int(int8(b)))
	case 7: // all offsets
		for k := range r {
			r.move(k, int(int8(a)))
		}
	case 8:
		r.mend(0)
	case 9: // offsets count from the first local header
		r.mend(max(0, bytes.Index(bytes.Join(r, nil), []byte("PK\x03\x04"))))
	case 10: // a record in a comment
		r.embed(i, j, b)
	case 11: // a record among the first bytes
		first := bytes.Repeat([]byte{'x'}, b)
		return slices.Insert(r, 0, append(first, r[i]...))
	case 12: // the values of the central directory in the local headers
		r.state(a)
	}
	return r
}

// embed adds record i to the comment of the directory header or end record j.
func (r records) embed(i, j, b int) {
	length := 20
	if r.is(j, "PK\x01\x02", 46) {
		length = 32
	} else if !r.is(j, "PK\x05\x06", 22) {
		return
	}
	comment := append(bytes.Repeat([]byte{'c'}, b), r[i]...)
	field := r[j][length:]
	binary.LittleEndian.PutUint16(field, binary.LittleEndian.Uint16(field)+uint16(len(comment)))
	r[j] = append(r[j], comment...)
}

// localOf returns the number of the local header of the same name as directory header i, or
// -1.
func (r records) localOf(i int) int {
	name := func(b []byte, length, start int) []byte {
		return b[start:min(len(b), start+int(binary.LittleEndian.Uint16(b[length:])))]
	}
	for k := range r {
		if r.is(k, "PK\x03\x04", 30) && bytes.Equal(name(r[k], 26, 30), name(r[i], 28, 46)) {
			return k
		}
	}
	return -1
}

// mend has the directory, the zip64 record and locator and the end record state what is
// there, with offsets that count from byte shift. The end record has sentinels if it has
// one now.
func (r records) mend(shift int) {
	le := binary.LittleEndian
	first, count, size := -1, 0, 0
	for i := range r {
		if !r.is(i, "PK\x01\x02", 46) {
			continue
		}
		if k := r.localOf(i); k >= 0 && le.Uint32(r[i][42:]) != 0xffffffff {
			le.PutUint32(r[i][42:], uint32(r.at(k)-shift))
		}
		if first < 0 {
			first = i
		}
		count, size = count+1, size+len(r[i])
	}
	end := r.last("PK\x05\x06", 22)
	if first < 0 || end < 0 {
		return
	}
	start := r.at(first) - shift
	if wide, locator := r.last("PK\x06\x06", 56), r.last("PK\x06\x07", 20); wide >= 0 && locator >= 0 {
		for _, field := range []struct{ at, value int }{{24, count}, {32, count}, {40, size}, {48, start}} {
			le.PutUint64(r[wide][field.at:], uint64(field.value))
		}
		le.PutUint64(r[locator][8:], uint64(r.at(wide)-shift))
	}
	if le.Uint32(r[end][16:]) == 0xffffffff {
		return
	}
	le.PutUint16(r[end][8:], uint16(count))
	le.PutUint16(r[end][10:], uint16(count))
	le.PutUint32(r[end][12:], uint32(size))
	le.PutUint32(r[end][16:], uint32(start))
}

// state has local headers state the CRC-32 and sizes of their directory headers, or has the
// end record repeat the values of the zip64 record.
func (r records) state(a int) {
	le := binary.LittleEndian
	if a%2 == 1 {
		end, wide := r.last("PK\x05\x06", 22), r.last("PK\x06\x06", 56)
		if end >= 0 && wide >= 0 {
			le.PutUint16(r[end][8:], uint16(le.Uint64(r[wide][24:])))
			le.PutUint16(r[end][10:], uint16(le.Uint64(r[wide][32:])))
			le.PutUint32(r[end][12:], uint32(le.Uint64(r[wide][40:])))
			le.PutUint32(r[end][16:], uint32(le.Uint64(r[wide][48:])))
		}
		return
	}
	for i := range r {
		if !r.is(i, "PK\x01\x02", 46) {
			continue
		}
		if k := r.localOf(i); k >= 0 {
			copy(r[k][14:26], r[i][16:28])
		}
	}
}
