package zip

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"spillway/stream"
)

// maxDirectory is how long a central directory may be, in bytes: 20,000 headers
// with the longest names, and half as much again for what else is in them.
const maxDirectory = 32 << 20

// directory reads the central directory, which decides what the archive holds,
// up to the archive's end. It matches each header with the entry that was read at
// its offset, and drops the entries that are not kept.
func (z *reader) directory() error {
	start := z.in.Offset()
	headers, files := 0, make([]int32, 0, z.entries.Len()) // in the order of the directory
	for {
		b, err := z.in.Need(4)
		if err != nil {
			return err
		}
		if le.Uint32(b) != sigCentral {
			break
		}
		if headers >= z.rules.MaxEntries {
			return &stream.LimitError{What: stream.EntriesBound, Limit: int64(z.rules.MaxEntries)}
		}
		r, err := z.centralHeader(start + maxDirectory)
		if err != nil {
			return err
		}
		number, err := z.match(&r)
		if err != nil {
			return err
		}
		headers++
		if !r.directory() {
			files = append(files, int32(number))
		}
	}
	ignored := z.ignored(files)
	if err := z.findDuplicates(files); err != nil {
		return err
	}
	if err := z.end(headers, start-z.prefix, z.in.Offset()-start); err != nil {
		return err
	}
	z.settle(ignored)
	return nil
}

// ignored returns those of the files that are not stored.
func (z *reader) ignored(files []int32) (numbers []int32) {
	for _, number := range files {
		if z.entries.At(int(number)).form == uint8(stream.Ignore) {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

// findDuplicates marks the files under whose name another one is listed later. It
// reorders them.
func (z *reader) findDuplicates(files []int32) error {
	slices.SortStableFunc(files, func(a, b int32) int {
		return strings.Compare(z.p.Name(int(a)), z.p.Name(int(b)))
	})
	for i := 1; i < len(files); i++ {
		name := z.p.Name(int(files[i]))
		if z.p.Name(int(files[i-1])) != name {
			continue
		}
		earlier, later := z.entries.At(int(files[i-1])), z.entries.At(int(files[i]))
		if earlier.size != later.size {
			return &stream.DuplicateError{Name: name, Later: later.size, Earlier: earlier.size}
		}
		earlier.flags |= isReplaced
	}
	return nil
}

// settle drops the entries that are not listed, or replaced by another one, and
// reports those that are ignored.
func (z *reader) settle(ignored []int32) {
	for number := range z.entries.Len() {
		if e := z.entries.At(number); e.flags&(isListed|isReplaced) != isListed {
			z.p.Drop(number)
		}
	}
	for _, number := range ignored {
		if z.entries.At(int(number)).flags&isReplaced == 0 {
			z.p.Ignored(z.p.Name(int(number)))
		}
	}
}

// centralHeader reads a central directory header. It must end before limit, an offset.
func (z *reader) centralHeader(limit int64) (centralHeader, error) {
	b, err := z.in.Need(centralLen)
	if err != nil {
		return centralHeader{}, err
	}
	name, extra, comment := int(le.Uint16(b[28:])), int(le.Uint16(b[30:])), int(le.Uint16(b[32:]))
	if name > maxName {
		return centralHeader{}, errLongName(name)
	}
	n := centralLen + name + extra
	if z.in.Offset()+int64(n+comment) > limit {
		return centralHeader{}, &stream.LimitError{What: stream.DirectoryBound, Limit: maxDirectory}
	}
	if b, err = z.in.Need(n); err != nil {
		return centralHeader{}, err
	}
	r, err := parseCentral(b, b[centralLen:centralLen+name], b[centralLen+name:n])
	if err != nil {
		return centralHeader{}, err
	}
	z.in.Skip(n)
	if _, err := z.in.Need(comment); err != nil {
		return centralHeader{}, err
	}
	z.in.Skip(comment)
	return r, nil
}

// match returns the number of the entry that r is for.
func (z *reader) match(r *centralHeader) (int, error) {
	if r.disk != 0 {
		return 0, r.bad("it is on another disk of several")
	}
	r.offset += z.prefix
	if z.in.Holds(r.offset) {
		return z.laterEntry(r)
	}
	number, found := sort.Find(z.forward, func(i int) int { return cmp.Compare(r.offset, z.entries.At(i).offset) })
	if !found {
		return 0, r.bad("the central directory places it at byte " + strconv.FormatInt(r.offset, 10) + ", where no entry starts")
	}
	kept := z.entries.At(number)
	if kept.flags&isListed != 0 {
		return 0, r.bad("the central directory lists its bytes twice")
	}
	kept.flags |= isListed
	e := z.kept(number)
	return number, e.compare(r)
}

// end reads what follows the headers of a directory of size bytes at offset. The
// records must follow each other at once and say where they are; whoever looks
// for them from the archive's end then finds the same ones.
func (z *reader) end(headers int, offset, size int64) error {
	at := z.in.Offset() - z.prefix
	var wide *end
	b, err := z.in.Need(4)
	if err != nil {
		return err
	}
	if le.Uint32(b) == sigEnd64 {
		if wide, err = z.end64(at); err != nil {
			return err
		}
	} else if last := z.in.Before(locator64Len); len(last) == locator64Len && le.Uint32(last) == sigLocator64 {
		// Python would follow what looks like a locator at the end of a comment.
		return &stream.FormatError{Reason: "a false zip64 locator stands before its end of central directory record"}
	}
	b, err = z.in.Need(endLen)
	if err != nil {
		return err
	}
	if le.Uint32(b) != sigEnd {
		return &stream.FormatError{Reason: "its central directory is not followed by its end record"}
	}
	record := bytes.Clone(b)
	z.in.Skip(endLen)
	if err := z.comment(record); err != nil {
		return err
	}
	e := parseEnd(record)
	if wide != nil {
		if !e.agrees(*wide) {
			return &stream.FormatError{Reason: "its end of central directory record and the zip64 one disagree"}
		}
		e = *wide
	}
	return e.check(headers, offset, size)
}

// end64 reads the zip64 end of central directory record at the given offset
// and its locator (APPNOTE 4.3.14 and 4.3.15).
func (z *reader) end64(at int64) (*end, error) {
	b, err := z.in.Need(end64Len + locator64Len)
	if err != nil {
		return nil, err
	}
	locator := b[end64Len:]
	if le.Uint64(b[4:]) != end64Len-12 || le.Uint32(locator) != sigLocator64 {
		return nil, &stream.FormatError{Reason: "its zip64 end of central directory record is not directly followed by its locator"}
	}
	if le.Uint32(locator[4:]) != 0 || le.Uint64(locator[8:]) != uint64(at) || le.Uint32(locator[16:]) != 1 {
		return nil, &stream.FormatError{Reason: "its zip64 locator does not point at its end of central directory record"}
	}
	wide := parseEnd64(b)
	z.in.Skip(end64Len + locator64Len)
	return &wide, nil
}

// comment reads the archive's comment, with which it ends.
func (z *reader) comment(record []byte) error {
	n := int(le.Uint16(record[endLen-2:]))
	b, err := z.in.Peek(n + 1)
	if err != nil {
		return err
	}
	if len(b) < n {
		return ErrNotZip
	}
	if len(b) > n {
		return &stream.FormatError{Reason: "there are bytes behind its end"}
	}
	// A signature behind that of the record would be taken for the record.
	if bytes.Contains(append(record[1:len(record):len(record)], b...), endMagic) {
		return &stream.FormatError{Reason: "its comment holds an end of central directory signature"}
	}
	z.in.Skip(n)
	return nil
}
