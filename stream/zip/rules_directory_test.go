package zip_test

import (
	"slices"

	"spillway/stream"
	"spillway/stream/zip"
	"spillway/testdata/archive"
	"spillway/testdata/ziptest"
)

// directoryRules are about which entries the central directory lists.
func directoryRules() []rule {
	a, b := entry("a.sym"), entry("b.dll")
	ofA := func(r *archive.CentralHeader) { r.Offset = 0 } // the first entry
	unlisted := func(e archive.Entry) archive.Entry { e.Unlisted = true; return e }
	called := func(name, content string) archive.Entry {
		return archive.Entry{Name: name, Data: []byte(content), Method: archive.Deflate}
	}
	build := func(change func([]archive.CentralHeader) []archive.CentralHeader, entries ...archive.Entry) []byte {
		return archive.Archive{Entries: entries, Central: change}.Bytes()
	}
	reversed := func(headers []archive.CentralHeader) []archive.CentralHeader { slices.Reverse(headers); return headers }

	var rules []rule
	kept := func(name string, files []file, data []byte) {
		rules = append(rules, rule{name: "directory: " + name, archive: data, files: files})
	}
	broken := func(name string, err error, data []byte) {
		rules = append(rules, rule{name: "directory: " + name, archive: data, err: err})
	}

	kept("in another order than the entries", texts("b.dll", "a.sym"), build(reversed, a, b))
	kept("an entry that is not listed", texts("b.dll"), archive.Build(unlisted(a), b))
	kept("no entry is listed", nil, archive.Build(unlisted(a), unlisted(b)))
	kept("an ignored entry that is not listed", texts("b.dll"), archive.Build(unlisted(entry("a-symbols.txt")), b))
	broken("a damaged entry that is not listed", &stream.ChecksumError{Entry: "a.sym"}, archive.Build(with(unlisted(a), func(e *archive.Entry) {
		e.Local = func(h *archive.LocalHeader) { h.CRC32++ }
	}), b))
	broken("a header whose offset has no entry", damaged("b.dll", "where no entry starts"), archive.Build(a, with(b, func(e *archive.Entry) {
		e.Central = func(r *archive.CentralHeader) { r.Offset++ }
	})))
	broken("a header for an entry inside another entry", damaged("b.dll", "where no entry starts"), func() []byte {
		const at = 30 + len("a.zip") // of the inner archive
		outer := archive.Entry{Name: "a.zip", Data: archive.Build(b)}
		return archive.Build(outer, with(b, func(e *archive.Entry) {
			e.Central = func(r *archive.CentralHeader) { r.Offset = uint32(at) }
		}))
	}())
	broken("an offset after the entries", damaged("b.dll", "where no entry starts"), archive.Build(a, with(b, func(e *archive.Entry) {
		e.Central = func(r *archive.CentralHeader) { r.Offset = 1 << 30 }
	})))
	broken("an entry on another disk", damaged("b.dll", "disk"), archive.Build(a, with(b, func(e *archive.Entry) {
		e.Central = func(r *archive.CentralHeader) { r.Disk = 1 }
	})))
	broken("two headers for one entry", damaged("a.sym", "twice"), build(func(headers []archive.CentralHeader) []archive.CentralHeader {
		return append(headers, headers[0])
	}, a, b))
	broken("two headers of different names for one entry", damaged("b.dll", "twice"), archive.Build(a, with(b, func(e *archive.Entry) { e.Central = ofA })))
	broken("the offset of another entry", damaged("b.dll", "name"), archive.Build(unlisted(a), with(b, func(e *archive.Entry) { e.Central = ofA })))
	broken("a header that is cut off", zip.ErrNotZip, cutAt(archive.Build(a, b), "PK\x01\x02", 45))
	broken("a header with another signature", damaged("", "not followed by its end"), build(func(headers []archive.CentralHeader) []archive.CentralHeader {
		headers[1].Signature++
		return headers
	}, a, b))
	broken("a local header after a central directory header", damaged("", "not followed by its end"), build(func(headers []archive.CentralHeader) []archive.CentralHeader {
		headers[1].Signature = archive.LocalSignature
		return headers
	}, a, b))

	kept("two entries of one name and size", []file{{"a.sym", "later"}}, archive.Build(called("a.sym", "first"), called("a.sym", "later")))
	kept("two entries of one name and size, in another order", []file{{"a.sym", "first"}},
		build(reversed, called("a.sym", "first"), called("a.sym", "later")))
	kept("three entries of one name and size", []file{{"a.dll", "other"}}, build(func(headers []archive.CentralHeader) []archive.CentralHeader {
		return []archive.CentralHeader{headers[2], headers[0], headers[1]}
	}, called("a.dll", "first"), called("a.dll", "other"), called("a.dll", "third")))
	kept("two entries of one name, the earlier not listed", []file{{"a.sym", "longer"}},
		archive.Build(unlisted(called("a.sym", "first")), called("a.sym", "longer")))
	kept("two entries of one name, the later not listed", []file{{"a.sym", "longer"}},
		archive.Build(called("a.sym", "longer"), unlisted(called("a.sym", "first"))))
	kept("two ignored entries of one name and size", []file{{"b.dll", "b"}, {"a-symbols.txt", "later"}},
		archive.Build(called("a-symbols.txt", "first"), called("b.dll", "b"), called("a-symbols.txt", "later")))
	kept("a file and a directory of one name", []file{{"a", "file"}}, archive.Build(archive.Entry{Name: "a/"}, called("a", "file")))
	kept("two directories of one name", []file{{"b", "b"}}, archive.Build(archive.Entry{Name: "a/"}, archive.Entry{Name: "a/"}, called("b", "b")))
	kept("two names that differ in case", []file{{"a", "a"}, {"A", "AA"}}, archive.Build(called("a", "a"), called("A", "AA")))
	broken("two entries of one name and other sizes", &stream.DuplicateError{Name: "a.sym", Later: 6, Earlier: 5},
		archive.Build(called("a.sym", "first"), called("a.sym", "longer")))
	broken("two entries of one name and other sizes, in another order", &stream.DuplicateError{Name: "a.sym", Later: 5, Earlier: 6},
		build(reversed, called("a.sym", "first"), called("a.sym", "longer")))
	broken("two ignored entries of one name and other sizes", &stream.DuplicateError{Name: "a-symbols.txt", Later: 6, Earlier: 5},
		archive.Build(called("a-symbols.txt", "first"), called("a-symbols.txt", "longer")))
	return rules
}

