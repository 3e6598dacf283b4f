// Package archive makes zip archives and symbol text for tests.
//
// [Archive] lays a zip out byte by byte, so that tests can put a wrong value into any
// field. [Writers] write as real programs do. Section numbers are those of APPNOTE.TXT
// 6.3.10.
package archive

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Methods of compression (APPNOTE 4.4.5).
const (
	Store   = 0
	Deflate = 8
	BZip2   = 12
	Zstd    = 93
)

// General purpose flags (APPNOTE 4.4.4).
const (
	FlagEncrypted  = 1 << 0
	FlagDescriptor = 1 << 3
	FlagUTF8       = 1 << 11
)

// Sentinel is in a 32-bit field whose value is in a zip64 record.
const Sentinel = 0xffffffff

// Signatures of the records.
const (
	LocalSignature      = 0x04034b50
	DescriptorSignature = 0x08074b50
	CentralSignature    = 0x02014b50
	EndSignature        = 0x06054b50
	End64Signature      = 0x06064b50
	Locator64Signature  = 0x07064b50
)

// DescriptorLayout is a layout of the data descriptor that follows an entry's bytes
// (APPNOTE 4.3.9). Every one but NoDescriptor sets flag bit 3.
type DescriptorLayout int

const (
	NoDescriptor      DescriptorLayout = iota
	Signed32                           // signature, CRC-32, 32-bit sizes
	Unsigned32                         // the same without the signature
	Signed64                           // signature, CRC-32, 64-bit sizes
	Unsigned64                         // the same without the signature
	MissingDescriptor                  // flag bit 3 is set, but nothing follows
)

// An Entry is one file of an [Archive]. The zero value of every field makes an honest
// entry. The hooks may change a record before it is written.
type Entry struct {
	Name   string
	Data   []byte // uncompressed
	Method uint16
	Raw    []byte // compressed; nil: Data, compressed with Method

	Large    *Pattern // instead of Data
	LargeRaw *Pattern // compressed; nil: Large

	Flags        uint16 // bit 3 is added when there is a descriptor
	Descriptor   DescriptorLayout
	LocalSizes   bool // with a descriptor: the local header states the uncompressed size too
	Zip64Local   bool // sizes in a zip64 extra field of the local header
	Zip64Central bool // sizes and offset in a zip64 extra field of the central directory header

	LocalExtra, CentralExtra []byte // after a zip64 extra field
	Comment                  string

	Gap            []byte // bytes before the local header
	Unlisted       bool   // without a central directory header
	Local          func(*LocalHeader)
	DataDescriptor func(*DataDescriptor)
	Central        func(*CentralHeader)
}

// Length is a length field. Auto is the right one.
type Length int

// Auto is the real length.
const Auto Length = -1

func (l Length) of(n int) uint16 {
	if l == Auto {
		return uint16(n)
	}
	return uint16(l)
}

// LocalHeader is a local file header (APPNOTE 4.3.7).
type LocalHeader struct {
	Signature                          uint32
	Version, Flags, Method, Time, Date uint16
	CRC32, Compressed, Uncompressed    uint32
	NameLength, ExtraLength            Length
	Name, Extra                        []byte
}

// DataDescriptor is a data descriptor, written in the entry's layout.
type DataDescriptor struct {
	Signature                uint32
	CRC32                    uint32
	Compressed, Uncompressed uint64
}

// CentralHeader is a central directory header (APPNOTE 4.3.12).
type CentralHeader struct {
	Signature                               uint32
	Made, Needed, Flags, Method, Time, Date uint16
	CRC32, Compressed, Uncompressed         uint32
	NameLength, ExtraLength, CommentLength  Length
	Disk, Internal                          uint16
	External, Offset                        uint32
	Name, Extra, Comment                    []byte
}

// End is the end of central directory record (APPNOTE 4.3.16).
type End struct {
	Signature            uint32
	Disk, DirectoryDisk  uint16
	EntriesHere, Entries uint16
	Size, Offset         uint32 // of the directory
	CommentLength        Length
	Comment              []byte
}

// End64 is the zip64 end of central directory record (APPNOTE 4.3.14).
type End64 struct {
	Signature            uint32
	Length               uint64 // of what follows this field: 44
	Made, Needed         uint16
	Disk, DirectoryDisk  uint32
	EntriesHere, Entries uint64
	Size, Offset         uint64 // of the directory
	Extensible           []byte
}

// Locator64 is the zip64 end of central directory locator (APPNOTE 4.3.15).
type Locator64 struct {
	Signature uint32
	Disk      uint32
	Offset    uint64 // of the End64
	Disks     uint32
}

// An Archive is a zip to be laid out.
type Archive struct {
	Prefix             []byte // bytes before the first entry
	OffsetsAfterPrefix bool   // offsets do not count Prefix

	Entries []Entry
	Central func([]CentralHeader) []CentralHeader // may reorder, add or remove headers

	BeforeDirectory []byte
	AfterDirectory  []byte

	Zip64   bool // with a zip64 end record and its locator
	End64   func(*End64)
	Locator func(*Locator64)
	End     func(*End)

	Trailing []byte // after the end record and its comment
}

// Build returns a zip of entries.
func Build(entries ...Entry) []byte { return Archive{Entries: entries}.Bytes() }

// Bytes returns the archive.
func (a Archive) Bytes() []byte {
	data, err := io.ReadAll(a.Reader())
	if err != nil {
		panic(err) // cannot fail
	}
	return data
}

// Reader yields the archive. It makes large entries as they are read.
func (a Archive) Reader() io.Reader { return a.layOut().reader() }

