package archive

import (
	"bytes"
	"encoding/binary"
	"strings"
)

const (
	dosTime  = 12<<11 | 30<<5            // 12:30:00
	dosDate  = (2026-1980)<<9 | 7<<5 | 1 // 1 July 2026
	madeUnix = 3 << 8
)

// neededVersion is the version needed to extract e (APPNOTE 4.4.3.2).
func neededVersion(e *Entry) uint16 {
	switch {
	case e.Method == Zstd:
		return 63
	case e.Method == BZip2:
		return 46
	case e.Zip64Local, e.Zip64Central:
		return 45
	case e.Method == Deflate, strings.HasSuffix(e.Name, "/"):
		return 20
	}
	return 10
}

// externalAttributes are the Unix mode of a file or directory.
func externalAttributes(name string) uint32 {
	if strings.HasSuffix(name, "/") {
		return 0o40755<<16 | 0x10
	}
	return 0o100644 << 16
}

// put appends fixed-size values in the byte order of the format.
func put(out *bytes.Buffer, values ...any) {
	for _, v := range values {
		if err := binary.Write(out, binary.LittleEndian, v); err != nil {
			panic(err) // a bytes.Buffer takes all, and the values are of fixed size
		}
	}
}

func (h LocalHeader) write(out *bytes.Buffer) {
	put(out, h.Signature, h.Version, h.Flags, h.Method, h.Time, h.Date, h.CRC32, h.Compressed, h.Uncompressed,
		h.NameLength.of(len(h.Name)), h.ExtraLength.of(len(h.Extra)), h.Name, h.Extra)
}

func (f DataDescriptor) write(out *bytes.Buffer, layout DescriptorLayout) {
	switch layout {
	case NoDescriptor, MissingDescriptor:
		return
	case Signed32, Signed64:
		put(out, f.Signature)
	}
	put(out, f.CRC32)
	switch layout {
	case Signed32, Unsigned32:
		put(out, uint32(f.Compressed), uint32(f.Uncompressed))
	default:
		put(out, f.Compressed, f.Uncompressed)
	}
}

func (r CentralHeader) write(out *bytes.Buffer) {
	put(out, r.Signature, r.Made, r.Needed, r.Flags, r.Method, r.Time, r.Date, r.CRC32, r.Compressed, r.Uncompressed,
		r.NameLength.of(len(r.Name)), r.ExtraLength.of(len(r.Extra)), r.CommentLength.of(len(r.Comment)),
		r.Disk, r.Internal, r.External, r.Offset, r.Name, r.Extra, r.Comment)
}

// writeEnd appends the end records of a directory with that many headers, size and offset.
// Offsets count from byte shift.
func (a *Archive) writeEnd(out *sparseBuffer, headers, size, offset, shift int) {
	end := End{
		Signature: EndSignature, EntriesHere: uint16(headers), Entries: uint16(headers),
		Size: uint32(size), Offset: uint32(offset), CommentLength: Auto,
	}
	if a.Zip64 {
		record := End64{
			Signature: End64Signature, Length: 44, Made: madeUnix | 45, Needed: 45,
			EntriesHere: uint64(headers), Entries: uint64(headers), Size: uint64(size), Offset: uint64(offset),
		}
		if a.End64 != nil {
			a.End64(&record)
		}
		locator := Locator64{Signature: Locator64Signature, Offset: uint64(out.offset() - shift), Disks: 1}
		if a.Locator != nil {
			a.Locator(&locator)
		}
		put(&out.Buffer, record.Signature, record.Length, record.Made, record.Needed, record.Disk, record.DirectoryDisk,
			record.EntriesHere, record.Entries, record.Size, record.Offset, record.Extensible,
			locator.Signature, locator.Disk, locator.Offset, locator.Disks)
		end.EntriesHere, end.Entries, end.Size, end.Offset = 0xffff, 0xffff, Sentinel, Sentinel
	}
	if a.End != nil {
		a.End(&end)
	}
	put(&out.Buffer, end.Signature, end.Disk, end.DirectoryDisk, end.EntriesHere, end.Entries, end.Size, end.Offset,
		end.CommentLength.of(len(end.Comment)), end.Comment)
}
