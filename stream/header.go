package stream

// Codec is how an entry is compressed.
type Codec uint8

const (
	Stored  Codec = iota // not compressed
	Deflate              // RFC 1951, without a header
	BZip2
	Zstd // RFC 8878
)

// A Header is what an archive states about an entry before its bytes.
type Header struct {
	Name      string
	Offset    int64 // of the entry's header in the archive, in bytes
	Directory bool  // it has no content and is not counted as a file
	Codec     Codec

	// CompressedSize is in bytes. Only [Pipeline.Sized] reads it.
	CompressedSize int64

	// Size and CRC32 are those of the uncompressed bytes. The entry has to match
	// what the archive states.
	Size       int64
	SizeStated bool
	CRC32      uint32
	CRCStated  bool

	// Found is what a lookup in the store has found.
	Found Found

	// [Pipeline.Begin] sets these.
	Number int // from 0, in the order of the Begin calls
	Form   Form
}

func (h *Header) bad(reason string) error {
	return &FormatError{Entry: h.Name, Offset: h.Offset, Reason: reason}
}

// needsGzip reports whether the entry has to be compressed to be stored.
func (h *Header) needsGzip() bool { return h.Form == Gzip && h.Codec != Deflate }

// frame returns what stands before and after the entry's compressed bytes in its
// body. It returns false if the body does not contain them, or the frame is not
// known yet.
func (h *Header) frame() (head, tail []byte, ok bool) {
	switch {
	case h.Form == AsIs && h.Codec == Stored:
		return nil, nil, true
	case h.Form == Gzip && h.Codec == Deflate && h.SizeStated && h.CRCStated:
		trailer := gzipTrailer(h.CRC32, h.Size)
		return gzipHeader[:], trailer[:], true
	}
	return nil, nil, false
}
