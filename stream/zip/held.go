package zip

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strconv"

	"spillway/stream"
	"spillway/stream/budget"
)

// held holds the rest of an archive that cannot be read forward any further, and reads
// it by the central directory. reason says why.
func (z *reader) held(reason string) error {
	if err := z.in.Hold(z.rules.Size); err != nil {
		_, full := errors.AsType[*budget.QuotaError](err)
		_, broken := errors.AsType[*budget.DiskError](err)
		if full || broken {
			err = &stream.SpillError{Reason: reason, Err: err}
		}
		return err
	}
	start, err := z.findDirectory()
	if err != nil {
		return err
	}
	z.in.SeekTo(start)
	if err := z.directory(); err != nil {
		return err
	}
	return z.laterEntries(start)
}

// findDirectory finds the central directory from the archive's end, as other readers
// do, and sets z.prefix. It leaves it to directory to check the end records.
func (z *reader) findDirectory() (start int64, err error) {
	tail := max(z.in.Origin(), z.in.End()-endLen-max16)
	z.in.SeekTo(tail)
	b, err := z.in.Peek(int(z.in.End() - tail))
	if err != nil {
		return 0, err
	}
	i := bytes.LastIndex(b, endMagic)
	if i < 0 || len(b)-i < endLen || int(le.Uint16(b[i+endLen-2:])) != len(b)-i-endLen {
		return 0, ErrNotZip
	}
	e, at := parseEnd(b[i:]), tail+int64(i)
	if i >= locator64Len && le.Uint32(b[i-locator64Len:]) == sigLocator64 {
		at -= end64Len + locator64Len
		if !z.in.SeekTo(at) {
			return 0, errLostDirectory
		}
		if b, err = z.in.Need(end64Len); err != nil {
			return 0, err
		}
		if le.Uint32(b) != sigEnd64 {
			return 0, &stream.FormatError{Reason: "its zip64 locator does not follow the record that it is for"}
		}
		e = parseEnd64(b)
	}
	if e.size > uint64(at) || e.offset > uint64(at)-e.size {
		return 0, errLostDirectory
	}
	start = at - int64(e.size)
	z.prefix = start - int64(e.offset)
	if z.prefix == 0 {
		return start, z.reach(start)
	}
	// Go looks where the offset says first, and only then for a shift.
	if err := z.reach(int64(e.offset)); err != nil {
		return 0, err
	}
	if b, err = z.in.Peek(4); err != nil {
		return 0, err
	}
	if len(b) == 4 && le.Uint32(b) == sigCentral {
		return 0, &stream.FormatError{Reason: "its central directory can be read in two places"}
	}
	return start, z.reach(start)
}

var errLostDirectory = &stream.FormatError{Reason: "its central directory is not where its end states"}

// reach moves the cursor to offset, which must be held.
func (z *reader) reach(offset int64) error {
	if !z.in.SeekTo(offset) {
		return errLostDirectory
	}
	return nil
}

// laterEntry adds an entry to the table that has not been read yet.
func (z *reader) laterEntry(r *centralHeader) (number int, err error) {
	e := &entry{header: r.header, offset: r.offset}
	if err := z.begin(e); err != nil {
		return 0, err
	}
	z.keep(e).flags |= isListed
	return e.number, nil
}

// laterEntries reads the entries that laterEntry has added. They end where the
// directory starts.
func (z *reader) laterEntries(directory int64) error {
	numbers := make([]int32, z.entries.Len()-z.forward)
	for i := range numbers {
		numbers[i] = int32(z.forward + i)
	}
	slices.SortStableFunc(numbers, func(a, b int32) int {
		return cmp.Compare(z.entries.At(int(a)).offset, z.entries.At(int(b)).offset)
	})
	for i, number := range numbers {
		limit := directory
		if i+1 < len(numbers) {
			limit = z.entries.At(int(numbers[i+1])).offset
		}
		e := z.kept(int(number))
		z.p.At(e.name)
		if err := z.listedEntry(&e, limit); err != nil {
			return err
		}
		if err := z.in.Pass(); err != nil {
			return err
		}
	}
	// Only bodies are wanted from here on.
	z.in.SeekTo(z.in.End())
	return z.in.Pass()
}

// listedEntry reads an entry by its central directory header. It must end before limit.
func (z *reader) listedEntry(e *entry, limit int64) error {
	if !z.in.SeekTo(e.offset) {
		return e.misplaced()
	}
	var local header
	b, err := z.in.Need(4)
	if err != nil {
		return err
	}
	if le.Uint32(b) != sigLocal {
		return e.misplaced()
	}
	n, err := z.localHeader(&local)
	if err != nil {
		return err
	}
	z.in.Skip(n)
	if !local.stated {
		// Hints; what counts is in the descriptor.
		local.crc, local.compressed, local.size = e.crc, e.compressed, e.size
	}
	if err := local.compare(&centralHeader{header: e.header}); err != nil {
		return err
	}
	data := z.in.Offset()
	if e.compressed > limit-data {
		return e.overlaps()
	}
	if err := z.sized(e); err != nil {
		return err
	}
	return z.listedDescriptor(e, data+e.compressed, limit)
}

func (e *entry) misplaced() error {
	return e.bad("the central directory places it at byte " + strconv.FormatInt(e.offset, 10) + ", where no entry starts")
}

func (e *entry) overlaps() error {
	return e.bad("its bytes overlap with those of another entry or of the central directory")
}

// listedDescriptor checks the data descriptor at offset at, if e has one. It
// must end before limit.
func (z *reader) listedDescriptor(e *entry, at, limit int64) error {
	z.in.SeekTo(at)
	if !e.descriptor() {
		return nil
	}
	b, err := z.in.Peek(int(min(maxDescriptor, limit-at)))
	if err != nil {
		return err
	}
	// Rust's streaming writer gives directories no descriptor.
	if !e.directory() && !e.endsInDescriptor(b) {
		return e.bad(noDescriptor)
	}
	return nil
}
