package zip

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"

	"spillway/stream"
)

// maxDirectory is how long a central directory may be, in bytes: 20,000 rows
// with the longest names, and half as much again for what else is in them.
const maxDirectory = 32 << 20

// directory reads the central directory, which decides what the archive holds,
// up to the archive's end. It matches every row with the entry that was read
// at its offset, and drops the entries that it does not keep.
func (z *reader) directory() error {
	start := z.in.Offset()
	listing := listing{names: make(map[string]*entry)}
	for {
		b, err := z.in.Need(4)
		if err != nil {
			return err
		}
		if le.Uint32(b) != sigRow {
			break
		}
		if listing.rows >= z.rules.MaxEntries {
			return &stream.LimitError{What: stream.EntriesBound, Limit: int64(z.rules.MaxEntries)}
		}
		r, err := z.row(start + maxDirectory)
		if err != nil {
			return err
		}
		e, err := z.match(&r)
		if err != nil {
			return err
		}
		if err := listing.add(e); err != nil {
			return err
		}
	}
	if err := z.end(listing.rows, start-z.prefix, z.in.Offset()-start); err != nil {
		return err
	}
	z.keep(&listing)
	return nil
}

// keep drops the entries that are not listed, or under whose name another one is
// listed later.
func (z *reader) keep(l *listing) {
	for _, e := range slices.Concat(z.entries, z.later) {
		if e.form != stream.Ignore && l.names[e.name] != e {
			z.p.Drop(e.number)
		}
	}
	for _, e := range l.order {
		if e.form == stream.Ignore && l.names[e.name] == e {
			z.p.Ignored(e.name)
		}
	}
}

// row reads a row. It must end before limit, an offset.
func (z *reader) row(limit int64) (row, error) {
	b, err := z.in.Need(rowLen)
	if err != nil {
		return row{}, err
	}
	name, extra, comment := int(le.Uint16(b[28:])), int(le.Uint16(b[30:])), int(le.Uint16(b[32:]))
	if name > maxName {
		return row{}, errLongName(name)
	}
	n := rowLen + name + extra
	if z.in.Offset()+int64(n+comment) > limit {
		return row{}, &stream.LimitError{What: stream.DirectoryBound, Limit: maxDirectory}
	}
	if b, err = z.in.Need(n); err != nil {
		return row{}, err
	}
	r, err := parseRow(b, b[rowLen:rowLen+name], b[rowLen+name:n])
	if err != nil {
		return row{}, err
	}
	z.in.Skip(n)
	if _, err := z.in.Need(comment); err != nil {
		return row{}, err
	}
	z.in.Skip(comment)
	return r, nil
}

// match finds the entry that r is for.
func (z *reader) match(r *row) (*entry, error) {
	if r.disk != 0 {
		return nil, r.bad("it is on another disk of several")
	}
	r.offset += z.prefix
	if z.in.Holds(r.offset) {
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
		return &stream.DuplicateError{Name: e.name, Later: e.size, Earlier: earlier.size}
	}
	l.names[e.name] = e
	l.order = append(l.order, e)
	return nil
}

// end reads what follows the rows of a directory of size bytes at offset. The
// records must follow each other at once and say where they are; whoever looks
// for them from the archive's end then finds the same ones.
func (z *reader) end(rows int, offset, size int64) error {
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
	return e.check(rows, offset, size)
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
