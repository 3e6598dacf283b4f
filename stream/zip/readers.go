package zip

import "bytes"

// layout is where an archive that is read from its end has its records and its directory.
// Its offsets count from the archive's first byte.
type layout struct {
	shift  int64     // what the archive's own offsets are off by, in bytes
	end    int64     // offset of the end of central directory record
	record endRecord // that record
	zip64  bool      // a zip64 record and its locator directly precede it
	size   int64     // of the directory, in bytes
}

// end64 returns the offset of the zip64 record.
func (l *layout) end64() int64 { return l.end - locator64Len - end64Len }

// directory returns the offset of the directory.
func (l *layout) directory() int64 {
	if l.zip64 {
		return l.end64() - l.size
	}
	return l.end - l.size
}

// place is what a reader looks at, and whether it finds something there.
type place struct {
	readers string
	what    string

	// at returns the offset. ok is false if the readers do not look there.
	at    func(l *layout) (offset int64, ok bool)
	found func(b []byte) bool
}

// places are all places where a known reader looks and may find another record, locator or
// directory than this package, in an archive that keeps all other rules. Every reader finds
// the end record by its signature and the locator directly before it. They differ in where
// they look next if the offsets are shifted:
//
//	Python before 2025   at the place before the locator, and computes the shift from there.
//	Python since 2025    where the locator states, then at the place before it.
//	Go                   where the locator states, if the end record has a sentinel. If not, it
//	                     computes the shift as if there were no zip64 records. A directory at
//	                     its unshifted offset comes first.
//	Info-ZIP unzip       where the locator states, then at the place before it. It looks for
//	                     the directory at its unshifted offset if no header is at the shifted
//	                     one, because the directory is empty.
//	libarchive, seeking  where the locator states, whatever the signature there. If that fails
//	                     and the end record has no sentinels, it goes back from the end record
//	                     by the directory's size, and on to the next header or record.
//	7-Zip                at the place before the locator, then where the locator states. It
//	                     believes the directory only if that lists the first local header
//	                     ([reader.checkFirstHeader]).
//
// An archive in which one of them finds anything there is refused.
var places = []place{
	{
		readers: "Go and Info-ZIP", what: "a central directory header",
		at:    func(l *layout) (int64, bool) { return l.directory() - l.shift, l.shift != 0 },
		found: isCentral,
	},
	{
		readers: "Go, Info-ZIP, Python since 2025 and 7-Zip", what: "a zip64 end of central directory record",
		at:    func(l *layout) (int64, bool) { return l.end64() - l.shift, l.zip64 && l.shift != 0 },
		found: func(b []byte) bool { return len(b) >= 4 && le.Uint32(b) == sigEnd64 },
	},
	{
		readers: "libarchive", what: "what passes for a zip64 end of central directory record",
		at: func(l *layout) (int64, bool) { return l.end64() - l.shift, l.zip64 && l.shift != 0 },
		found: func(b []byte) bool {
			if len(b) < end64Len {
				return false
			}
			n, e := le.Uint64(b[4:]), parseEnd64(b)
			return n >= end64Len-12 && n <= 16384-12 && e.disk == 0 && e.directoryDisk == 0 && e.entriesHere == e.entries
		},
	},
	{
		readers: "Go", what: "a central directory header",
		at: func(l *layout) (int64, bool) {
			e := l.record
			follows := e.entries == max16 || e.size == max16 || e.offset == max32
			return l.end - int64(e.size), l.zip64 && l.shift != 0 && !follows && e.size <= uint64(l.end)
		},
		found: isCentral,
	},
	{
		readers: "libarchive", what: "the next header or record",
		at: func(l *layout) (int64, bool) {
			e := l.record
			return l.end - int64(e.size), l.zip64 && l.shift != 0 && e.disk == 0 && e.directoryDisk == 0 &&
				e.entriesHere == e.entries && e.offset+e.size <= uint64(l.end)
		},
		found: func([]byte) bool { return true }, // the zip64 record at the latest, and not our directory
	},
	{
		// No known reader looks there, but one that shifts nothing would.
		readers: "readers that shift nothing", what: "a zip64 locator",
		at:    func(l *layout) (int64, bool) { return l.end - locator64Len - l.shift, l.zip64 && l.shift != 0 },
		found: func(b []byte) bool { return len(b) >= 4 && le.Uint32(b) == sigLocator64 },
	},
}

func isCentral(b []byte) bool { return len(b) >= 4 && le.Uint32(b) == sigCentral }

// checkReaders refuses an archive in which a known reader finds other records or another
// directory. It looks only at what is spilled: what was read forward begins with a local
// header at the archive's first byte, and offsets are not shifted there.
func (z *reader) checkReaders(l *layout) error {
	for _, p := range places {
		offset, ok := p.at(l)
		if !ok {
			continue
		}
		b, err := z.peekAt(offset, end64Len)
		if err != nil {
			return err
		}
		if p.found(b) {
			return badArchive(offset, "its offsets are shifted, and "+p.readers+" would find "+p.what+" in another place")
		}
	}
	return nil
}

// checkFirstHeader refuses an archive that begins, for 7-Zip, with a header or record before
// its first listed entry, at offset first. 7-Zip reads forward from there if the directory
// does not list that header, and may come to another directory. An archive that was read
// forward to its end has no other one.
func (z *reader) checkFirstHeader(first int64) error {
	const (
		reason = "its central directory does not list its first local header, and 7-Zip would read forward from that"
		step   = 60 << 10
	)
	if z.forward > 0 {
		if z.entries.At(0).flags&isListed == 0 {
			return badArchive(0, reason)
		}
		return nil
	}
	for at := int64(0); at < first; at += step {
		b, err := z.peekAt(at, step+localLen+max16)
		if err != nil {
			return err
		}
		for i := range int(min(step, first-at)) {
			if isMarker(b[i:]) {
				return badArchive(at+int64(i), reason)
			}
		}
	}
	return nil
}

// isMarker reports whether b starts with what 7-Zip takes for the start of an archive: a
// local header with a sound version and name, or the end record of an empty archive.
func isMarker(b []byte) bool {
	if len(b) < endLen || b[0] != 'P' {
		return false
	}
	switch le.Uint32(b) {
	case sigEnd:
		return parseEnd(b) == endRecord{}
	case sigLocal:
		if len(b) < localLen {
			return false
		}
		end := localLen + int(le.Uint16(b[26:]))
		return b[4] < 0x80 && len(b) >= end && bytes.IndexByte(b[localLen:end], 0) < 0
	}
	return false
}

// checkAfter refuses an archive with another directory or end record directly after e, whose
// compressed bytes end at the cursor. Readers that go forward come to it. The archive's
// directory is at that offset.
func (z *reader) checkAfter(e *entry, directory int64) error {
	b, err := z.in.Peek(maxDescriptor)
	if err != nil {
		return err
	}
	check := func(n int) error {
		at := z.in.Offset() + int64(n)
		if at < directory && headerFollows(b[n:]) && le.Uint32(b[n:]) != sigLocal {
			return badArchive(at, "another central directory or end record follows an entry")
		}
		return nil
	}
	if err := check(0); err != nil || !e.descriptor() {
		return err
	}
	for _, l := range descriptorLayouts {
		if n, ok := e.matches(l, b); ok {
			if err := check(n); err != nil {
				return err
			}
		}
	}
	return nil
}
