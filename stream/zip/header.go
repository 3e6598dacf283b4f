package zip

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"spillway/stream"
)

// maxName is the length of the longest entry name, in bytes: that of an S3 key.
const maxName = 1024

func longName(offset int64, n int) error {
	return badArchive(offset, fmt.Sprintf("an entry's name has %d bytes, more than the %d that are allowed", n, maxName))
}

// entry is what a local header or a central directory header states of an entry. Both
// sizes have their zip64 values.
type entry struct {
	stream.Header
	method uint16
	flags  uint16
}

func (e *entry) descriptor() bool { return e.flags&flagDescriptor != 0 }

func (e *entry) bad(reason string) error {
	return &stream.FormatError{Entry: e.Name, Offset: e.Offset, Reason: reason}
}

func newEntry(offset int64, name []byte, flags, method uint16, crc uint32, stated bool) entry {
	h := stream.Header{Name: string(name), Offset: offset, Codec: codecs[method], SizeStated: stated, CRC32: crc, CRCStated: stated}
	h.Directory = strings.HasSuffix(h.Name, "/")
	return entry{Header: h, flags: flags, method: method}
}

// parseLocal parses a local header (APPNOTE 4.3.7) of localLen bytes at offset, and the name
// and extra fields after it. If a data descriptor follows the entry, the header's sizes and
// CRC-32 do not count as stated.
func parseLocal(offset int64, b, name, extra []byte) (entry, error) {
	flags := le.Uint16(b[6:])
	e := newEntry(offset, name, flags, le.Uint16(b[8:]), le.Uint32(b[14:]), flags&flagDescriptor == 0)
	s := zip64Fields{compressedSize: uint64(le.Uint32(b[18:])), size: uint64(le.Uint32(b[22:]))}
	if err := e.setSizes(&s, parseExtras(extra)); err != nil {
		return e, err
	}
	return e, e.check()
}

// parseCentral parses a central directory header (APPNOTE 4.3.12) of centralLen bytes at
// offset, and the name and extra fields after it.
func parseCentral(offset int64, b, name, extra []byte) (entry, error) {
	e := newEntry(offset, name, le.Uint16(b[8:]), le.Uint16(b[10:]), le.Uint32(b[16:]), true)
	s := zip64Fields{
		compressedSize: uint64(le.Uint32(b[20:])),
		size:           uint64(le.Uint32(b[24:])),
		offset:         uint64(le.Uint32(b[42:])),
		disk:           uint32(le.Uint16(b[34:])),
	}
	x := parseExtras(extra)
	if x.damaged {
		// Python refuses such a header, Go accepts it.
		return e, e.bad("the extra fields of its central directory header are cut off")
	}
	if err := e.setSizes(&s, x); err != nil {
		return e, err
	}
	if s.disk != 0 {
		return e, e.bad("it is on another disk")
	}
	if err := e.checkFlags(); err != nil {
		return e, err
	}
	if e.Directory && e.Size != 0 {
		return e, e.bad(directoryWithContent)
	}
	e.Offset = int64(s.offset)
	return e, nil
}

// zip64Fields are the fields whose values may be in a zip64 extra field, in the order in
// which it has them (APPNOTE 4.5.3).
type zip64Fields struct {
	size, compressedSize, offset uint64
	disk                         uint32
}

// resolve replaces sentinels by the values in the zip64 extra field. It returns false if
// one is missing or out of range.
func (s *zip64Fields) resolve(extra []byte) bool {
	for _, field := range []*uint64{&s.size, &s.compressedSize, &s.offset} {
		if *field != max32 {
			continue
		}
		if len(extra) < 8 {
			return false
		}
		*field, extra = le.Uint64(extra), extra[8:]
	}
	if s.disk == max16 {
		if len(extra) < 4 {
			return false
		}
		s.disk = le.Uint32(extra)
	}
	return s.size < 1<<62 && s.compressedSize < 1<<62 && s.offset < 1<<62
}

