package archive

import (
	"bytes"
	"strings"
)

// A SpillLayout lays entries out so that the archive cannot be read forward: only the
// central directory tells where an entry begins or ends.
type SpillLayout struct {
	Name string
	Lay  func(entries []Entry) Archive
}

// SpillLayouts are layouts that the service accepts although it has to spill them.
var SpillLayouts = []SpillLayout{
	{"stored, with descriptors", withDescriptors(Signed32, Signed32)},
	{"stored, with descriptors of other layouts", withDescriptors(Unsigned32, Signed64)},
	{"stored, zip64 throughout", storedZip64},
	{"zstd, with a descriptor", zstdWithDescriptor},
	{"bzip2, with a descriptor", bzip2WithDescriptor},
	{"bytes before it", func(entries []Entry) Archive {
		return Archive{Prefix: stub, Entries: entries}
	}},
	{"bytes before it that offsets do not count", func(entries []Entry) Archive {
		return Archive{Prefix: stub, OffsetsAfterPrefix: true, Entries: entries}
	}},
	{"bytes between entries, and before the directory", func(entries []Entry) Archive {
		entries[1].Gap = make([]byte, 4000)
		return Archive{Entries: entries, BeforeDirectory: make([]byte, 4000)}
	}},
}

// stub is the beginning of a self-extracting archive.
var stub = []byte("#!/bin/sh\n" + strings.Repeat("# This is an archive with a program before it.\n", 40) + "exit\n")

// withDescriptors gives the stored entries data descriptors of these layouts, in turn.
func withDescriptors(layouts ...DescriptorLayout) func([]Entry) Archive {
	return func(entries []Entry) Archive {
		n := 0
		for i := range entries {
			if entries[i].Method == Store {
				entries[i].Descriptor = layouts[n%len(layouts)]
				n++
			}
		}
		return Archive{Entries: entries}
	}
}

func storedZip64(entries []Entry) Archive {
	a := withDescriptors(Unsigned64)(entries)
	a.Zip64 = true
	for i := range entries {
		entries[i].Zip64Local, entries[i].Zip64Central = true, true
	}
	return a
}

func zstdWithDescriptor(entries []Entry) Archive {
	for i := range entries {
		if e := &entries[i]; e.Method == Store {
			e.Method, e.Descriptor = Zstd, Signed32
			e.LargeRaw = &Pattern{Block: Compress(Zstd, e.Large.Block), Times: e.Large.Times}
		}
	}
	return Archive{Entries: entries}
}

func bzip2WithDescriptor(entries []Entry) Archive {
	name := "bzip2.so/0A0B/bzip2.so.txt"
	return Archive{Entries: append([]Entry{{
		Name: name, Method: BZip2, Descriptor: Signed32,
		Large:    &Pattern{Block: bytes.Repeat([]byte(bzip2Line), bzip2Lines), Times: 2},
		LargeRaw: &Pattern{Block: []byte(bzip2Compressed), Times: 2},
	}}, entries...)}
}

// Mixed returns entries that take about size bytes in an archive: a deflated symbol file, a
// stored file that does not compress, which is the largest, and a stored symbol file.
func Mixed(seed uint64, size int64) []Entry {
	const largest = 1 << 20
	pattern := func(size int64, block func(seed uint64, size int) []byte) *Pattern {
		times := (size + largest - 1) / largest
		return &Pattern{Block: block(seed, int(size/times)), Times: int(times)}
	}
	text := pattern(size/8, Symbols)
	deflated := Deflated(*text)
	return []Entry{
		{Name: SymbolsName(seed), Method: Deflate, Large: text, LargeRaw: &deflated},
		{Name: SymbolsName(seed+1) + ".dbg", Large: pattern(size-size/32-deflated.Size(), Noise)},
		{Name: SymbolsName(seed + 2), Large: pattern(size/32, Symbols)},
	}
}

// The text of bzip2WithDescriptor, and the stream that bzip2 -9 makes of it. Such streams may
// be concatenated.
const (
	bzip2Line       = "MODULE Linux x86_64 0A0B bzip2.so\nFILE 0 bzip2.c\n"
	bzip2Lines      = 18000
	bzip2Compressed = "" +
		"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x7f\x27\xd9\xaa\x04\x1e\xaf\xdf\x80\x00\x10\x40\x01\x55\x40" +
		"\x37\x26\x82\x00\x98\x21\xca\x50\x40\x01\xbc\x00\x05\x00\x03\x40\x00\x05\x00\x03\x40\x00\x05\x00\x03" +
		"\x40\x00\x01\x4a\xa9\x1e\xa3\xd4\xf5\x33\xd5\x01\x9e\xa8\xd3\xca\x7e\x04\x8a\x1d\x82\x45\x0c\x04\x8a" +
		"\x1e\x81\x22\x87\x20\x91\x43\x50\x91\x43\xa0\x48\xa1\xb8\x48\xa1\xea\x09\x14\x36\x04\x8a\x18\x09\x14" +
		"\x3b\x82\x45\x0c\x04\x8a\x19\x09\x14\x3d\xc2\x45\x0d\x42\x45\x0d\x81\x22\x87\x60\x91\x43\xa8\x24\x50" +
		"\xf8\x09\x14\x3e\xc2\x45\x0e\xa1\x22\x86\x42\x45\x0c\x04\x8a\x1a\x04\x8a\x19\x09\x14\x32\x12\x28\x60" +
		"\x24\x50\xd0\x12\x28\x64\x24\x50\xd8\x24\x50\xe0\x12\x28\x77\x09\x14\x37\x09\x14\x39\x02\x45\x0d\x02" +
		"\x45\x0d\xc2\x45\x0e\x02\x45\x0d\x42\x45\x0e\x01\x22\x87\xf8\xbb\x92\x29\xc2\x84\x83\xf9\x3e\xcd\x50"
)
