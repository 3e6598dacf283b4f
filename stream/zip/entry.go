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

// entry is what is kept of a local header until its central directory header is
// seen.
type entry struct {
	header
	offset int64
	number int // that the pipeline knows it by
	form   stream.Form
	listed bool // its central directory header has been seen
}

// about is what the pipeline is told of an entry.
func (e *entry) about() stream.Header {
	return stream.Header{
		Name: e.name, Directory: e.directory(), Codec: codecs[e.method], Packed: e.packed,
		Size: e.size, SizeStated: e.stated, CRC32: e.crc, CRCStated: e.stated,
		Number: e.number, Form: e.form,
	}
}

// entry reads a local header and what belongs to it. Where the entry's end
// cannot be told, it gives the reason, and the cursor stands before the header.
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
	z.entries = append(z.entries, e)
	switch {
	case !e.descriptor():
		return "", z.sized(e)
	case e.method == methodDeflate:
		return "", z.deflated(e)
	case e.packed > 0:
		return "", z.streamSizeHint(e)
	}
	return "", z.empty(e)
}

// sizeUnknown reports whether only what follows the bytes of an entry says where
// they end, and nothing in them does.
func (h *header) sizeUnknown() bool {
	return h.descriptor() && h.method != methodDeflate && h.packed == 0
}

// begin begins e in the pipeline.
func (z *reader) begin(e *entry) error {
	about := e.about()
	if err := z.p.Begin(&about); err != nil {
		return err
	}
	e.number, e.form = about.Number, about.Form
	return nil
}

// localHeader reads a local header, and says how long it is.
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
	if e.method == methodStored && e.packed != e.size {
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

// streamSizeHint reads an entry with a data descriptor by the compressed size
// that its local header states all the same.
func (z *reader) streamSizeHint(e *entry) error {
	if e.directory() {
		return e.bad(directoryWithContent)
	}
	d, err := z.p.Decode(e.about(), z.in, e.packed)
	if err != nil {
		return err
	}
	defer d.Close()
	if d.Packed < e.packed {
		return e.bad("its data ends before its stated compressed size")
	}
	if err := z.checkDescriptor(e, d); err != nil {
		return err
	}
	return d.Commit()
}

// checkDescriptor makes what was counted of e its sizes and CRC-32, and reads the
// data descriptor, which has to state the same.
func (z *reader) checkDescriptor(e *entry, d *stream.Decoded) error {
	e.packed, e.size, e.crc = d.Packed, d.Facts.Size, d.Facts.CRC32
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

// endsAtOnce reports whether e, whose sizes stand behind it, has no bytes: then
// what follows its header of n bytes is the end of an entry.
func (z *reader) endsAtOnce(e *entry, n int) (bool, error) {
	if e.method != methodStored {
		return false, nil
	}
	b, err := z.in.Peek(n + maxDescriptor)
	if err != nil {
		return false, err
	}
	e.crc, e.packed, e.size = 0, 0, 0
	_, err = e.findDescriptor(b[n:])
	return err == nil || e.directory() && structureFollows(b[n:]), nil
}

// empty reads what follows the header of an entry that ends at once.
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
