package s3sink

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"spillway/stream"
)

// The keys of an object's user metadata. The first and the last are those of
// Tecken's objects.
const (
	metaSize  = "original_size"     // decimal
	metaCRC32 = "original_crc32"    // 8 hexadecimal digits
	metaMD5   = "original_md5_hash" // 32 hexadecimal digits
)

// known is what is known of an entry's expanded bytes at some moment.
type known struct {
	sized  bool // size and crc32 are known
	hashed bool // md5 is known, too
	size   int64
	crc32  uint32
	md5    [16]byte
}

// attributesOf are the attributes of an object that is begun now.
func attributesOf(form stream.Form, k known) attributes {
	var a attributes
	if form == stream.Gzip {
		a.contentType = "text/plain"
		a.contentEncoding = "gzip"
	}
	if k.sized {
		a.metadata = map[string]string{
			metaSize:  encodeSize(k.size),
			metaCRC32: encodeSum(k.crc32),
		}
		if k.hashed {
			a.metadata[metaMD5] = hex.EncodeToString(k.md5[:])
		}
	}
	return a
}

// encodeSize and encodeSum are a size and a CRC-32 as they are in the metadata.
func encodeSize(n int64) string   { return strconv.FormatInt(n, 10) }
func encodeSum(sum uint32) string { return fmt.Sprintf("%08x", sum) }

// verdict is what an entry is to the object of its name.
type verdict int

const (
	different verdict = iota // or nothing says that it is equal
	equal                    // the entry is skipped
	unsettled                // the entry's MD5 will tell
)

// compare tells whether an entry is the object that is stored under its name:
// the sizes are equal, and so is every hash that both sides know, at least one.
// What is written in another way than ours is another value.
// An object without any hash counts as equal if bySize is set, the entry is
// stored as it is, and the lengths are equal.
func compare(form stream.Form, k known, s stored, bySize bool) verdict {
	if !s.found || !k.sized {
		return different
	}
	if size, ok := s.metadata[metaSize]; ok {
		if size != encodeSize(k.size) {
			return different
		}
	} else if form != stream.AsIs || s.length != k.size {
		return different
	}

	crc, hasCRC := s.metadata[metaCRC32]
	if hasCRC {
		if !strings.EqualFold(crc, encodeSum(k.crc32)) {
			return different
		}
	}
	md5, hasMD5 := s.metadata[metaMD5]
	if hasMD5 && k.hashed && !strings.EqualFold(md5, hex.EncodeToString(k.md5[:])) {
		return different
	}
	switch {
	case hasMD5 && !k.hashed:
		return unsettled
	case hasCRC, hasMD5:
		return equal
	case bySize && form == stream.AsIs && s.length == k.size:
		return equal
	}
	return different
}
