package s3sink

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"regexp"
)

// written is what is known of an object that has been written.
type written struct {
	size  int64
	crc32 uint32
	etag  string     // that the store answered with, as trimETag returns it; empty: not known
	parts []sentPart // in order; nil: the object was written with one PutObject
}

// likeness says whether the object in the store is the one that was written.
type likeness int

const (
	unlike  likeness = iota // it is not there, or it is another one
	similar                 // it has the same length, and nothing else can be compared
	same                    // its checksum or its ETag is the same
)

// compare compares the object in the store with what was written.
func (w written) compare(there objectInfo) likeness {
	if !there.found || there.length != w.size {
		return unlike
	}
	composite := w.compositeCRC32()
	switch {
	case there.crc32 != "":
		return sameIf(there.crc32 == encodeCRC32(w.crc32))
	case there.compositeCRC32 != "" && composite != "":
		return sameIf(there.compositeCRC32 == composite)
	}
	expected := w.etag
	if joined := w.joinedETag(); joined != "" {
		expected = joined
	}
	switch {
	case expected == "" || there.etag == "":
		return similar
	case there.etag == expected || there.etag == w.etag:
		return same
	case etagForm(there.etag) == "" || etagForm(there.etag) != etagForm(expected):
		return similar // some stores have several ETags for an object
	}
	return unlike
}

func sameIf(equal bool) likeness {
	if equal {
		return same
	}
	return unlike
}

// joinedETag returns the ETag of an object in parts: the MD5 of the parts' MD5s, and their
// number. It is empty if the parts' ETags are no MD5s.
func (w written) joinedETag() string {
	if len(w.parts) == 0 {
		return ""
	}
	joined := md5.New()
	for _, p := range w.parts {
		sum, err := hex.DecodeString(trimETag(&p.etag))
		if err != nil || len(sum) != md5.Size {
			return ""
		}
		_, _ = joined.Write(sum)
	}
	return fmt.Sprintf("%x-%d", joined.Sum(nil), len(w.parts))
}

// compositeCRC32 returns the checksum of an object in parts that is made of theirs: the CRC-32
// of the parts' CRC-32s, and their number (S3 User Guide, "Checking object integrity").
func (w written) compositeCRC32() string {
	if len(w.parts) == 0 {
		return ""
	}
	sum := uint32(0)
	for _, p := range w.parts {
		sum = crc32.Update(sum, crc32.IEEETable, binary.BigEndian.AppendUint32(nil, p.crc32))
	}
	return fmt.Sprintf("%s-%d", encodeCRC32(sum), len(w.parts))
}

var md5ETag = regexp.MustCompile(`^[0-9a-f]{32}(-[0-9]+)?$`)

// etagForm returns what follows the MD5 in an ETag, with the mark "md5" before it; empty if
// the ETag has none.
func etagForm(etag string) string {
	match := md5ETag.FindStringSubmatch(etag)
	if match == nil {
		return ""
	}
	return "md5" + match[1]
}