// extras are the extra fields that the reader uses.
type extras struct {
	zip64       []byte
	unicodePath []byte
	repeated    bool // one of them occurs twice
	damaged     bool // the last field is cut off
}

// parseExtras parses extra fields (APPNOTE 4.5.1). Up to three bytes after the last field
// are padding: some writers align entries with it.
func parseExtras(b []byte) (x extras) {
	for len(b) >= 4 {
		id, n := le.Uint16(b), int(le.Uint16(b[2:]))
		if n > len(b)-4 {
			x.damaged = true
			return x
		}
		content := b[4 : 4+n : 4+n]
		b = b[4+n:]
		var field *[]byte
		switch id {
		case extraZip64:
			field = &x.zip64
		case extraUnicodePath:
			field = &x.unicodePath
		default:
			continue
		}
		if *field != nil {
			x.repeated = true
		}
		*field = content
	}
	return x
}

// setSizes sets e's sizes and checks its extra fields.
func (e *entry) setSizes(s *zip64Fields, x extras) error {
	if x.repeated {
		return e.bad("it has two extra fields of the same kind")
	}
	if !s.resolve(x.zip64) {
		return e.bad("its zip64 sizes are missing or out of range")
	}
	e.Size, e.CompressedSize = int64(s.size), int64(s.compressedSize)
	// Version and CRC-32 of the raw name, then the name (APPNOTE 4.6.9).
	if p := x.unicodePath; p != nil && (len(p) < 5 || string(p[5:]) != e.Name) {
		return e.bad("its Unicode path extra field differs from its name")
	}
	return nil
}

// check refuses an entry that readers see differently, or that cannot be read.
func (e *entry) check() error {
	if strings.ContainsRune(e.Name, 0) {
		return e.bad("its name contains a NUL byte")
	}
	switch {
	case e.Directory: // its name is not used
	case e.flags&flagUTF8 != 0:
		if !utf8.ValidString(e.Name) {
			return e.bad("its name is not valid UTF-8")
		}
	case strings.ContainsFunc(e.Name, func(r rune) bool { return r >= 0x80 }):
		return e.bad("its name has bytes outside ASCII but is not marked as UTF-8")
	}
	if err := e.checkFlags(); err != nil {
		return err
	}
	if _, ok := codecs[e.method]; !ok {
		return e.bad("its compression method " + strconv.Itoa(int(e.method)) + " is not supported (stored, deflate, bzip2 and zstd are)")
	}
	if e.Directory && e.Size != 0 {
		return e.bad(directoryWithContent)
	}
	return nil
}

// checkFlags refuses an entry with general purpose flags that the reader does not support.
func (e *entry) checkFlags() error {
	if e.flags&flagEncrypted != 0 {
		return e.bad("it is encrypted")
	}
	if unsupported := e.flags &^ uint16(flagsSupported); unsupported != 0 {
		return e.bad(fmt.Sprintf("its general purpose flags %#x are not supported", unsupported))
	}
	return nil
}

const directoryWithContent = "it is a directory with content"

// compare refuses an entry whose central directory header disagrees with it. It ignores
// fields that honest writers fill differently.
func (e *entry) compare(central *entry) error {
	differs := func(what string) error {
		return central.bad("its local header and its central directory header disagree on its " + what)
	}
	switch {
	case e.Name != central.Name:
		return differs("name (" + strconv.Quote(e.Name) + " in the local header)")
	case e.method != central.method:
		return differs("compression method")
	case e.flags&flagsCompared != central.flags&flagsCompared:
		return differs("flags")
	case e.CRC32 != central.CRC32:
		return differs("CRC-32")
	case e.CompressedSize != central.CompressedSize:
		return differs("compressed size")
	case e.Size != central.Size:
		return differs("uncompressed size")
	}
	return nil
}

// misplaced returns the error for an entry without a local header at its offset.
func (e *entry) misplaced() error {
	return e.bad("the central directory places it at byte " + strconv.FormatInt(e.Offset, 10) + ", where no entry starts")
}
