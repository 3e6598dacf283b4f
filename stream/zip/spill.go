package zip

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"spillway/stream"
	"spillway/stream/budget"
)

// spill spills the rest of an archive that cannot be read forward, for that reason, and
// reads it by the central directory.
func (z *reader) spill(reason string) error {
	if err := z.in.Spill(z.rules.Size); err != nil {
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
	return z.spilledEntries(start)
}

// findDirectory finds the central directory from the archive's end, as other readers
// do, and sets z.prefix. directory checks the end records later.
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
		if err := z.seek(at); err != nil {
			return 0, err
		}
		if b, err = z.in.PeekAll(end64Len); err != nil {
			return 0, err
		}
		if le.Uint32(b) != sigEnd64 {
			return 0, badArchive("its zip64 locator does not follow its zip64 end of central directory record")
		}
		e = parseEnd64(b)
	}
	if e.size > uint64(at) || e.offset > uint64(at)-e.size {
		return 0, errLostDirectory
	}
	start = at - int64(e.size)
	z.prefix = start - int64(e.offset)
	if z.prefix == 0 {
		return start, z.seek(start)
	}
	// Go tries the stated offset first, and only then assumes a prefix.
	if err := z.seek(int64(e.offset)); err != nil {
		return 0, err
	}
	if b, err = z.in.Peek(4); err != nil {
		return 0, err
	}
	if len(b) == 4 && le.Uint32(b) == sigCentral {
		return 0, badArchive("its central directory may be in two places")
	}
	return start, z.seek(start)
}

// seek moves the cursor to the offset of a directory or its end record.
func (z *reader) seek(offset int64) error {
	if !z.in.SeekTo(offset) {
		return errLostDirectory
	}
	return nil
}

// spilledEntries reads the spilled entries, which directory has added to the table. They
// end where the directory starts.
func (z *reader) spilledEntries(directory int64) error {
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
		z.p.At(e.Name)
		if err := z.spilledEntry(&e, limit); err != nil {
			return err
		}
		if err := z.in.Free(); err != nil {
			return err
		}
	}
	z.in.SeekTo(z.in.End())
	return z.in.Free()
}

// spilledEntry reads an entry by its central directory header. It must end before limit.
func (z *reader) spilledEntry(e *entry, limit int64) error {
	if !z.in.SeekTo(e.offset) {
		return e.misplaced()
	}
	b, err := z.in.PeekAll(4)
	if err != nil {
		return err
	}
	if le.Uint32(b) != sigLocal {
		return e.misplaced()
	}
	var local entry
	n, err := z.localHeader(&local)
	if err != nil {
		return err
	}
	z.in.Discard(n)
	if local.descriptor() {
		// The descriptor has the values that count.
		local.CRC32, local.CompressedSize, local.Size = e.CRC32, e.CompressedSize, e.Size
	}
	if err := local.compare(e); err != nil {
		return err
	}
	data := z.in.Offset()
	if e.CompressedSize > limit-data {
		return e.bad("it overlaps another entry or the central directory")
	}
	if err := z.sized(e); err != nil {
		return err
	}
	return z.spilledDescriptor(e, data+e.CompressedSize, limit)
}

// spilledDescriptor checks the data descriptor at that offset, if e has one. It must end
// before limit.
func (z *reader) spilledDescriptor(e *entry, offset, limit int64) error {
	z.in.SeekTo(offset)
	if !e.descriptor() {
		return nil
	}
	b, err := z.in.Peek(int(min(maxDescriptor, limit-offset)))
	if err != nil {
		return err
	}
	// Rust's streaming writer writes no descriptor for directories.
	if !e.Directory && !e.matchesDescriptor(b) {
		return e.bad(noDescriptor)
	}
	return nil
}
