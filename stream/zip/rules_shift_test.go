package zip_test

import (
	"encoding/binary"
	"fmt"
	"slices"

	"spillway/stream/zip"
	"spillway/testdata/archive"
)

// paddingRules are about zeros after the archive's end.
func paddingRules() []rule {
	entries := []archive.Entry{entry("a.sym"), entry("b.dll")}
	var rules []rule
	for way, prefix := range ways {
		add := func(name string, err error, unreadable bool, comment, trailing []byte) {
			for _, zip64 := range []bool{false, true} {
				r := rule{name: "padding: " + way + ", " + name, err: err, unreadable: unreadable && err == nil, archive: archive.Archive{
					Prefix: prefix, Entries: entries, Zip64: zip64, Trailing: trailing,
					End: func(e *archive.End) { e.Comment = comment },
				}.Bytes()}
				if zip64 {
					r.name += ", zip64"
				}
				if err == nil {
					r.files = texts("a.sym", "b.dll")
				}
				rules = append(rules, r)
			}
		}
		const most = 64 << 10
		zeros := make([]byte, most)
		add("a zero", nil, false, nil, zeros[:1])
		add("as bsdtar pads", nil, false, nil, zeros[:10_240])
		add("as many zeros as allowed", nil, false, nil, zeros)
		add("a zero more than allowed", damaged("", "too many zeros"), false, nil, make([]byte, most+1))
		add("a byte that is not zero", damaged("", "after its end"), false, nil, []byte{1})
		add("a byte that is not zero after zeros", damaged("", "after its end"), false, nil, append(slices.Clone(zeros[:100]), 1))
		add("a comment", nil, false, []byte("a comment"), zeros[:100])
		add("a comment of zeros", nil, false, zeros[:100], zeros[:100])
		// archive/zip looks no further back than over the longest comment.
		add("the longest comment", nil, true, slices.Repeat([]byte("c"), 65535), zeros)
		add("the longest comment, of zeros", nil, true, zeros[:65535], zeros)
		signature := damaged("", "after its end")
		if way == "spilled" {
			signature = zip.ErrNotZip // the last signature counts, and no record is there
		}
		add("an end record's signature", signature, false, nil, append(slices.Clone(zeros[:1]), "PK\x05\x06"...))
		add("cut off within the comment", zip.ErrNotZip, false, nil, nil)
		last := &rules[len(rules)-1]
		for _, r := range []*rule{last, &rules[len(rules)-2]} {
			r.archive = slices.Clone(r.archive)
			r.archive[len(r.archive)-2] = 1 // the comment's length
		}
		for _, n := range []int{65_514, 65_515, 65_516, 65_535} {
			r := rule{name: fmt.Sprintf("padding: %s, a gap and a comment of %d bytes", way, n), files: texts("a.sym", "b.dll")}
			r.archive = archive.Archive{
				Prefix: prefix, Zip64: true, Entries: []archive.Entry{entries[0], with(entries[1], func(e *archive.Entry) { e.Gap = []byte("gap") })},
				End: func(e *archive.End) { e.Comment = slices.Repeat([]byte("c"), n) },
			}.Bytes()
			rules = append(rules, r)
		}
	}
	return rules
}

// shifted is an archive whose offsets count from the end of a prefix longer than the rest,
// so that all unshifted places are in the prefix. The offsets are those without a prefix.
type shifted struct {
	archive.Archive

	directory, end64, locator int
}

func newShifted(entries ...archive.Entry) shifted {
	s := shifted{Archive: archive.Archive{Zip64: true, Entries: entries}}
	data := s.Bytes()
	s.directory, s.end64, s.locator = indexFirst(data, "PK\x01\x02"), indexFirst(data, "PK\x06\x06"), indexFirst(data, "PK\x06\x07")
	s.Prefix, s.OffsetsAfterPrefix = slices.Repeat([]byte{'x'}, len(data)+100), true
	return s
}

// concrete has the end record repeat the values of the zip64 record.
func (s *shifted) concrete() {
	s.End = func(e *archive.End) {
		e.Entries, e.EntriesHere = uint16(len(s.Entries)), uint16(len(s.Entries))
		e.Offset, e.Size = uint32(s.directory), uint32(s.end64-s.directory)
	}
}

