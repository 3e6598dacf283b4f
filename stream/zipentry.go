package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/klauspost/compress/zstd"
)

const (
	// An entry takes entryMemory bytes and its name in the entry table. The
	// floor has room for tableFloor bytes of it; beyond that it grows by
	// tableStep.
	entryMemory = 320
	tableFloor  = 64 << 10
	tableStep   = 256 << 10
)

// entry is what is kept of a local header until its row is seen.
type entry struct {
	header
	offset int64
	form   Form
	obj    Object // nil for directories and ignored entries
	listed bool   // its row has been seen
}

// entry reads a local header and what belongs to it.
func (z *zipReader) entry() error {
	e := &entry{offset: z.in.offset}
	err := z.localHeader(&e.header)
	if err != nil {
		return err
	}
	if err := z.begin(e); err != nil {
		return err
	}
	if e.directory() {
		return z.directoryEntry(e)
	}
	z.report.Entries++
	if e.form, err = z.rules.Form(e.name); err != nil {
		return err
	}
	switch {
	case !e.descriptor():
		return z.sized(e)
	case e.method == methodDeflate:
		return z.deflated(e)
	case e.packed > 0:
		return z.hinted(e)
	case e.method == methodStored:
		return z.empty(e)
	}
	return z.needsSpill("the size of " + strconv.Quote(e.name) + " is only in the central directory")
}

// localHeader reads and consumes a local header.
func (z *zipReader) localHeader(h *header) error {
	b, err := z.in.need(localLen)
	if err != nil {
		return err
	}
	name, extra := int(le.Uint16(b[26:])), int(le.Uint16(b[28:]))
	if name > maxName {
		return errLongName(name)
	}
	n := localLen + name + extra
	if b, err = z.in.need(n); err != nil {
		return err
	}
	*h, err = parseLocal(b, b[localLen:localLen+name], b[localLen+name:n])
	z.report.At = h.name
	if err != nil {
		return err
	}
	z.in.skip(n)
	return nil
}

// begin enters e into the entry table.
func (z *zipReader) begin(e *entry) error {
	if len(z.entries) >= z.rules.MaxEntries {
		return &LimitError{What: "entries", Limit: int64(z.rules.MaxEntries)}
	}
	size := int64(entryMemory + len(e.name))
	if z.table < size {
		release, err := z.share.Reserve(z.ctx, tableStep)
		if err != nil {
			return err
		}
		z.grown = append(z.grown, release)
		z.table += tableStep
	}
	z.table -= size
	z.entries = append(z.entries, e)
	return nil
}

// directoryEntry passes over a directory, which may be deflated but is empty.
func (z *zipReader) directoryEntry(e *entry) error {
	switch {
	case !e.descriptor():
		return z.sized(e)
	case e.method == methodDeflate:
		return z.deflated(e)
	case e.method == methodStored && e.packed == 0:
		return z.empty(e)
	}
	return e.bad("it is a directory with content")
}

// sized reads an entry whose local header states its sizes and CRC-32.
func (z *zipReader) sized(e *entry) error {
	if e.method == methodStored && e.packed != e.size {
		return e.bad("it is stored, but its compressed size and its size differ")
	}
	if z.total.count()+e.size > z.rules.MaxExpanded {
		return &LimitError{What: "expanded bytes", Limit: z.rules.MaxExpanded}
	}
	z.biggest(e.name, e.size)
	z.create(e)
	switch part := int64(z.share.m.partSize); {
	case e.form == Gzip && e.method == methodDeflate && gzipHeaderLen+e.packed+gzipTrailerLen <= part:
		trailer := gzipTrailer(e.crc, e.size)
		return z.whole(e, gzipHeader[:], trailer[:])
	case e.form == AsIs && e.method == methodStored && e.packed <= part:
		return z.whole(e, nil, nil)
	}
	return z.streamed(e)
}

// create begins the object of e, unless none is stored.
func (z *zipReader) create(e *entry) {
	if e.form == Ignore {
		return
	}
	about := Entry{Name: e.name, Form: e.form}
	if !e.descriptor() {
		about.Stated, about.Size, about.CRC32 = true, e.size, e.crc
	}
	e.obj = z.sink.Create(about)
}

// biggest keeps the largest entry.
func (z *zipReader) biggest(name string, size int64) {
	if size > z.report.BiggestSize {
		z.report.Biggest, z.report.BiggestSize = name, size
	}
}

// whole reads the body of e, which is its bytes in the archive between head
// and tail, and leaves it to a worker to verify and commit it.
func (z *zipReader) whole(e *entry, head, tail []byte) error {
	b, err := whole(z.ctx, z.share, z.in, head, int(e.packed), tail)
	if err != nil {
		return err
	}
	z.workers.Go(func() error {
		packed := b.Bytes()[len(head) : len(b.Bytes())-len(tail)]
		facts, err := z.verifyWhole(e, packed)
		if err == nil {
			err = e.obj.Commit(z.ctx, b, facts)
		} else {
			b.Release()
		}
		if err != nil {
			z.fail(err)
		}
		return nil
	})
	return nil
}

