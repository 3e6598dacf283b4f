package stream

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"
)

const (
	// An entry takes entryMemory bytes and its name in the entry table, those
	// included that the store keeps of it. The floor has room for tableFloor bytes
	// of it; beyond that it grows by tableStep.
	entryMemory = 512
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

// entry reads a local header and what belongs to it. Where the entry's end
// cannot be told, it gives the reason, and the cursor stands before the header.
func (z *zipReader) entry() (stuck string, err error) {
	e := &entry{offset: z.in.offset}
	n, err := z.localHeader(&e.header)
	if err != nil {
		return "", err
	}
	if e.endless() {
		ends, err := z.endsAtOnce(e, n)
		if err != nil || !ends {
			return "the size of " + strconv.Quote(e.name) + " is only in the central directory", err
		}
	}
	z.in.skip(n)
	if err := z.begin(e); err != nil {
		return "", err
	}
	z.entries = append(z.entries, e)
	if err := z.formOf(e); err != nil {
		return "", err
	}
	switch {
	case !e.descriptor():
		return "", z.sized(e)
	case e.method == methodDeflate:
		return "", z.deflated(e)
	case e.packed > 0:
		return "", z.hinted(e)
	}
	return "", z.empty(e)
}

// endless reports whether only what follows the bytes of an entry says where
// they end, and nothing in them does.
func (h *header) endless() bool {
	return h.descriptor() && h.method != methodDeflate && h.packed == 0
}

// formOf finds out what becomes of e.
func (z *zipReader) formOf(e *entry) (err error) {
	if e.directory() {
		if e.descriptor() && e.method != methodDeflate && e.packed > 0 {
			return e.bad("it is a directory with content")
		}
		return nil
	}
	z.rules.Progress.note(func(r *Report) { r.Entries++ })
	e.form, err = z.rules.Form(e.name)
	return err
}

// localHeader reads a local header, and says how long it is.
func (z *zipReader) localHeader(h *header) (n int, err error) {
	b, err := z.in.need(localLen)
	if err != nil {
		return 0, err
	}
	name, extra := int(le.Uint16(b[26:])), int(le.Uint16(b[28:]))
	if name > maxName {
		return 0, errLongName(name)
	}
	n = localLen + name + extra
	if b, err = z.in.need(n); err != nil {
		return 0, err
	}
	*h, err = parseLocal(b, b[localLen:localLen+name], b[localLen+name:n])
	z.rules.Progress.at(h.name)
	return n, err
}

// begin makes room for e in the entry table.
func (z *zipReader) begin(e *entry) error {
	if len(z.entries)+len(z.later) >= z.rules.MaxEntries {
		return &LimitError{What: EntriesBound, Limit: int64(z.rules.MaxEntries)}
	}
	size := int64(entryMemory + len(e.name))
	if z.table < size {
		if err := z.share.grow(z.ctx, tableStep); err != nil {
			return err
		}
		z.table += tableStep
	}
	z.table -= size
	return nil
}

// sized reads an entry whose local header states its sizes and CRC-32.
func (z *zipReader) sized(e *entry) error {
	if err := z.announce(e); err != nil {
		return err
	}
	switch part := int64(z.share.m.partSize); {
	case e.form == Gzip && e.method == methodDeflate && gzipHeaderLen+e.packed+gzipTrailerLen <= part:
		trailer := gzipTrailer(e.crc, e.size)
		return z.whole(e, gzipHeader[:], trailer[:])
	case e.form == AsIs && e.method == methodStored && e.packed <= part:
		return z.whole(e, nil, nil)
	}
	return z.streamed(e)
}

// announce begins the object of an entry whose sizes are stated.
func (z *zipReader) announce(e *entry) error {
	if e.method == methodStored && e.packed != e.size {
		return e.bad("it is stored, but its compressed size and its size differ")
	}
	if z.total.count()+e.size > z.rules.MaxExpanded {
		return &LimitError{What: ExpandedBound, Limit: z.rules.MaxExpanded}
	}
	z.rules.Progress.count(e)
	z.create(e)
	return nil
}

// create begins the object of e, unless none is stored.
func (z *zipReader) create(e *entry) {
	if e.form == Ignore {
		return
	}
	about := Entry{Name: e.name, Form: e.form}
	if e.stated {
		about.Stated, about.Size, about.CRC32 = true, e.size, e.crc
	}
	e.obj = z.sink.Create(about)
}

// whole reads the body of e, which is its bytes in the archive between head
// and tail, and leaves it to a worker to verify and commit it.
func (z *zipReader) whole(e *entry, head, tail []byte) error {
	b, err := whole(z.ctx, z.share, z.in, head, e.packed, tail)
	if err != nil {
		return err
	}
	z.commit(e, b, int64(len(head)))
	return nil
}

// commit leaves it to a worker to verify and commit b, which has the packed
// bytes of e at the given offset.
func (z *zipReader) commit(e *entry, b Body, offset int64) {
	z.workers.do(func() error {
		verified := false
		defer func() {
			if !verified {
				b.Release()
			}
		}()
		facts, err := z.verify(e, io.NewSectionReader(b, offset, e.packed))
		if err != nil {
			return err
		}
		verified = true
		return z.workers.commit(z.ctx, e, b, facts)
	})
}

// verify verifies an entry that is all there, in one of the shared verifiers.
func (z *zipReader) verify(e *entry, packed *io.SectionReader) (Facts, error) {
	m, turn := z.share.m, z.share.newTurn(z.ctx)
	if err := m.verifying.enter(z.ctx, z.share.owner); err != nil {
		return Facts{}, err
	}
	defer m.verifying.leave(z.share.owner)
	begun := time.Now()
	defer func() { z.share.account.Worked(time.Since(begun) - turn.waited) }()
	v := verifiers.Get().(*verifier)
	v.apart = false // the others are at work meanwhile
	defer verifiers.Put(v)

	defer v.end()
	expanded, err := v.decode(e, pausing{packed, turn}, nil)
	if err != nil {
		return Facts{}, err
	}
	facts, err := v.count(&e.header, expanded, equipment{turn: turn}, &z.total, io.Discard)
	if err == nil {
		at, _ := packed.Seek(0, io.SeekCurrent) // it cannot fail
		if at-int64(v.surplus(e.method)) < e.packed {
			err = e.bad(trailingBytes)
		}
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
	z.rules.Progress.count(e)
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

// endsAtOnce reports whether e, whose sizes stand behind it, has no bytes: then
// what follows its header of n bytes is the end of an entry.
func (z *zipReader) endsAtOnce(e *entry, n int) (bool, error) {
	if e.method != methodStored {
		return false, nil
	}
	b, err := z.in.peek(n + maxDescriptor)
	if err != nil {
		return false, err
	}
	e.crc, e.packed, e.size = 0, 0, 0
	_, err = e.findDescriptor(b[n:])
	return err == nil || e.directory() && structureFollows(b[n:]), nil
}

// empty reads what follows the header of an entry that ends at once.
func (z *zipReader) empty(e *entry) error {
	z.create(e)
	if err := z.stream(e, &packed{in: z.in}, func(*packed, Facts) error { return nil }); err != nil {
		return err
	}
	b, err := z.in.peek(maxDescriptor)
	if err != nil {
		return err
	}
	// Rust's streaming writer gives directories no descriptor.
	if n, err := e.findDescriptor(b); err == nil {
		z.in.skip(n)
	}
	return nil
}

// stream verifies the packed bytes of e in src as they arrive and fills parts
// with its body. Once all are decoded, ended has to find that the entry ends
// there. A worker commits it.
func (z *zipReader) stream(e *entry, src *packed, ended func(*packed, Facts) error) error {
	tools, err := z.share.takeTools(z.ctx, toolsFor(e)...)
	if err != nil {
		return err
	}
	defer tools.release()

	w := newBody(z.ctx, z.share, z.turn, e)
	defer w.close()
	out := io.Discard
	finish := func(Facts) error { return nil }
	switch {
	case e.compressed():
		d := tools.deflater()
		d.reset(w)
		out, finish = d, d.end
	case e.form == Gzip:
		frame := &framed{w: w}
		src.tee, finish = frame, frame.end
	case e.form == AsIs:
		out = w
	}

	defer z.own.end()
	expanded, err := z.own.decode(e, src, tools)
	if err != nil {
		return err
	}
	facts, err := z.own.count(&e.header, expanded, equipment{tools, z.turn}, &z.total, out)
	z.share.account.Worked(z.own.worked)
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
	tools.keep()
	if e.obj == nil {
		return nil
	}
	rest := w.rest()
	z.workers.do(func() error { return z.workers.commit(z.ctx, e, rest, facts) })
	return nil
}

// damage makes a failure to decode e one of the archive.
func damage(e *entry, err error) error {
	if disk, ok := errors.AsType[*DiskError](err); ok {
		return disk
	}
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
