package zip

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"spillway/stream"
)

// Signatures, flag bits, methods and sentinels of the zip format (APPNOTE
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

	flagDescriptor = 1 << 3
	flagUTF8       = 1 << 11
	flagsTaken     = 1<<1 | 1<<2 | flagDescriptor | flagUTF8
	flagsCompared  = 1<<0 | flagDescriptor | flagUTF8

	methodStored  = 0
	methodDeflate = 8
	methodBzip2   = 12
	methodZstd    = 93

	extraZip64       = 0x0001
	extraUnicodePath = 0x7075

	max16 = 1<<16 - 1
	max32 = 1<<32 - 1
)

// maxName is the longest entry name in bytes: that of an S3 key.
const maxName = 1024

var (
	le       = binary.LittleEndian
	endMagic = []byte("PK\x05\x06")
)

// header is what an entry's local header and its central directory header both state.
type header struct {
	name       string
	flags      uint16
	method     uint16
	crc        uint32
	compressed int64 // compressed size in bytes, zip64 resolved
	size       int64 // uncompressed size in bytes, zip64 resolved
	stated     bool  // the CRC-32 and sizes are stated, and no mere hints
}

func (h *header) descriptor() bool { return h.flags&flagDescriptor != 0 }
func (h *header) directory() bool  { return strings.HasSuffix(h.name, "/") }

func (h *header) bad(reason string) error { return &stream.FormatError{Entry: h.name, Reason: reason} }

// centralHeader is an entry's central directory header.
type centralHeader struct {
	header
	offset int64 // of the local header, in bytes from the start of the archive
	disk   uint32
}

// sizes are the fields that a zip64 extra may hold in the place of sentinels,
// in the order in which it holds them (APPNOTE 4.5.3).
type sizes struct {
	size, compressed, offset uint64
	disk                     uint32
}