// cutAt cuts an archive off n bytes after the start of the last mark.
func cutAt(data []byte, mark string, n int) []byte {
	return data[:lastIndex(data, mark)+n]
}

// archiveEndRules are about the end records.
func archiveEndRules() []rule {
	entries := []archive.Entry{entry("a.sym"), entry("b.dll")}
	files := texts("a.sym", "b.dll")
	second := len(archive.Build(entries...)) - 22 - lastIndex(archive.Build(entries...), "PK\x01\x02")
	var rules []rule
	add := func(name string, err error, a archive.Archive) {
		if a.Entries == nil {
			a.Entries = entries
		}
		r := rule{name: "end: " + name, archive: a.Bytes(), err: err}
		if err == nil {
			r.files = files
		}
		rules = append(rules, r)
	}
	end := func(change func(*archive.End)) archive.Archive { return archive.Archive{End: change} }
	const (
		number  = "another number"
		length  = "not as long"
		offset  = "not where"
		several = "disk"
	)

	add("honest", nil, archive.Archive{})
	add("more entries stated on this disk", damaged("", number), end(func(e *archive.End) { e.EntriesHere++ }))
	add("fewer entries stated on this disk", damaged("", number), end(func(e *archive.End) { e.EntriesHere-- }))
	add("more entries stated", damaged("", number), end(func(e *archive.End) { e.Entries++; e.EntriesHere++ }))
	add("fewer entries stated", damaged("", number), end(func(e *archive.End) { e.Entries--; e.EntriesHere-- }))
	add("no entries stated", damaged("", number), end(func(e *archive.End) { e.Entries, e.EntriesHere = 0, 0 }))
	add("a sentinel for the number of entries", damaged("", number), end(func(e *archive.End) { e.Entries, e.EntriesHere = 0xffff, 0xffff }))
	add("a longer directory stated", damaged("", length), end(func(e *archive.End) { e.Size++ }))
	add("a shorter directory stated", damaged("", length), end(func(e *archive.End) { e.Size-- }))
	add("a directory stated that begins with its second header", damaged("", length), end(func(e *archive.End) {
		// With as many bytes before the archive, readers differ.
		e.Size = uint32(second)
	}))
	add("an offset before the directory", damaged("", offset), end(func(e *archive.End) { e.Offset-- }))
	add("an offset after the start of the directory", damaged("", offset), end(func(e *archive.End) { e.Offset++ }))
	add("on another disk", damaged("", several), end(func(e *archive.End) { e.Disk = 1 }))
	add("the directory on another disk", damaged("", several), end(func(e *archive.End) { e.DirectoryDisk = 1 }))
	add("bytes before the end record", damaged("", "not followed by its end"), archive.Archive{AfterDirectory: []byte{0}})
	add("bytes after it", damaged("", "after its end"), archive.Archive{Trailing: []byte{1}})
	add("another archive after it", damaged("", "after its end"), archive.Archive{Trailing: archive.Build(entry("c.sym"))})
	add("a second end record after it", damaged("", "after its end"), archive.Archive{Trailing: archive.Build()})

	comment := func(text string) archive.Archive { return end(func(e *archive.End) { e.Comment = []byte(text) }) }
	add("a comment", nil, comment("a comment"))
	add("the longest comment", nil, comment(string(make([]byte, 65535))))
	add("a comment with a local header's signature", nil, comment("PK\x03\x04PK\x01\x02"))
	add("a comment with the end's signature", damaged("", "comment"), comment("PK\x05\x06"))
	add("a comment with another end record", damaged("", "comment"), comment(string(archive.Build())))
	add("a comment longer than stated", damaged("", "after its end"), end(func(e *archive.End) { e.Comment, e.CommentLength = []byte("ab"), 1 }))
	add("a comment shorter than stated", zip.ErrNotZip, end(func(e *archive.End) { e.Comment, e.CommentLength = []byte("ab"), 3 }))
	add("the end's signature in its own fields", damaged("", "comment"), end(func(e *archive.End) { e.Offset = archive.EndSignature }))

	zip64 := func(change func(*archive.End64)) archive.Archive { return archive.Archive{Zip64: true, End64: change} }
	locator := func(change func(*archive.Locator64)) archive.Archive {
		return archive.Archive{Zip64: true, Locator: change}
	}
	add("zip64", nil, zip64(nil))
	add("zip64 and a comment", nil, archive.Archive{Zip64: true, End: func(e *archive.End) { e.Comment = []byte("a comment") }})
	add("zip64, its values in both", nil, archive.Archive{Zip64: true, End: func(e *archive.End) {
		honest := archive.Build(entries...)
		e.Entries, e.EntriesHere = 2, 2
		e.Offset = uint32(indexFirst(honest, "PK\x01\x02"))
		e.Size = uint32(len(honest)-22) - e.Offset
	}})
	add("zip64, more entries stated on this disk", damaged("", number), zip64(func(e *archive.End64) { e.EntriesHere++ }))
	add("zip64, more entries stated", damaged("", number), zip64(func(e *archive.End64) { e.Entries++ }))
	add("zip64, a longer directory stated", damaged("", length), zip64(func(e *archive.End64) { e.Size++ }))
	add("zip64, an offset after the start of the directory", damaged("", offset), zip64(func(e *archive.End64) { e.Offset++ }))
	add("zip64, an offset out of range", damaged("", offset), zip64(func(e *archive.End64) { e.Offset = 1 << 63 }))
	add("zip64, on another disk", damaged("", several), archive.Archive{
		Zip64: true, End64: func(e *archive.End64) { e.Disk = 1 }, End: func(e *archive.End) { e.Disk = 0xffff },
	})
	add("zip64, the directory on another disk", damaged("", several), archive.Archive{
		Zip64: true, End64: func(e *archive.End64) { e.DirectoryDisk = 1 }, End: func(e *archive.End) { e.DirectoryDisk = 0xffff },
	})
	add("zip64, on another disk than the end record", damaged("", "disagree"), zip64(func(e *archive.End64) { e.Disk = 1 }))
	add("zip64, a longer record", damaged("", "locator"), zip64(func(e *archive.End64) { e.Length++; e.Extensible = []byte{0} }))
	add("zip64, a record that states a greater length", damaged("", "locator"), zip64(func(e *archive.End64) { e.Length++ }))
	add("zip64, a record longer than it states", damaged("", "locator"), zip64(func(e *archive.End64) { e.Extensible = []byte{0} }))
	add("zip64, no locator", damaged("", "locator"), locator(func(l *archive.Locator64) { l.Signature++ }))
	add("zip64, a locator that points elsewhere", damaged("", "locator"), locator(func(l *archive.Locator64) { l.Offset-- }))
	add("zip64, a locator on another disk", damaged("", "locator"), locator(func(l *archive.Locator64) { l.Disk = 1 }))
	add("zip64, two disks", damaged("", "locator"), locator(func(l *archive.Locator64) { l.Disks = 2 }))
	add("zip64, no disk", damaged("", "locator"), locator(func(l *archive.Locator64) { l.Disks = 0 }))
	add("zip64, another number of entries in the end record", damaged("", "disagree"), archive.Archive{Zip64: true, End: func(e *archive.End) { e.Entries = 1 }})
	add("zip64, another directory size in the end record", damaged("", "disagree"), archive.Archive{Zip64: true, End: func(e *archive.End) { e.Size = 1 }})
	add("zip64, another directory offset in the end record", damaged("", "disagree"), archive.Archive{Zip64: true, End: func(e *archive.End) { e.Offset = 1 }})
	add("zip64, another disk in the end record", damaged("", "disagree"), archive.Archive{Zip64: true, End: func(e *archive.End) { e.Disk = 1 }})
	add("zip64, without an end record", damaged("", "not followed by its end"), archive.Archive{Zip64: true, End: func(e *archive.End) { e.Signature++ }})
	add("a locator in the last header's comment", damaged("", "false zip64 locator"), archive.Archive{
		Entries: []archive.Entry{entries[0], with(entries[1], func(e *archive.Entry) { e.Comment = "PK\x06\x07" + string(make([]byte, 16)) })},
	})
	add("a locator signature elsewhere in the last header's comment", nil, archive.Archive{
		Entries: []archive.Entry{entries[0], with(entries[1], func(e *archive.Entry) { e.Comment = "PK\x06\x07" + string(make([]byte, 17)) })},
	})
	rules = append(rules,
		rule{name: "end: nothing before it", archive: archive.Build()},
		rule{name: "end: zip64, nothing before it", archive: archive.Archive{Zip64: true}.Bytes()},
		rule{name: "end: missing", archive: archive.Build(entries...)[:len(archive.Build(entries...))-22], err: zip.ErrNotZip},
	)
	return rules
}