func (a Archive) layOut() *sparseBuffer {
	out := new(sparseBuffer)
	out.Write(a.Prefix)
	shift := 0
	if a.OffsetsAfterPrefix {
		shift = len(a.Prefix)
	}
	var headers []CentralHeader
	for _, e := range a.Entries {
		out.Write(e.Gap)
		offset := out.offset() - shift
		central := e.write(out, uint64(offset))
		if !e.Unlisted {
			headers = append(headers, central)
		}
	}
	if a.Central != nil {
		headers = a.Central(headers)
	}
	out.Write(a.BeforeDirectory)
	start := out.offset()
	for _, h := range headers {
		h.write(&out.Buffer)
	}
	size := out.offset() - start
	out.Write(a.AfterDirectory)
	a.writeEnd(out, len(headers), size, start-shift, shift)
	out.Write(a.Trailing)
	return out
}

// measure returns the CRC-32 and the sizes of the entry's content.
func (e *Entry) measure() (sum uint32, compressed, uncompressed uint64) {
	if e.Large == nil {
		return crc32.ChecksumIEEE(e.Data), uint64(len(e.Raw)), uint64(len(e.Data))
	}
	return e.Large.CRC32(), uint64(e.LargeRaw.Size()), uint64(e.Large.Size())
}

// write appends the entry and returns its central directory header.
func (e Entry) write(out *sparseBuffer, offset uint64) CentralHeader {
	if e.Raw == nil && e.Large == nil {
		e.Raw = Compress(e.Method, e.Data)
	}
	if e.LargeRaw == nil {
		e.LargeRaw = e.Large
	}
	sum, compressed, uncompressed := e.measure()
	flags, needed := e.Flags, neededVersion(&e)
	if e.Descriptor != NoDescriptor {
		flags |= FlagDescriptor
	}

	local := LocalHeader{
		Signature: LocalSignature, Version: needed, Flags: flags, Method: e.Method, Time: dosTime, Date: dosDate,
		CRC32: sum, Compressed: uint32(compressed), Uncompressed: uint32(uncompressed),
		NameLength: Auto, ExtraLength: Auto, Name: []byte(e.Name), Extra: e.LocalExtra,
	}
	if e.Zip64Local {
		local.Compressed, local.Uncompressed = Sentinel, Sentinel
		local.Extra = append(Zip64Extra(uncompressed, compressed), e.LocalExtra...)
	}
	if e.Descriptor != NoDescriptor {
		local.CRC32, local.Compressed, local.Uncompressed = 0, 0, 0
		if e.LocalSizes {
			local.Uncompressed = uint32(uncompressed)
			if e.Method == Store {
				local.Compressed = uint32(compressed)
			}
		}
		if e.Zip64Local {
			local.Compressed, local.Uncompressed = Sentinel, Sentinel
			local.Extra = append(Zip64Extra(0, 0), e.LocalExtra...)
		}
	}
	if e.Local != nil {
		e.Local(&local)
	}
	local.write(&out.Buffer)
	out.Write(e.Raw)
	if e.Large != nil {
		out.place(*e.LargeRaw)
	}

	descriptor := DataDescriptor{Signature: DescriptorSignature, CRC32: sum, Compressed: compressed, Uncompressed: uncompressed}
	if e.DataDescriptor != nil {
		e.DataDescriptor(&descriptor)
	}
	descriptor.write(&out.Buffer, e.Descriptor)

	central := CentralHeader{
		Signature: CentralSignature, Made: madeUnix | needed, Needed: needed, Flags: flags, Method: e.Method, Time: dosTime, Date: dosDate,
		CRC32: sum, Compressed: uint32(compressed), Uncompressed: uint32(uncompressed), Offset: uint32(offset),
		NameLength: Auto, ExtraLength: Auto, CommentLength: Auto,
		External: externalAttributes(e.Name), Name: []byte(e.Name), Extra: e.CentralExtra, Comment: []byte(e.Comment),
	}
	if e.Zip64Central {
		central.Compressed, central.Uncompressed, central.Offset = Sentinel, Sentinel, Sentinel
		central.Extra = append(Zip64Extra(uncompressed, compressed, offset), e.CentralExtra...)
	}
	if e.Central != nil {
		e.Central(&central)
	}
	return central
}

// emptyDeflate is an empty deflate stream as zlib writes it: one block of fixed codes.
var emptyDeflate = []byte{3, 0}

// Compress returns data compressed with one of the methods that Go can write,
// deflate at level 6. It panics on any other.
func Compress(method uint16, data []byte) []byte {
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch method {
	case Store:
		return data
	case Deflate:
		if len(data) == 0 {
			return emptyDeflate
		}
		w, err = flate.NewWriter(&out, 6)
	case BZip2:
		return BZip2Stream(9, data)
	case Zstd:
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	default:
		panic(fmt.Sprintf("archive: cannot compress with method %d: set Raw", method))
	}
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // writing to a bytes.Buffer does not fail
	}
	return out.Bytes()
}

// Extra returns an extra field (APPNOTE 4.5.1).
func Extra(id uint16, data []byte) []byte {
	b := binary.LittleEndian.AppendUint16(nil, id)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

// Zip64Extra returns a zip64 extended information extra field (APPNOTE 4.5.3) of values:
// uncompressed size, compressed size, offset, in that order.
func Zip64Extra(values ...uint64) []byte {
	var data []byte
	for _, v := range values {
		data = binary.LittleEndian.AppendUint64(data, v)
	}
	return Extra(0x0001, data)
}