// resolve replaces sentinels by what the zip64 extra holds for them. It reports
// false where that is missing or cut off.
func (s *sizes) resolve(extra []byte) bool {
	for _, field := range []*uint64{&s.size, &s.compressed, &s.offset} {
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
	return s.size < 1<<62 && s.compressed < 1<<62 && s.offset < 1<<62
}

// extras are the extra fields that matter.
type extras struct {
	zip64       []byte
	unicodePath []byte
	repeated    bool // there is a second one of either
	damaged     bool // the last block is cut off
}

// parseExtras reads blocks of extra fields (APPNOTE 4.5.1). Up to three bytes
// behind the last block are padding, which some writers align entries with.
func parseExtras(b []byte) (x extras) {
	for len(b) >= 4 {
		id, n := le.Uint16(b), int(le.Uint16(b[2:]))
		if n > len(b)-4 {
			x.damaged = true
			return x
		}
		field := b[4 : 4+n : 4+n]
		b = b[4+n:]
		var slot *[]byte
		switch id {
		case extraZip64:
			slot = &x.zip64
		case extraUnicodePath:
			slot = &x.unicodePath
		default:
			continue
		}
		if *slot != nil {
			x.repeated = true
		}
		*slot = field
	}
	return x
}

// parseLocal reads a local header (APPNOTE 4.3.7) of localLen bytes and the
// name and extra fields behind it.
func parseLocal(b, name, extra []byte) (header, error) {
	h := header{
		name:   string(name),
		flags:  le.Uint16(b[6:]),
		method: le.Uint16(b[8:]),
		crc:    le.Uint32(b[14:]),
	}
	h.stated = !h.descriptor()
	s := sizes{compressed: uint64(le.Uint32(b[18:])), size: uint64(le.Uint32(b[22:]))}
	if err := h.complete(&s, parseExtras(extra)); err != nil {
		return h, err
	}
	return h, h.check()
}

// parseCentral reads a central directory header (APPNOTE 4.3.12) of centralLen bytes and
// the name and extra fields behind it.
func parseCentral(b, name, extra []byte) (centralHeader, error) {
	r := centralHeader{header: header{
		name:   string(name),
		flags:  le.Uint16(b[8:]),
		method: le.Uint16(b[10:]),
		crc:    le.Uint32(b[16:]),
		stated: true,
	}}
	s := sizes{
		compressed: uint64(le.Uint32(b[20:])),
		size:       uint64(le.Uint32(b[24:])),
		offset:     uint64(le.Uint32(b[42:])),
		disk:       uint32(le.Uint16(b[34:])),
	}
	x := parseExtras(extra)
	if x.damaged {
		// Python refuses such a header, Go reads on.
		return r, r.bad("the extra fields of its central directory record are cut off")
	}
	if err := r.complete(&s, x); err != nil {
		return r, err
	}
	r.offset, r.disk = int64(s.offset), s.disk
	return r, nil
}

// complete takes over the resolved sizes and checks what else the extra fields
// say.
func (h *header) complete(s *sizes, x extras) error {
	if x.repeated {
		return h.bad("it has two extra fields of the same kind")
	}
	if !s.resolve(x.zip64) {
		return h.bad("its zip64 sizes are missing or out of range")
	}
	h.size, h.compressed = int64(s.size), int64(s.compressed)
	// Version and CRC-32 of the raw name, then the name (APPNOTE 4.6.9).
	if p := x.unicodePath; p != nil && (len(p) < 5 || string(p[5:]) != h.name) {
		return h.bad("its Unicode path extra field differs from its name")
	}
	return nil
}

// check refuses what readers disagree on, or cannot read.
func (h *header) check() error {
	if strings.ContainsRune(h.name, 0) {
		return h.bad("its name holds a NUL byte")
	}
	if h.flags&flagUTF8 != 0 {
		if !utf8.ValidString(h.name) {
			return h.bad("its name is not valid UTF-8")
		}
	} else if strings.ContainsFunc(h.name, func(r rune) bool { return r >= 0x80 }) {
		return h.bad("its name has bytes outside ASCII but is not marked as UTF-8")
	}
	if h.flags&1 != 0 {
		return h.bad("it is encrypted")
	}
	if h.flags&^uint16(flagsTaken) != 0 {
		return h.bad("it uses features that are not supported (general purpose flags " + fmt.Sprintf("%#x", h.flags) + ")")
	}
	if _, ok := codecs[h.method]; !ok {
		return h.bad("its compression method " + strconv.Itoa(int(h.method)) + " is not supported (stored, deflate, bzip2 and zstd are)")
	}
	if h.directory() && h.size != 0 {
		return h.bad(directoryWithContent)
	}
	return nil
}

const directoryWithContent = "it is a directory with content"

// compare refuses a central directory header that disagrees with its entry. It does not
// compare the fields that honest writers fill differently.
func (h *header) compare(r *centralHeader) error {
	differs := func(what string) error {
		return r.bad("its local header and the central directory disagree on its " + what)
	}
	switch {
	case h.name != r.name:
		return differs("name (" + strconv.Quote(h.name) + " in the local header)")
	case h.method != r.method:
		return differs("compression method")
	case h.flags&flagsCompared != r.flags&flagsCompared:
		return differs("flags")
	case h.crc != r.crc:
		return differs("CRC-32")
	case h.compressed != r.compressed:
		return differs("compressed size")
	case h.size != r.size:
		return differs("size")
	}
	return nil
}

// descriptorLayout is one of the forms in which a data descriptor (APPNOTE
// 4.3.9) is written.
type descriptorLayout struct {
	signed bool
	wide   bool // 64-bit sizes, also where nothing in the local header announces them
}

var descriptorLayouts = []descriptorLayout{{true, false}, {true, true}, {false, false}, {false, true}}

// maxDescriptor is the length of the longest descriptor and of the signature
// behind it.
const maxDescriptor = 24 + 4

// descriptor is what a data descriptor states.
type descriptor struct {
	crc              uint32
	compressed, size uint64
}

// parse reads a descriptor in this layout from the start of b, and says how
// long it is.
func (l descriptorLayout) parse(b []byte) (d descriptor, n int, ok bool) {
	if l.signed {
		if len(b) < 4 || le.Uint32(b) != sigDescriptor {
			return d, 0, false
		}
		n = 4
	}
	need := 12
	if l.wide {
		need = 20
	}
	if len(b) < n+need {
		return d, 0, false
	}
	d.crc = le.Uint32(b[n:])
	if l.wide {
		d.compressed, d.size = le.Uint64(b[n+4:]), le.Uint64(b[n+12:])
	} else {
		d.compressed, d.size = uint64(le.Uint32(b[n+4:])), uint64(le.Uint32(b[n+8:]))
	}
	return d, n + need, true
}

// structureFollows reports whether b starts with something that may stand
// behind an entry.
func structureFollows(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	switch le.Uint32(b) {
	case sigLocal, sigCentral, sigEnd64, sigEnd:
		return true
	}
	return false
}

// findDescriptor finds the descriptor at the start of b that states what was
// counted for the entry. Only one layout may fit.
func (h *header) findDescriptor(b []byte) (length int, err error) {
	fits, wrongCRC := 0, false
	for _, l := range descriptorLayouts {
		d, n, ok := l.parse(b)
		if !ok || !structureFollows(b[n:]) || d.compressed != uint64(h.compressed) || d.size != uint64(h.size) {
			continue
		}
		if d.crc != h.crc {
			wrongCRC = true
			continue
		}
		fits++
		length = n
	}
	switch {
	case fits == 1:
		return length, nil
	case fits == 0 && wrongCRC:
		return 0, &stream.ChecksumError{Entry: h.name}
	case fits == 0:
		return 0, h.bad(noDescriptor)
	}
	return 0, h.bad("its data descriptor can be read in two ways")
}

const noDescriptor = "no data descriptor that matches its bytes follows them"

// endsInDescriptor reports whether b starts with a descriptor that states what
// h does, whatever follows it.
func (h *header) endsInDescriptor(b []byte) bool {
	for _, l := range descriptorLayouts {
		d, _, ok := l.parse(b)
		if ok && d == (descriptor{h.crc, uint64(h.compressed), uint64(h.size)}) {
			return true
		}
	}
	return false
}

// end is the end of central directory record (APPNOTE 4.3.16) or its zip64
// form (4.3.14).
type end struct {
	disk, directoryDisk  uint32
	headersHere, headers uint64
	size, offset         uint64 // of the directory
}

func parseEnd(b []byte) end {
	return end{
		disk: uint32(le.Uint16(b[4:])), directoryDisk: uint32(le.Uint16(b[6:])),
		headersHere: uint64(le.Uint16(b[8:])), headers: uint64(le.Uint16(b[10:])),
		size: uint64(le.Uint32(b[12:])), offset: uint64(le.Uint32(b[16:])),
	}
}

func parseEnd64(b []byte) end {
	return end{
		disk: le.Uint32(b[16:]), directoryDisk: le.Uint32(b[20:]),
		headersHere: le.Uint64(b[24:]), headers: le.Uint64(b[32:]),
		size: le.Uint64(b[40:]), offset: le.Uint64(b[48:]),
	}
}

// agrees reports whether e says what the zip64 record says, or leaves it to it.
func (e end) agrees(wide end) bool {
	same := func(v, sentinel, w uint64) bool { return v == w || v == sentinel }
	return same(uint64(e.disk), max16, uint64(wide.disk)) &&
		same(uint64(e.directoryDisk), max16, uint64(wide.directoryDisk)) &&
		same(e.headersHere, max16, wide.headersHere) && same(e.headers, max16, wide.headers) &&
		same(e.size, max32, wide.size) && same(e.offset, max32, wide.offset)
}

// check refuses an end that does not describe the directory that was read.
func (e end) check(headers int, offset, size int64) error {
	switch {
	case e.disk != 0 || e.directoryDisk != 0:
		return &stream.FormatError{Reason: "it is one disk of several"}
	case e.headers != uint64(headers) || e.headersHere != uint64(headers):
		return &stream.FormatError{Reason: "its central directory has " + strconv.Itoa(headers) + " records where its end states another number"}
	case e.size != uint64(size):
		return &stream.FormatError{Reason: "its central directory is not as long as its end states"}
	case e.offset != uint64(offset):
		return &stream.FormatError{Reason: "its central directory is not where its end states"}
	}
	return nil
}
