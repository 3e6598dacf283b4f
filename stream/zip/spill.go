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
	end, err := z.findEnd()
	if err != nil {
		return 0, err
	}
	// A locator and a zip64 record may precede the end record.
	b, err := z.peekAt(max(z.in.Origin(), end-locator64Len), locator64Len+endLen)
	if err != nil {
		return 0, err
	}
	i := int(end - z.in.Offset())
	e, at := parseEnd(b[i:]), end
	l := layout{end: end, record: e}
	if i == locator64Len && le.Uint32(b) == sigLocator64 {
		at -= end64Len + locator64Len
		if b, err = z.peekAt(at, end64Len); err != nil {
			return 0, err
		}
		if len(b) < end64Len || le.Uint32(b) != sigEnd64 {
			return 0, badArchive(end-locator64Len, "its zip64 locator does not follow its zip64 end of central directory record")
		}
		e = parseEnd64(b)
		l.zip64 = true
	}
	if e.size > uint64(at) || e.offset > uint64(at)-e.size {
		return 0, errLostDirectory(end)
	}
	start = at - int64(e.size)
	z.prefix = start - int64(e.offset)
	l.shift, l.size = z.prefix, int64(e.size)
	if err := z.checkReaders(&l); err != nil {
		return 0, err
	}
	return start, z.seek(start)
}

// findEnd returns the offset of the end of central directory record: its signature is the
// archive's last, and it, its comment and zeros end the archive.
func (z *reader) findEnd() (end int64, err error) {
	content, err := z.contentEnd()
	if err != nil {
		return 0, err
	}
	// The record and its comment may end in zeros as well.
	from := max(z.in.Origin(), content-endLen-max16)
	b, err := z.peekAt(from, int(content-from)+endLen)
	if err != nil {
		return 0, err
	}
	i := bytes.LastIndex(b, endMagic)
	if i < 0 || len(b)-i < endLen {
		return 0, z.cutOff()
	}
	end = from + int64(i)
	if end+endLen+int64(le.Uint16(b[i+endLen-2:])) > z.in.End() {
		return 0, z.cutOff()
	}
	return end, nil
}

// contentEnd returns the offset after the last byte that is not zero, or one so far from
// the archive's end that no end record and comment of zeros with padding reach up to it.
func (z *reader) contentEnd() (int64, error) {
	at := z.in.End()
	for least := max(z.in.Origin(), at-maxPadding-max16-endLen); at > least; {
		n := min(maxPadding, at-least)
		b, err := z.peekAt(at-n, int(n))
		if err != nil {
			return 0, err
		}
		content := len(bytes.TrimRight(b, "\x00"))
		at += int64(content) - n
		if content > 0 {
			break
		}
	}
	return at, nil
}

// seek moves the cursor to the offset of a directory or its end record.
func (z *reader) seek(offset int64) error {
	if !z.in.SeekTo(offset) {
		return errLostDirectory(offset)
	}
	return nil
}

// peekAt moves the cursor to offset and returns the next n bytes, or fewer at the end of
// the archive.
func (z *reader) peekAt(offset int64, n int) ([]byte, error) {
	if err := z.seek(offset); err != nil {
		return nil, err
	}
	return z.in.Peek(n)
}

// spilledEntries reads the spilled entries, which directory has added to the table. They
// end where the directory starts.
func (z *reader) spilledEntries(directory int64) error {
	numbers := z.byOffset()
	first := directory
	if len(numbers) > 0 {
		first = z.entries.At(int(numbers[0])).offset
	}
	if err := z.checkFirstHeader(first); err != nil {
		return err
	}
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
		if err := z.checkAfter(&e, directory); err != nil {
			return err
		}
		if err := z.in.Free(); err != nil {
			return err
		}
	}
	z.in.SeekTo(z.in.End())
	return z.in.Free()
}

// byOffset returns the entries that were not read forward, by offset.
func (z *reader) byOffset() []int32 {
	numbers := make([]int32, z.entries.Len()-z.forward)
	for i := range numbers {
		numbers[i] = int32(z.forward + i)
	}
	slices.SortStableFunc(numbers, func(a, b int32) int {
		return cmp.Compare(z.entries.At(int(a)).offset, z.entries.At(int(b)).offset)
	})
	return numbers
}

// spilledEntry reads an entry by its central directory header. It must end before limit.
func (z *reader) spilledEntry(e *entry, limit int64) error {
	hint, n, err := z.headerOf(e)
	if err != nil {
		return err
	}
	z.in.Discard(n)
	data := z.in.Offset()
	if e.CompressedSize > limit-data {
		return e.bad("it overlaps another entry or the central directory")
	}
	if err := z.sized(e); err != nil {
		return err
	}
	z.in.SeekTo(data + e.CompressedSize)
	if !e.descriptor() {
		return nil
	}
	return z.spilledDescriptor(e, &hint, limit)
}

// headerOf returns the local header of an entry whose central directory header is listed.
// n is its length in bytes. The cursor stays before it.
func (z *reader) headerOf(listed *entry) (local entry, n int, err error) {
	if !z.in.SeekTo(listed.Offset) {
		return local, 0, listed.misplaced()
	}
	b, err := z.in.PeekAll(4)
	if err != nil {
		return local, 0, err
	}
	if le.Uint32(b) != sigLocal {
		return local, 0, listed.misplaced()
	}
	if n, err = z.localHeader(&local); err != nil {
		return local, 0, err
	}
	stated := local
	if local.descriptor() {
		// The descriptor has the values that count.
		stated.CRC32, stated.CompressedSize, stated.Size = listed.CRC32, listed.CompressedSize, listed.Size
	}
	return local, n, stated.compare(listed)
}

// spilledDescriptor checks the data descriptor at the cursor. It must end before limit.
// hint is what the local header states.
func (z *reader) spilledDescriptor(e, hint *entry, limit int64) error {
	b, err := z.in.Peek(maxDescriptor)
	if err != nil {
		return err
	}
	if hint.statesSizes(e) && headerFollows(b) {
		return e.checkNoDescriptor(hint, b)
	}
	// Rust's streaming writer writes no descriptor for directories.
	if !e.Directory && !e.matchesDescriptor(b[:min(int64(len(b)), limit-z.in.Offset())]) {
		return e.bad(noDescriptor)
	}
	return e.checkHints(hint)
}
