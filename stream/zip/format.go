package zip

import (
	"encoding/binary"

	"spillway/stream"
)

// Signatures, lengths, flag bits, methods and sentinels of the zip format (APPNOTE
// 6.3.10, sections 4.3, 4.4.4 and 4.4.5).
const (
	sigLocal      = 0x04034b50
	sigDescriptor = 0x08074b50
	sigCentral    = 0x02014b50
	sigEnd64      = 0x06064b50
	sigLocator64  = 0x07064b50
	sigEnd        = 0x06054b50

	localLen     = 30
	centralLen   = 46
	end64Len     = 56
	locator64Len = 20
	endLen       = 22

	flagEncrypted  = 1 << 0
	flagDescriptor = 1 << 3
	flagUTF8       = 1 << 11
	flagsSupported = 1<<1 | 1<<2 | flagDescriptor | flagUTF8
	flagsCompared  = flagDescriptor | flagUTF8

	methodStored  = 0
	methodDeflate = 8
	methodBzip2   = 12
	methodZstd    = 93

	// maxPadding is the most zeros after the end of an archive. bsdtar pads what it writes
	// to a pipe with them, to a multiple of 10,240 bytes.
	maxPadding = 64 << 10

	extraZip64       = 0x0001
	extraUnicodePath = 0x7075

	max16 = 1<<16 - 1
	max32 = 1<<32 - 1
)

// codecs are the supported compression methods.
var codecs = map[uint16]stream.Codec{
	methodStored: stream.Stored, methodDeflate: stream.Deflate, methodBzip2: stream.BZip2, methodZstd: stream.Zstd,
}

var (
	le       = binary.LittleEndian
	endMagic = []byte("PK\x05\x06")
)

// badArchive returns a [*stream.FormatError] that concerns the archive. offset is that of
// the record in question.
func badArchive(offset int64, reason string) error {
	return &stream.FormatError{Offset: offset, Reason: reason}
}
