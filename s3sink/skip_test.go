package s3sink

import (
	"encoding/hex"
	"maps"
	"testing"

	"spillway/stream"
)

func TestCompare(t *testing.T) {
	nothing := identity{}
	header := identity{hasSize: true, size: 24, crc32: 0x0badcafe}
	all := header
	all.hasMD5, all.md5 = true, [16]byte{1, 2, 0xff}
	md5 := hex.EncodeToString(all.md5[:])

	type meta = map[string]string
	with := func(length int64, pairs ...meta) objectInfo {
		s := objectInfo{found: true, length: length, metadata: meta{}}
		for _, p := range pairs {
			maps.Copy(s.metadata, p)
		}
		return s
	}
	size := meta{"original_size": "24"}
	crc := meta{"original_crc32": "0badcafe"}
	hash := meta{"original_md5_hash": md5}
	otherSize := meta{"original_size": "25"}
	otherCRC := meta{"original_crc32": "0badcaff"}
	otherHash := meta{"original_md5_hash": "00" + md5[2:]}
	const anyForm = stream.Ignore

	for _, test := range []struct {
		name         string
		form         stream.Form
		stored       objectInfo
		header, all  match // with what a local header states, with everything
		headerBySize match // with SkipBySize
	}{
		{"absent", anyForm, objectInfo{}, different, different, different},
		{"no metadata, other length", anyForm, with(9), different, different, different},
		{"ours", anyForm, with(9, size, crc, hash), undecided, equal, undecided},
		{"ours, in parts", anyForm, with(9, size, crc), equal, equal, equal},
		{"Tecken's, compressed", anyForm, with(9, size, hash), undecided, equal, undecided},
		{"other size", anyForm, with(24, otherSize, crc, hash), different, different, different},
		{"other CRC", anyForm, with(24, size, otherCRC, hash), different, different, different},
		{"other CRC only", anyForm, with(24, size, otherCRC), different, different, different},
		{"other MD5", anyForm, with(9, size, otherHash), undecided, different, undecided},
		{"other MD5 beside the CRC", anyForm, with(9, size, crc, otherHash), undecided, different, undecided},
		{"upper case", anyForm, with(9, size, meta{"original_crc32": "0BADCAFE"}), equal, equal, equal},
		{"size that is no number", anyForm, with(24, meta{"original_size": "24 "}, crc), different, different, different},
		{"CRC that is no number", anyForm, with(24, size, meta{"original_crc32": "0x0badcafe"}), different, different, different},
		{"CRC of 33 bits", anyForm, with(24, size, meta{"original_crc32": "10badcafe"}), different, different, different},
		{"MD5 cut off", anyForm, with(24, size, meta{"original_md5_hash": md5[:30]}), undecided, different, undecided},

		{"Tecken's, as it is", stream.AsIs, with(24), different, different, equal},
		{"Tecken's, other length", stream.AsIs, with(25), different, different, different},
		{"length and CRC", stream.AsIs, with(24, crc), equal, equal, equal},
		{"length and MD5", stream.AsIs, with(24, hash), undecided, equal, undecided},
		{"length and other CRC", stream.AsIs, with(24, otherCRC), different, different, different},
		{"size without hash", stream.AsIs, with(24, size), different, different, equal},
		{"size without hash, other length", stream.AsIs, with(9, size), different, different, different},

		{"compressed length", stream.Gzip, with(24), different, different, different},
		{"compressed length and CRC", stream.Gzip, with(24, crc), different, different, different},
		{"compressed, size without hash", stream.Gzip, with(24, size), different, different, different},
	} {
		for _, form := range []stream.Form{stream.AsIs, stream.Gzip} {
			if test.form != anyForm && test.form != form {
				continue
			}
			for _, bySize := range []bool{false, true} {
				want := map[identity]match{nothing: different, header: test.header, all: test.all}
				if bySize {
					want[header] = test.headerBySize
					if test.header == different {
						want[all] = test.headerBySize
					}
				}
				for k, want := range want {
					if got := compare(form, k, test.stored, bySize); got != want {
						t.Errorf("%s, form %d, %+v, by size %t: got %d, want %d", test.name, form, k, bySize, got, want)
					}
				}
			}
		}
	}
}

// TestFind checks what is found of an entry whose size and CRC-32 are all that is known.
func TestFind(t *testing.T) {
	type meta = map[string]string
	for _, c := range []struct {
		name string
		form stream.Form
		s    objectInfo
		want stream.Found
	}{
		{"absent", stream.Gzip, objectInfo{}, stream.Absent},
		{"ours, held", stream.Gzip, objectInfo{found: true, metadata: meta{"original_size": "24", "original_crc32": "0badcafe", "original_md5_hash": "00"}}, stream.Present},
		{"ours, in parts", stream.Gzip, objectInfo{found: true, metadata: meta{"original_size": "24", "original_crc32": "0badcafe"}}, stream.Present},
		{"other CRC", stream.Gzip, objectInfo{found: true, metadata: meta{"original_size": "24", "original_crc32": "0badcaff", "original_md5_hash": "00"}}, stream.Different},
		{"other size", stream.Gzip, objectInfo{found: true, metadata: meta{"original_size": "25", "original_crc32": "0badcafe"}}, stream.Different},
		{"Tecken's", stream.Gzip, objectInfo{found: true, metadata: meta{"original_size": "24", "original_md5_hash": "00"}}, stream.Undecided},
		{"Tecken's, other size", stream.Gzip, objectInfo{found: true, metadata: meta{"original_size": "25", "original_md5_hash": "00"}}, stream.Different},
		{"no hash", stream.AsIs, objectInfo{found: true, length: 24}, stream.Different},
	} {
		if got := find(stream.Entry{Form: c.form, Stated: true, Size: 24, CRC32: 0x0badcafe}, c.s, false); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if got := find(stream.Entry{Form: stream.AsIs, Size: 24}, objectInfo{found: true, length: 24}, true); got != stream.Present {
		t.Errorf("by size: %d", got)
	}
}