// shiftRules are about archives with a prefix that their offsets do not count: readers
// look for the directory and the zip64 record in different places then.
func shiftRules() []rule {
	a, b := entry("a.sym"), entry("b.dll")
	// Go looks 76 bytes after the start of the directory, which is within this comment.
	commented := with(a, func(e *archive.Entry) {
		comment := slices.Repeat([]byte("c"), 200)
		copy(comment[76-46-len("a.sym"):], centralHeader("c.sym"))
		e.Comment = string(comment)
	})
	var rules []rule
	add := func(name, reason string, change func(s *shifted), entries ...archive.Entry) {
		s := newShifted(entries...)
		change(&s)
		r := rule{name: "shift: " + name, archive: s.Bytes()}
		if reason == "" {
			r.files, r.unreadable = texts("a.sym", "b.dll"), s.Zip64
		} else {
			r.err = damaged("", reason)
		}
		rules = append(rules, r)
	}
	put := func(s *shifted, at int, b []byte) { copy(s.Prefix[at:], b) }
	record := func(length uint64) []byte {
		b := make([]byte, 56)
		binary.LittleEndian.PutUint64(b[4:], length)
		return b
	}
	signed := func(b []byte) []byte { copy(b, "PK\x06\x06"); return b }
	plain := func(s *shifted) { s.Zip64 = false }

	add("zip64", "", func(*shifted) {}, a, b)
	add("no zip64", "", plain, a, b)
	add("zip64, a directory at the unshifted place", "Go and Info-ZIP would", func(s *shifted) { put(s, s.directory, centralHeader("c.sym")) }, a, b)
	add("no zip64, a directory at the unshifted place", "Go and Info-ZIP would", func(s *shifted) {
		plain(s)
		put(s, s.directory, centralHeader("c.sym"))
	}, a, b)
	add("zip64, a record at the unshifted place", "Python since 2025", func(s *shifted) { put(s, s.end64, signed(record(44))) }, a, b)
	add("zip64, a longer record at the unshifted place", "Python since 2025", func(s *shifted) { put(s, s.end64, signed(record(1000))) }, a, b)
	add("zip64, a record without its signature at the unshifted place", "libarchive", func(s *shifted) { put(s, s.end64, record(44)) }, a, b)
	add("zip64, what is too short for a record at the unshifted place", "", func(s *shifted) { put(s, s.end64, record(43)) }, a, b)
	add("zip64, a locator at the unshifted place", "locator", func(s *shifted) { put(s, s.locator, []byte("PK\x06\x07")) }, a, b)
	add("no zip64, a record and a locator at the unshifted place", "", func(s *shifted) {
		plain(s)
		put(s, s.end64, signed(record(44)))
		put(s, s.locator, []byte("PK\x06\x07"))
	}, a, b)
	add("zip64, its values in both", "libarchive", (*shifted).concrete, a, b)
	add("zip64, its values in both, and a directory in a comment", "Go would", (*shifted).concrete, commented, b)
	add("zip64, a directory in a comment", "", func(*shifted) {}, commented, b)
	return rules
}

// hiddenRules are about archives within an archive, where a reader that goes forward comes to
// another directory.
func hiddenRules() []rule {
	a, b := entry("a.sym"), entry("b.dll")
	hidden := archive.Build(entry("c.sym"))
	directory := hidden[indexFirst(hidden, "PK\x01\x02"):]
	var rules []rule
	add := func(name, reason string, a archive.Archive) {
		r := rule{name: "hidden: " + name, archive: a.Bytes()}
		if reason == "" {
			r.files = texts("a.sym", "b.dll")
		} else {
			r.err = damaged("", reason)
		}
		rules = append(rules, r)
	}
	before := func(prefix ...byte) archive.Archive {
		return archive.Archive{Prefix: append([]byte{'x'}, prefix...), Entries: []archive.Entry{a, b}}
	}
	shifted := before(hidden...)
	shifted.OffsetsAfterPrefix = true
	gap := func(e archive.Entry, gap []byte) archive.Entry { e.Gap = gap; return e }
	unlisted := with(entry("c.sym"), func(e *archive.Entry) { e.Unlisted = true })
	const sevenZip, another = "7-Zip would", "another central directory"

	add("an archive before it", sevenZip, before(hidden...))
	add("an archive before it, offsets shifted", sevenZip, shifted)
	add("an archive long before it", sevenZip, before(append(slices.Repeat([]byte{'x'}, 61_430), hidden...)...))
	add("an empty archive before it", sevenZip, before(archive.Build()...))
	add("an end record before it", "", before(hidden[len(hidden)-22:]...))
	add("a local header's signature before it", "", before([]byte("PK\x03\x04\xff")...))
	add("a directory before it", "", before(directory...))
	add("an entry before it that is not listed", sevenZip, archive.Archive{Prefix: []byte{'x'}, Entries: []archive.Entry{unlisted, a, b}})
	add("an entry before a gap that is not listed", sevenZip, archive.Archive{Entries: []archive.Entry{unlisted, a, gap(b, []byte{0})}})
	add("an entry between others that is not listed", "", archive.Archive{Prefix: []byte{'x'}, Entries: []archive.Entry{a, unlisted, b}})
	add("an archive in a gap", "", archive.Archive{Entries: []archive.Entry{a, gap(b, append([]byte{0}, hidden...))}})
	add("a directory after an entry", another, archive.Archive{Prefix: []byte{'x'}, Entries: []archive.Entry{a, gap(b, directory)}})
	add("an end record after an entry", another, archive.Archive{Prefix: []byte{'x'}, Entries: []archive.Entry{a, gap(b, archive.Build())}})
	add("a directory after the last entry", another, archive.Archive{Prefix: []byte{'x'}, Entries: []archive.Entry{a, b}, BeforeDirectory: directory})
	for _, layout := range []archive.DescriptorLayout{archive.Signed32, archive.Unsigned32, archive.Signed64, archive.Unsigned64} {
		described := with(a, func(e *archive.Entry) { e.Descriptor = layout })
		add(fmt.Sprintf("a directory after a descriptor, layout %d", layout), another,
			archive.Archive{Prefix: []byte{'x'}, Entries: []archive.Entry{described, gap(b, directory)}})
	}
	return rules
}

// centralHeader is a central directory header of an empty entry at the archive's start.
func centralHeader(name string) []byte {
	data := archive.Build(archive.Entry{Name: name})
	return data[indexFirst(data, "PK\x01\x02") : len(data)-22]
}
