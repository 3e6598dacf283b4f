package s3sink

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"spillway/stream"
)

// The keys of an object's user metadata. Tecken writes the first and the last.
const (
	metaSize  = "original_size"     // decimal
	metaCRC32 = "original_crc32"    // 8 hexadecimal digits
	metaMD5   = "original_md5_hash" // 32 hexadecimal digits
)

// identity is what is known so far of an entry's uncompressed bytes.
type identity struct {
	hasSize bool // size and crc32 are known
	hasMD5  bool // md5 is known
	size    int64
	crc32   uint32
	md5     [16]byte
}

// attributesOf returns the attributes of an entry's object.
func attributesOf(form stream.Form, id identity) attributes {
	a := attributes{contentType: "application/octet-stream"}
	if form == stream.Gzip {
		a.contentType, a.contentEncoding = "text/plain", "gzip"
	}
	if id.hasSize {
		a.metadata = map[string]string{
			metaSize:  encodeSize(id.size),
			metaCRC32: encodeSum(id.crc32),
		}
		if id.hasMD5 {
			a.metadata[metaMD5] = hex.EncodeToString(id.md5[:])
		}
	}
	return a
}

// encodeSize and encodeSum return a size and a CRC-32 as metadata has them.
func encodeSize(n int64) string   { return strconv.FormatInt(n, 10) }
func encodeSum(sum uint32) string { return fmt.Sprintf("%08x", sum) }

// match says whether an entry equals the stored object of its name.
type match int

const (
	different match = iota // or unknown
	equal                  // the entry is skipped
	undecided              // the entry's MD5 decides
)

// compare compares an entry with the stored object of its name. They are equal if the
// sizes are equal, and every hash that both sides know, at least one. Metadata that is
// not written as Spillway writes it is different. If bySize is set, an unmodified body
// also equals an object without any hash that has the same length.
func compare(form stream.Form, id identity, s objectInfo, bySize bool) match {
	if !s.found || !id.hasSize {
		return different
	}
	if size, ok := s.metadata[metaSize]; ok {
		if size != encodeSize(id.size) {
			return different
		}
	} else if form != stream.AsIs || s.length != id.size {
		return different
	}

	crc, hasCRC := s.metadata[metaCRC32]
	if hasCRC {
		if !strings.EqualFold(crc, encodeSum(id.crc32)) {
			return different
		}
	}
	md5, hasMD5 := s.metadata[metaMD5]
	if hasMD5 && id.hasMD5 && !strings.EqualFold(md5, hex.EncodeToString(id.md5[:])) {
		return different
	}
	switch {
	case hasMD5 && !id.hasMD5:
		return undecided
	case hasCRC, hasMD5:
		return equal
	case bySize && form == stream.AsIs && s.length == id.size:
		return equal
	}
	return different
}

// find compares an entry that is not read with the stored object of its name. Of the hashes,
// only the CRC-32 is known, which the archive states. If the object has one, it decides.
func find(e stream.Entry, s objectInfo, bySize bool) stream.Found {
	switch compare(e.Form, identity{hasSize: true, size: e.Size, crc32: e.CRC32}, s, bySize) {
	case equal:
		return stream.Present
	case undecided:
		if _, hasCRC := s.metadata[metaCRC32]; hasCRC {
			return stream.Present
		}
		return stream.Undecided
	case different:
	}
	if s.found {
		return stream.Different
	}
	return stream.Absent
}
