package zip

import (
	"fmt"
	"math"
	"strconv"

	"spillway/stream"
)

// codecs are the compression methods that are read.
var codecs = map[uint16]stream.Codec{
	methodStored: stream.Stored, methodDeflate: stream.Deflate, methodBzip2: stream.BZip2, methodZstd: stream.Zstd,
}

// entry is an entry that is being read, or compared.
type entry struct {
	header
	offset int64
	number int // that the pipeline knows it by
	form   stream.Form
}

// record is what is kept of an entry until the archive's end. The pipeline keeps its
// name.
type record struct {
	offset, compressed, size int64
	crc                      uint32
	method                   uint8
	flags                    flags
	form                     uint8
}

// flags are the single bits of a record.
type flags uint8

const (
	hasDescriptor flags = 1 << iota
	hasUTF8
	isListed   // its central directory header has been seen
	isReplaced // by another entry of its name, which is listed later
)

// keep adds e to the table.
func (z *reader) keep(e *entry) *record {
	r := record{offset: e.offset, compressed: e.compressed, size: e.size, crc: e.crc, method: uint8(e.method), form: uint8(e.form)}
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
	e := entry{
		header: header{name: z.p.Name(number), method: uint16(r.method), crc: r.crc, compressed: r.compressed, size: r.size, stated: true},
		offset: r.offset, number: number, form: stream.Form(r.form),
	}
	if r.flags&hasDescriptor != 0 {
		e.flags |= flagDescriptor
	}
	if r.flags&hasUTF8 != 0 {
		e.flags |= flagUTF8
	}
	return e
}

// about returns e as the pipeline sees it.
func (e *entry) about() stream.Header {
	return stream.Header{
		Name: e.name, Directory: e.directory(), Codec: codecs[e.method], CompressedSize: e.compressed,
		Size: e.size, SizeStated: e.stated, CRC32: e.crc, CRCStated: e.stated,
		Number: e.number, Form: e.form,
	}
}

// entry reads a local header and its entry. Where nothing says where the entry ends,
// entry returns the reason and leaves the cursor before the header.
func (z *reader) entry() (stuck string, err error) {
	e := &entry{offset: z.in.Offset()}
	n, err := z.localHeader(&e.header)
	if err != nil {
		return "", err
	}
	if e.sizeUnknown() {
		ends, err := z.endsAtOnce(e, n)
		if err != nil || !ends {
			return "the size of " + strconv.Quote(e.name) + " is only in the central directory", err
		}
	}
	z.in.Skip(n)
	if err := z.begin(e); err != nil {
		return "", err
	}
	switch {
	case !e.descriptor():
		err = z.sized(e)
	case e.method == methodDeflate:
		err = z.deflated(e)
	case e.compressed > 0:
		err = z.streamSizeHint(e)
	default:
		err = z.empty(e)
	}
	z.keep(e)
	z.forward = z.entries.Len()
	return "", err
}

// sizeUnknown reports whether neither the local header nor the compressed bytes say
// where the entry ends.
func (h *header) sizeUnknown() bool {
	return h.descriptor() && h.method != methodDeflate && h.compressed == 0
}

// begin begins e in the pipeline.
func (z *reader) begin(e *entry) error {
	about := e.about()
	if err := z.p.Begin(&about); err != nil {
		return err
	}
	e.name, e.number, e.form = about.Name, about.Number, about.Form
	return nil
}

// localHeader parses the local header at the cursor. n is its length in bytes.
func (z *reader) localHeader(h *header) (n int, err error) {
	b, err := z.in.Need(localLen)
	if err != nil {
		return 0, err
	}
	name, extra := int(le.Uint16(b[26:])), int(le.Uint16(b[28:]))
	if name > maxName {
		return 0, errLongName(name)
	}
	n = localLen + name + extra
	if b, err = z.in.Need(n); err != nil {
		return 0, err
	}
	*h, err = parseLocal(b, b[localLen:localLen+name], b[localLen+name:n])
	z.p.At(h.name)
	return n, err
}

// sized reads an entry whose sizes and CRC-32 are stated.
func (z *reader) sized(e *entry) error {
	if e.method == methodStored && e.compressed != e.size {
		return e.bad("it is stored, but its compressed size and its size differ")
	}
	return z.p.Sized(e.about(), z.in)
}

// deflated reads an entry that ends where its deflate stream does.
func (z *reader) deflated(e *entry) error {
	d, err := z.p.Decode(e.about(), z.in, math.MaxInt64)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := z.checkDescriptor(e, d); err != nil {
		return err
	}
	return d.Commit()
}

// streamSizeHint reads an entry with a data descriptor whose local header states its
// compressed size as well.
func (z *reader) streamSizeHint(e *entry) error {
	if e.directory() {
		return e.bad(directoryWithContent)
	}
	d, err := z.p.Decode(e.about(), z.in, e.compressed)
	if err != nil {
		return err
	}
	defer d.Close()
	if d.CompressedSize < e.compressed {
		return e.bad("its data ends before its stated compressed size")
	}
	if err := z.checkDescriptor(e, d); err != nil {
		return err
	}
	return d.Commit()
}

// checkDescriptor sets e's sizes and CRC-32 to those of d, and reads the data
// descriptor, which must state the same.
func (z *reader) checkDescriptor(e *entry, d *stream.Decoded) error {
	e.compressed, e.size, e.crc = d.CompressedSize, d.Facts.Size, d.Facts.CRC32
	if e.directory() && e.size != 0 {
		return e.bad(directoryWithContent)
	}
	b, err := z.in.Need(maxDescriptor) // the shortest one and the archive's end have more
	if err != nil {
		return err
	}
	n, err := e.findDescriptor(b)
	if err != nil {
		return err
	}
	z.in.Skip(n)
	return nil
}

// endsAtOnce reports whether e, whose size is unknown, is empty: then its data
// descriptor, or the next header, follows its local header of n bytes.
func (z *reader) endsAtOnce(e *entry, n int) (bool, error) {
	if e.method != methodStored {
		return false, nil
	}
	b, err := z.in.Peek(n + maxDescriptor)
	if err != nil {
		return false, err
	}
	e.crc, e.compressed, e.size = 0, 0, 0
	_, err = e.findDescriptor(b[n:])
	return err == nil || e.directory() && structureFollows(b[n:]), nil
}

// empty reads an entry without bytes, and its data descriptor.
func (z *reader) empty(e *entry) error {
	d, err := z.p.Decode(e.about(), z.in, 0)
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
	// Rust's streaming writer gives directories no descriptor.
	if n, err := e.findDescriptor(b); err == nil {
		z.in.Skip(n)
	}
	return nil
}

func errLongName(n int) error {
	return &stream.FormatError{Reason: fmt.Sprintf("an entry's name is %d bytes long, and the longest may have %d", n, maxName)}
}
