package zip

import (
	"cmp"
	"slices"
	"sort"
	"strings"

	"spillway/stream"
)

// maxDirectory is the length of the longest central directory, in bytes: 20,000 headers
// with the longest names, and half as much again for extra fields and comments.
const maxDirectory = 32 << 20

// directory reads the central directory, which decides what is in the archive, and the
// end records. It matches each header with the entry that was read at its offset. It
// drops the entries that are not listed, or listed again later.
func (z *reader) directory() error {
	start := z.in.Offset()
	entries, files := 0, make([]int32, 0, z.entries.Len()) // in the order of the directory
	for {
		b, err := z.in.PeekAll(4)
		if err != nil {
			return err
		}
		if le.Uint32(b) != sigCentral {
			break
		}
		if entries >= z.rules.MaxEntries {
			return &stream.LimitError{What: stream.EntriesBound, Limit: int64(z.rules.MaxEntries)}
		}
		e, err := z.centralHeader(start + maxDirectory)
		if err != nil {
			return err
		}
		number, err := z.match(&e)
		if err != nil {
			return err
		}
		entries++
		if !e.Directory {
			files = append(files, int32(number))
		}
	}
	ignored := z.ignored(files)
	if err := z.findDuplicates(files); err != nil {
		return err
	}
	if err := z.end(entries, start-z.prefix, z.in.Offset()-start); err != nil {
		return err
	}
	z.settle(ignored)
	return nil
}

// ignored returns the files that are not stored.
func (z *reader) ignored(files []int32) (numbers []int32) {
	for _, number := range files {
		if z.entries.At(int(number)).form == uint8(stream.Ignore) {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

// findDuplicates marks each file that is replaced by a later one of the same name. It
// reorders files.
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

// settle drops the entries that are not listed or replaced, and reports the ignored ones.
func (z *reader) settle(ignored []int32) {
	for number := range z.entries.Len() {
		if e := z.entries.At(number); e.flags&(isListed|isReplaced) != isListed {
			z.p.Drop(number)
		}
	}
	for _, number := range ignored {
		if z.entries.At(int(number)).flags&isReplaced == 0 {
			e := z.kept(int(number))
			z.p.Ignored(&e.Header)
		}
	}
}

// centralHeader reads a central directory header. It must end before limit, an offset.
func (z *reader) centralHeader(limit int64) (e entry, err error) {
	b, err := z.in.PeekAll(centralLen)
	if err != nil {
		return e, err
	}
	name, extra, comment := int(le.Uint16(b[28:])), int(le.Uint16(b[30:])), int(le.Uint16(b[32:]))
	if name > maxName {
		return e, longName(z.in.Offset(), name)
	}
	n := centralLen + name + extra
	if z.in.Offset()+int64(n+comment) > limit {
		return e, &stream.LimitError{What: stream.DirectoryBound, Limit: maxDirectory}
	}
	if b, err = z.in.PeekAll(n); err != nil {
		return e, err
	}
	if e, err = parseCentral(z.in.Offset(), b, b[centralLen:centralLen+name], b[centralLen+name:n]); err != nil {
		return e, err
	}
	e.Offset += z.prefix
	z.in.Discard(n)
	if _, err := z.in.PeekAll(comment); err != nil {
		return e, err
	}
	z.in.Discard(comment)
	return e, nil
}

// match returns the number of the entry whose central directory header is listed. A
// spilled entry has not been read yet: match adds it to the table.
func (z *reader) match(listed *entry) (number int, err error) {
	if z.in.Spilled(listed.Offset) {
		if err := z.p.Begin(&listed.Header); err != nil {
			return 0, err
		}
		z.keep(listed).flags |= isListed
		return listed.Number, nil
	}
	number, found := sort.Find(z.forward, func(i int) int { return cmp.Compare(listed.Offset, z.entries.At(i).offset) })
	if !found {
		return 0, listed.misplaced()
	}
	r := z.entries.At(number)
	if r.flags&isListed != 0 {
		return 0, listed.bad("the central directory lists its bytes twice")
	}
	r.flags |= isListed
	e := z.kept(number)
	return number, e.compare(listed)
}
