package stream

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// maxDirectory is how long a central directory may be, in bytes: 20,000 rows
// with the longest names, and half as much again for what else is in them.
const maxDirectory = 32 << 20

// directory reads the central directory, which decides what the archive holds,
// up to the archive's end. It matches every row with the entry that was read
// at its offset and returns the entries that are kept.
func (z *zipReader) directory() (map[*entry]bool, error) {
	start := z.in.offset
	listing := listing{names: make(map[string]*entry)}
	for {
		b, err := z.in.need(4)
		if err != nil {
			return nil, err
		}
		if le.Uint32(b) != sigRow {
			break
		}
		if listing.rows >= z.rules.MaxEntries {
			return nil, &LimitError{What: EntriesBound, Limit: int64(z.rules.MaxEntries)}
		}
		r, err := z.row(start + maxDirectory)
		if err != nil {
			return nil, err
		}
		e, err := z.match(&r)
		if err != nil {
			return nil, err
		}
		if err := listing.add(e); err != nil {
			return nil, err
		}
	}
	if err := z.end(listing.rows, start-z.prefix, z.in.offset-start); err != nil {
		return nil, err
	}
	for _, e := range listing.order {
		if e.form == Ignore && listing.names[e.name] == e {
			z.rules.Progress.note(func(r *Report) { r.Ignored = append(r.Ignored, e.name) })
		}
	}
	return listing.kept(), nil
}

// row reads a row. It must end before limit, an offset.
func (z *zipReader) row(limit int64) (row, error) {
	b, err := z.in.need(rowLen)
	if err != nil {
		return row{}, err
	}
	name, extra, comment := int(le.Uint16(b[28:])), int(le.Uint16(b[30:])), int(le.Uint16(b[32:]))
	if name > maxName {
		return row{}, errLongName(name)
	}
	n := rowLen + name + extra
	if z.in.offset+int64(n+comment) > limit {
		return row{}, &LimitError{What: DirectoryBound, Limit: maxDirectory}
	}
	if b, err = z.in.need(n); err != nil {
		return row{}, err
	}
	r, err := parseRow(b, b[rowLen:rowLen+name], b[rowLen+name:n])
	if err != nil {
		return row{}, err
	}
	z.in.skip(n)
	if _, err := z.in.need(comment); err != nil {
		return row{}, err
	}
	z.in.skip(comment)
	return r, nil
}

// match finds the entry that r is for.
func (z *zipReader) match(r *row) (*entry, error) {
	if r.disk != 0 {
		return nil, r.bad("it is on another disk of several")
	}
	r.offset += z.prefix
	if z.in.held && r.offset >= z.in.origin {
		return z.laterEntry(r)
	}
	i, found := slices.BinarySearchFunc(z.entries, r.offset, func(e *entry, offset int64) int {
		return cmp.Compare(e.offset, offset)
	})
	if !found {
		return nil, r.bad("the central directory places it at byte " + strconv.FormatInt(r.offset, 10) + ", where no entry starts")
	}
	e := z.entries[i]
	if e.listed {
		return nil, r.bad("the central directory lists its bytes twice")
	}
	e.listed = true
	return e, e.compare(r)
}

// listing is what the central directory lists, row by row.
type listing struct {
	rows  int
	order []*entry          // files
	names map[string]*entry // the last file of each name
}

func (l *listing) add(e *entry) error {
	l.rows++
	if strings.HasSuffix(e.name, "/") {
		return nil
	}
	if earlier := l.names[e.name]; earlier != nil && earlier.size != e.size {
		return &DuplicateError{Name: e.name, Later: e.size, Earlier: earlier.size}
	}
	l.names[e.name] = e
	l.order = append(l.order, e)
	return nil
}

func (l *listing) kept() map[*entry]bool {
	kept := make(map[*entry]bool, len(l.names))
	for _, e := range l.names {
		kept[e] = true
	}
	return kept
}

// end reads what follows the rows of a directory of size bytes at offset. The
// records must follow each other at once and say where they are; whoever looks
// for them from the archive's end then finds the same ones.
func (z *zipReader) end(rows int, offset, size int64) error {
	at := z.in.offset - z.prefix
	var wide *end
	b, err := z.in.need(4)
	if err != nil {
		return err
	}
	if le.Uint32(b) == sigEnd64 {
		if wide, err = z.end64(at); err != nil {
			return err
		}
	} else if last := z.in.before(locator64Len); len(last) == locator64Len && le.Uint32(last) == sigLocator64 {
		// Python would follow what looks like a locator at the end of a comment.
		return &FormatError{Reason: "a false zip64 locator stands before its end of central directory record"}
	}
	b, err = z.in.need(endLen)
	if err != nil {
		return err
	}
	if le.Uint32(b) != sigEnd {
		return &FormatError{Reason: "its central directory is not followed by its end record"}
	}
	record := bytes.Clone(b)
	z.in.skip(endLen)
	if err := z.comment(record); err != nil {
		return err
	}
	e := parseEnd(record)
	if wide != nil {
		if !e.agrees(*wide) {
			return &FormatError{Reason: "its end of central directory record and the zip64 one disagree"}
		}
		e = *wide
	}
	return e.check(rows, offset, size)
}

// end64 reads the zip64 end of central directory record at the given offset
// and its locator (APPNOTE 4.3.14 and 4.3.15).
func (z *zipReader) end64(at int64) (*end, error) {
	b, err := z.in.need(end64Len + locator64Len)
	if err != nil {
		return nil, err
	}
	locator := b[end64Len:]
	if le.Uint64(b[4:]) != end64Len-12 || le.Uint32(locator) != sigLocator64 {
		return nil, &FormatError{Reason: "its zip64 end of central directory record is not directly followed by its locator"}
	}
	if le.Uint32(locator[4:]) != 0 || le.Uint64(locator[8:]) != uint64(at) || le.Uint32(locator[16:]) != 1 {
		return nil, &FormatError{Reason: "its zip64 locator does not point at its end of central directory record"}
	}
	wide := parseEnd64(b)
	z.in.skip(end64Len + locator64Len)
	return &wide, nil
}

// comment reads the archive's comment, with which it ends.
func (z *zipReader) comment(record []byte) error {
	n := int(le.Uint16(record[endLen-2:]))
	b, err := z.in.peek(n + 1)
	if err != nil {
		return err
	}
	if len(b) < n {
		return ErrNotZip
	}
	if len(b) > n {
		return &FormatError{Reason: "there are bytes behind its end"}
	}
	// A signature behind that of the record would be taken for the record.
	if bytes.Contains(append(record[1:len(record):len(record)], b...), endMagic) {
		return &FormatError{Reason: "its comment holds an end of central directory signature"}
	}
	z.in.skip(n)
	return nil
}
