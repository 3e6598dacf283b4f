package s3sink

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"spillway/stream"
)

// FuzzCompare compares an entry with any metadata. If the object counts as equal, its size
// agrees, it has a hash, and every hash agrees. What is different stays so when more is
// known.
func FuzzCompare(f *testing.F) {
	f.Add("24", "0badcafe", "", int64(24), int64(24), uint32(0x0badcafe), "", uint8(0b0110))
	f.Add("24", "0badcafe", "000102030405060708090a0b0c0d0e0f", int64(9), int64(24), uint32(0x0badcafe), "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f", uint8(0b1111))
	f.Add("-1", "+1", "00", int64(-1), int64(-1), uint32(1), "", uint8(0b11111))
	f.Add("0024", "0x1", "zz", int64(0), int64(24), uint32(1), "", uint8(0b1110))
	f.Add("-01", "0", "0", int64(-1), int64(-1), uint32(0), "", uint8(0b10001))
	f.Fuzz(func(t *testing.T, size, crc, md5 string, length, ourSize int64, ourCRC uint32, ourMD5 string, has uint8) {
		s := objectInfo{found: true, length: length, metadata: map[string]string{}}
		for bit, pair := range [][2]string{{metaSize, size}, {metaCRC32, crc}, {metaMD5, md5}} {
			if has>>bit&1 != 0 {
				s.metadata[pair[0]] = pair[1]
			}
		}
		form := stream.AsIs
		if has>>3&1 != 0 {
			form = stream.Gzip
		}
		bySize := has>>4&1 != 0
		header := identity{hasSize: true, size: ourSize, crc32: ourCRC}
		all := header
		all.hasMD5 = true
		copy(all.md5[:], ourMD5)
		before, after := compare(form, header, s, bySize), compare(form, all, s, bySize)
		if before == different && after != different || after == undecided {
			t.Fatalf("%v, and %v once all is known", before, after)
		}
		if after != equal {
			return
		}
		agrees := func(name, want string) (there bool) {
			value, there := s.metadata[name]
			if there && strings.ToLower(value) != want {
				t.Fatalf("equal, with %s %q and not %q", name, value, want)
			}
			return there
		}
		sized := agrees(metaSize, strconv.FormatInt(ourSize, 10))
		if !sized && (form != stream.AsIs || length != ourSize) {
			t.Fatal("equal without a size that agrees")
		}
		hashed := agrees(metaCRC32, fmt.Sprintf("%08x", ourCRC))
		hashed = agrees(metaMD5, hex.EncodeToString(all.md5[:])) || hashed
		if !hashed && (!bySize || form != stream.AsIs || length != ourSize) {
			t.Fatal("equal without a hash")
		}
	})
}
