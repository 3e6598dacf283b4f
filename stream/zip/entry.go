package zip

import (
	"math"
	"strconv"
	"strings"

	"spillway/stream"
)

// record is what the reader keeps of an entry until the archive's end. The pipeline
// keeps the name.
type record struct {
	offset, compressedSize, size int64
	crc32                        uint32
	method                       uint16
	flags                        flags
	form                         uint8
}

// flags are the single bits of a record.
type flags uint8

const (
	hasDescriptor flags = 1 << iota
	hasUTF8
	isListed   // its central directory header has been read
	isReplaced // another entry of the same name is listed later
)

// keep adds e to the table.
func (z *reader) keep(e *entry) *record {
	r := record{
		offset: e.Offset, compressedSize: e.CompressedSize, size: e.Size, crc32: e.CRC32, method: e.method, form: uint8(e.Form),
	}
	if e.descriptor() {
		r.flags |= hasDescriptor
	}
	if e.flags&flagUTF8 != 0 {
		r.flags |= hasUTF8
	}
	return z.entries.Add(r)
}

// kept returns the entry with that number from the table.
func (z *reader) kept(number int) entry {
	r := z.entries.At(number)
	name := z.p.Name(number)
	e := entry{
		Header: stream.Header{
			Name: name, Offset: r.offset, Directory: strings.HasSuffix(name, "/"), Codec: codecs[r.method], CompressedSize: r.compressedSize,
			Size: r.size, SizeStated: true, CRC32: r.crc32, CRCStated: true, Number: number, Form: stream.Form(r.form),
		},
		method: r.method,
	}
	if r.flags&hasDescriptor != 0 {
		e.flags |= flagDescriptor
	}
	if r.flags&hasUTF8 != 0 {
		e.flags |= flagUTF8
	}
	return e
}

// nextEntry reads a local header and its entry. If nothing tells where the entry ends,
// it returns the reason and leaves the cursor before the header.
func (z *reader) nextEntry() (stuck string, err error) {
	e := &entry{}
	n, err := z.localHeader(e)
	if err != nil {
		return "", err
	}
	z.current = e.Name
	if e.sizeUnknown() {
		empty, err := z.isEmpty(e, n)
		if err != nil || !empty {
			return "the size of " + strconv.Quote(e.Name) + " is only in the central directory", err
		}
	}
	z.in.Discard(n)
	if err := z.p.Begin(&e.Header); err != nil {
		return "", err
	}
	if err := z.content(e); err != nil {
		return "", err
	}
	z.keep(e)
	z.forward = z.entries.Len()
	z.current = ""
	return "", nil
}

// content reads what follows e's local header. If that has no sizes, the entry is empty,
// or its stream tells where it ends. content sets e's sizes and CRC-32 then.
func (z *reader) content(e *entry) error {
	switch {
	case !e.descriptor():
		return z.sized(e)
	case e.method == methodDeflate:
		return z.deflated(e)
	case e.CompressedSize > 0:
		return z.sizedWithDescriptor(e)
	}
	return z.empty(e)
}

// sizeUnknown reports whether neither the local header nor the compressed bytes tell
// where the entry ends.
func (e *entry) sizeUnknown() bool {
	return e.descriptor() && e.method != methodDeflate && e.CompressedSize == 0
}

// localHeader reads the local header at the cursor into e. n is its length in bytes.
func (z *reader) localHeader(e *entry) (n int, err error) {
	b, err := z.in.PeekAll(localLen)
	if err != nil {
		return 0, err
	}
	name, extra := int(le.Uint16(b[26:])), int(le.Uint16(b[28:]))
	if name > maxName {
		return 0, longName(z.in.Offset(), name)
	}
	n = localLen + name + extra
	if b, err = z.in.PeekAll(n); err != nil {
		return 0, err
	}
	*e, err = parseLocal(z.in.Offset(), b, b[localLen:localLen+name], b[localLen+name:n])
	z.p.At(e.Name)
	return n, err
}

// sized reads an entry whose sizes and CRC-32 are stated.
func (z *reader) sized(e *entry) error {
	if e.method == methodStored && e.CompressedSize != e.Size {
		return e.bad("it is stored, but its compressed and uncompressed sizes differ")
	}
	h := e.Header
	if h.Directory && h.CompressedSize == 0 {
		h.Codec = stream.Stored // zipstream-ng for Python marks them as deflated
	}
	return z.p.Sized(h, z.in)
}

// deflated reads an entry with a data descriptor. It ends where its deflate stream does.
func (z *reader) deflated(e *entry) error {
	d, err := z.p.Decode(e.Header, z.in, math.MaxInt64)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := z.checkDescriptor(e, d); err != nil {
		return err
	}
	return d.Commit()
}

// sizedWithDescriptor reads an entry with a data descriptor whose local header states
// its compressed size as well.
func (z *reader) sizedWithDescriptor(e *entry) error {
	if e.Directory {
		return e.bad(directoryWithContent)
	}
	d, err := z.p.Decode(e.Header, z.in, e.CompressedSize)
	if err != nil {
		return err
	}
	defer d.Close()
	if d.CompressedSize < e.CompressedSize {
		return e.bad("its compressed data is shorter than its stated compressed size")
	}
	if err := z.checkDescriptor(e, d); err != nil {
		return err
	}
	return d.Commit()
}

// checkDescriptor sets e's sizes and CRC-32 to those of d, and reads the data
// descriptor, which must state the same.
func (z *reader) checkDescriptor(e *entry, d *stream.Decoded) error {
	hint := *e
	e.CompressedSize, e.Size, e.CRC32 = d.CompressedSize, d.Facts.Size, d.Facts.CRC32
	if e.Directory && e.Size != 0 {
		return e.bad(directoryWithContent)
	}
	b, err := z.in.Peek(maxDescriptor)
	if err != nil {
		return err
	}
	if hint.statesSizes(e) && headerFollows(b) {
		return e.checkNoDescriptor(&hint, b)
	}
	if len(b) < maxDescriptor { // the shortest descriptor and an end record are longer
		return stream.ErrCutOff
	}
	n, err := e.findDescriptor(b)
	if err != nil {
		return err
	}
	if err := e.checkHints(&hint); err != nil {
		return err
	}
	z.in.Discard(n)
	return nil
}

// isEmpty reports whether e, whose size is unknown, is empty: its data descriptor, or
// for a directory the next header, follows its local header of n bytes.
func (z *reader) isEmpty(e *entry, n int) (bool, error) {
	if e.method != methodStored {
		return false, nil
	}
	b, err := z.in.Peek(n + maxDescriptor)
	if err != nil {
		return false, err
	}
	empty := *e
	empty.CRC32, empty.CompressedSize, empty.Size = 0, 0, 0
	_, err = empty.findDescriptor(b[n:])
	return err == nil || e.Directory && headerFollows(b[n:]), nil
}

// empty reads an entry without bytes, and its data descriptor.
func (z *reader) empty(e *entry) error {
	hint := *e
	e.CRC32, e.CompressedSize, e.Size = 0, 0, 0
	if err := e.checkHints(&hint); err != nil {
		return err
	}
	d, err := z.p.Decode(e.Header, z.in, 0)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Commit(); err != nil {
		return err
	}
	b, err := z.in.Peek(maxDescriptor)
	if err != nil {
		return err
	}
	// Rust's streaming writer writes no descriptor for directories.
	if n, err := e.findDescriptor(b); err == nil {
		z.in.Discard(n)
	}
	return nil
}