// verifyWhole verifies an entry that is all there, in one of the shared
// verifiers.
func (z *zipReader) verifyWhole(e *entry, packed []byte) (Facts, error) {
	select {
	case z.share.m.verifying <- struct{}{}:
	case <-z.ctx.Done():
		return Facts{}, context.Cause(z.ctx)
	}
	defer func() { <-z.share.m.verifying }()
	v := verifiers.Get().(*verifier)
	defer verifiers.Put(v)

	r := bytes.NewReader(packed)
	expanded := io.Reader(r)
	if e.method == methodDeflate {
		expanded = v.inflate(r)
	}
	facts, err := v.count(&e.header, expanded, &z.total, io.Discard)
	if err == nil && r.Len() > 0 {
		err = e.bad(trailingBytes)
	}
	return facts, damage(e, err)
}

const trailingBytes = "its deflate stream ends before its stated compressed size"

// streamed reads an entry of known sizes while it arrives.
func (z *zipReader) streamed(e *entry) error {
	return z.stream(e, &packed{in: z.in, left: e.packed}, func(src *packed, f Facts) error {
		if src.left > 0 {
			return e.bad(trailingBytes)
		}
		return nil
	})
}

// deflated reads an entry that ends where its deflate stream does.
func (z *zipReader) deflated(e *entry) error {
	z.create(e)
	return z.stream(e, &packed{in: z.in, left: math.MaxInt64}, func(src *packed, f Facts) error {
		return z.described(e, src, f)
	})
}

// hinted reads an entry with a data descriptor by the compressed size that its
// local header states all the same.
func (z *zipReader) hinted(e *entry) error {
	z.create(e)
	return z.stream(e, &packed{in: z.in, left: e.packed}, func(src *packed, f Facts) error {
		if src.left > 0 {
			return e.bad("its data ends before its stated compressed size")
		}
		return z.described(e, src, f)
	})
}

// described makes what was counted of e its sizes and CRC-32, and reads the
// data descriptor that has to state the same.
func (z *zipReader) described(e *entry, src *packed, f Facts) error {
	e.packed, e.size, e.crc = src.n, f.Size, f.CRC32
	z.biggest(e.name, e.size)
	if e.directory() && e.size != 0 {
		return e.bad("it is a directory with content")
	}
	b, err := z.in.need(maxDescriptor) // the shortest one and the archive's end have more
	if err != nil {
		return err
	}
	n, err := e.findDescriptor(b)
	if err != nil {
		return err
	}
	z.in.skip(n)
	return nil
}

// empty reads a stored entry whose sizes stand behind it, which can only be
// told from its bytes if there are none.
func (z *zipReader) empty(e *entry) error {
	e.crc, e.packed, e.size = 0, 0, 0
	b, err := z.in.peek(maxDescriptor)
	if err != nil {
		return err
	}
	n, err := e.findDescriptor(b)
	switch {
	case err == nil:
	case e.directory() && structureFollows(b):
		n = 0 // Rust's streaming writer gives directories no descriptor
	default:
		return z.needsSpill("the size of " + strconv.Quote(e.name) + " is only in the central directory")
	}
	z.create(e)
	if err := z.stream(e, &packed{in: z.in}, func(*packed, Facts) error { return nil }); err != nil {
		return err
	}
	z.in.skip(n)
	return nil
}

// stream verifies the packed bytes of e in src as they arrive and fills parts
// with its body. Once all are decoded, ended has to find that the entry ends
// there. A worker commits it.
func (z *zipReader) stream(e *entry, src *packed, ended func(*packed, Facts) error) error {
	reserved := decoderMemory(e.method)
	compress := e.form == Gzip && e.method != methodDeflate
	if compress {
		reserved += deflaterMemory
	}
	if reserved > 0 {
		release, err := z.share.Reserve(z.ctx, reserved)
		if err != nil {
			return err
		}
		defer release()
	}

	w := newBody(z.ctx, z.share, e)
	defer w.close()
	out := io.Discard
	finish := func(Facts) error { return nil }
	switch {
	case compress:
		d := newDeflater(w)
		defer deflaters.Put(d)
		out, finish = d, d.end
	case e.form == Gzip:
		frame := &framed{w: w}
		src.tee, finish = frame, frame.end
	case e.form == AsIs:
		out = w
	}

	expanded, closeDecoder, err := z.own.decoder(e.method, src)
	if err != nil {
		return err
	}
	defer closeDecoder()
	facts, err := z.own.count(&e.header, expanded, &z.total, out)
	if err == nil {
		err = src.end(z.own.surplus(e.method))
	}
	if src.err != nil {
		return src.err
	}
	if err != nil {
		return damage(e, err)
	}
	if err := ended(src, facts); err != nil {
		return err
	}
	if err := finish(facts); err != nil {
		return err
	}
	if e.obj == nil {
		return nil
	}
	rest := w.rest()
	z.workers.Go(func() error {
		if err := e.obj.Commit(z.ctx, rest, facts); err != nil {
			z.fail(err)
		}
		return nil
	})
	return nil
}

// damage makes a failure to decode e one of the archive.
func damage(e *entry, err error) error {
	switch _, failed := errors.AsType[*decodeError](err); {
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return e.bad(fmt.Sprintf("its zstd window is over %d MiB", maxWindow>>20))
	case failed:
		return e.bad("its compressed data is damaged or does not have its stated size")
	}
	return err
}

func errLongName(n int) error {
	return &FormatError{Reason: fmt.Sprintf("an entry's name is %d bytes long, and the longest may have %d", n, maxName)}
}