// startRules are about bytes before, between and after the entries.
func startRules() []rule {
	entries := []archive.Entry{entry("a.sym"), entry("b.dll")}
	prefixed := func(n int) archive.Archive { return archive.Archive{Prefix: make([]byte, n), Entries: entries} }
	shifted := prefixed(7)
	shifted.OffsetsAfterPrefix = true
	var rules []rule
	add := func(name string, err error, data []byte) {
		rules = append(rules, rule{name: "start: " + name, archive: data, err: err})
	}
	accepted := func(name string, data []byte) {
		rules = append(rules, rule{name: "start: " + name, archive: data, files: texts("a.sym", "b.dll")})
	}
	gap := with(entries[1], func(e *archive.Entry) { e.Gap = []byte{0} })

	accepted("a byte before the first entry", prefixed(1).Bytes())
	accepted("a prefix that the offsets do not count", shifted.Bytes())
	accepted("the longest prefix", prefixed(64<<10).Bytes())
	add("a prefix that is too long", zip.ErrNotZip, prefixed(64<<10+1).Bytes())
	add("a prefix, the archive cut off", zip.ErrNotZip, cutOff(prefixed(1).Bytes()))
	add("a prefix and no entry", nil, archive.Archive{Prefix: make([]byte, 9)}.Bytes())
	accepted("a byte between two entries", archive.Build(entries[0], gap))
	add("a byte between two entries, the archive cut off", zip.ErrNotZip, cutOff(archive.Build(entries[0], gap)))
	accepted("a byte before the directory", archive.Archive{Entries: entries, BeforeDirectory: []byte{0}}.Bytes())
	accepted("a locator's signature before the directory", archive.Archive{Entries: entries, BeforeDirectory: []byte("PK\x06\x07")}.Bytes())
	accepted("a descriptor that is not announced", archive.Build(with(entries[0], func(e *archive.Entry) {
		e.Descriptor = archive.Signed32
		sum := e.Data
		e.Local = func(h *archive.LocalHeader) {
			h.Flags = 0
			h.CRC32, h.Compressed, h.Uncompressed = checksum(sum), uint32(len(archive.Compress(archive.Deflate, sum))), uint32(len(sum))
		}
		e.Central = func(r *archive.CentralHeader) { r.Flags = 0 }
	}), entries[1]))
	add("nothing", zip.ErrNotZip, nil)
	add("a text", zip.ErrNotZip, []byte("hello, world\n"))
	add("zeros", zip.ErrNotZip, make([]byte, 200<<10))
	add("a gzip member", zip.ErrNotZip, []byte(ziptest.GzipHeader))
	add("a part of a signature", zip.ErrNotZip, []byte("PK\x03"))
	add("a signature alone", zip.ErrNotZip, []byte("PK\x03\x04"))
	add("half an end record", zip.ErrNotZip, archive.Build()[:11])
	return rules
}
