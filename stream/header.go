package stream

// Codec says how the bytes of an entry are compressed.
type Codec uint8

const (
	Stored  Codec = iota // not at all
	Deflate              // RFC 1951, without a header
	BZip2
	Zstd // RFC 8878
)

// A Header is what an archive states about an entry before its bytes.
type Header struct {
	Name      string
	Directory bool // it has no content and is not counted as a file
	Codec     Codec

	// CompressedSize is in bytes. Only Pipeline.Sized reads it.
	CompressedSize int64

	// Size and CRC32 are those of the uncompressed bytes. Where the archive
	// states one, it must be what is counted.
	Size       int64
	SizeStated bool
	CRC32      uint32
	CRCStated  bool

	// Pipeline.Begin sets these.
	Number int // counts the archive's entries from 0
	Form   Form
}

func (h *Header) bad(reason string) error { return &FormatError{Entry: h.Name, Reason: reason} }
