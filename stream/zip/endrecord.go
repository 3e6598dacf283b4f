package zip

import (
	"bytes"
	"fmt"
)

func errLostDirectory(end int64) error {
	return badArchive(end, "its central directory is not where its end record states")
}

// endRecord is the end of central directory record (APPNOTE 4.3.16) or its zip64 form
// (4.3.14).
type endRecord struct {
	disk, directoryDisk  uint32
	entriesHere, entries uint64
	size, offset         uint64 // of the directory
}

func parseEnd(b []byte) endRecord {
	return endRecord{
		disk: uint32(le.Uint16(b[4:])), directoryDisk: uint32(le.Uint16(b[6:])),
		entriesHere: uint64(le.Uint16(b[8:])), entries: uint64(le.Uint16(b[10:])),
		size: uint64(le.Uint32(b[12:])), offset: uint64(le.Uint32(b[16:])),
	}
}

func parseEnd64(b []byte) endRecord {
	return endRecord{
		disk: le.Uint32(b[16:]), directoryDisk: le.Uint32(b[20:]),
		entriesHere: le.Uint64(b[24:]), entries: le.Uint64(b[32:]),
		size: le.Uint64(b[40:]), offset: le.Uint64(b[48:]),
	}
}

// agrees reports whether each field of e is that of the zip64 record, or its sentinel.
func (e endRecord) agrees(wide endRecord) bool {
	same := func(v, sentinel, w uint64) bool { return v == w || v == sentinel }
	return same(uint64(e.disk), max16, uint64(wide.disk)) &&
		same(uint64(e.directoryDisk), max16, uint64(wide.directoryDisk)) &&
		same(e.entriesHere, max16, wide.entriesHere) && same(e.entries, max16, wide.entries) &&
		same(e.size, max32, wide.size) && same(e.offset, max32, wide.offset)
}

// check refuses a record, at offset end, that does not state the directory that was read.
func (e endRecord) check(end int64, entries int, offset, size int64) error {
	switch {
	case e.disk != 0 || e.directoryDisk != 0:
		return badArchive(end, "it is split across several disks")
	case e.entries != uint64(entries) || e.entriesHere != uint64(entries):
		return badArchive(end, fmt.Sprintf("its central directory has %d entries, but its end record states another number", entries))
	case e.size != uint64(size):
		return badArchive(end, "its central directory is not as long as its end record states")
	case e.offset != uint64(offset):
		return errLostDirectory(end)
	}
	return nil
}

// end reads the end records, after a directory with that many entries. The records must
// follow each other directly and state where they are. A reader that looks for them from
// the archive's end then finds the same ones.
func (z *reader) end(entries int, offset, size int64) error {
	at := z.in.Offset() - z.prefix
	var wide *endRecord
	b, err := z.in.PeekAll(4)
	if err != nil {
		return err
	}
	if le.Uint32(b) == sigEnd64 {
		if wide, err = z.end64(at); err != nil {
			return err
		}
	} else if last := z.in.LookBack(locator64Len); len(last) == locator64Len && le.Uint32(last) == sigLocator64 {
		// Python would follow what looks like a locator at the end of a comment.
		return badArchive(z.in.Offset()-locator64Len, "a false zip64 locator precedes its end of central directory record")
	}
	b, err = z.in.PeekAll(endLen)
	if err != nil {
		return err
	}
	if le.Uint32(b) != sigEnd {
		return badArchive(z.in.Offset(), "its central directory is not followed by its end record")
	}
	record, end := bytes.Clone(b), z.in.Offset()
	z.in.Discard(endLen)
	if err := z.comment(record); err != nil {
		return err
	}
	if err := z.padding(); err != nil {
		return err
	}
	e := parseEnd(record)
	if wide != nil {
		if !e.agrees(*wide) {
			return badArchive(end, "its end of central directory record and the zip64 one disagree")
		}
		e = *wide
	}
	return e.check(end, entries, offset, size)
}

// end64 reads the zip64 end of central directory record, at that offset, and its locator
// (APPNOTE 4.3.14 and 4.3.15).
func (z *reader) end64(at int64) (*endRecord, error) {
	b, err := z.in.PeekAll(end64Len + locator64Len)
	if err != nil {
		return nil, err
	}
	locator := b[end64Len:]
	if le.Uint64(b[4:]) != end64Len-12 || le.Uint32(locator) != sigLocator64 {
		return nil, badArchive(z.in.Offset(), "its zip64 end of central directory record is not directly followed by its locator")
	}
	if le.Uint32(locator[4:]) != 0 || le.Uint64(locator[8:]) != uint64(at) || le.Uint32(locator[16:]) != 1 {
		return nil, badArchive(z.in.Offset()+end64Len, "its zip64 locator does not point to its end of central directory record")
	}
	wide := parseEnd64(b)
	z.in.Discard(end64Len + locator64Len)
	return &wide, nil
}

// comment reads the archive's comment, which follows the end record.
func (z *reader) comment(record []byte) error {
	n := int(le.Uint16(record[endLen-2:]))
	b, err := z.in.PeekAll(n)
	if err != nil {
		return err
	}
	// Other readers would take a later signature for that of the record.
	if i := bytes.Index(append(record[1:len(record):len(record)], b...), endMagic); i >= 0 {
		return badArchive(z.in.Offset()-endLen+1+int64(i), "its comment contains an end of central directory signature")
	}
	z.in.Discard(n)
	return nil
}

// padding reads the zeros after the archive's end.
func (z *reader) padding() error {
	b, err := z.in.Peek(maxPadding + 1)
	if err != nil {
		return err
	}
	if i := bytes.IndexFunc(b, func(r rune) bool { return r != 0 }); i >= 0 {
		return badArchive(z.in.Offset()+int64(i), "there are bytes after its end")
	}
	if len(b) > maxPadding {
		return badArchive(z.in.Offset(), "there are too many zeros after its end")
	}
	z.in.Discard(len(b))
	return nil
}
