package ziptest

import (
	"slices"
	"sync"
	"testing"

	"spillway/stream"
	"spillway/testdata/archive"
)

// SpillFiles returns the entries of [SpillArchives]. They do not fit into a window.
func SpillFiles() []archive.Entry {
	return []archive.Entry{
		{Name: "first.dll", Data: archive.Noise(1, 300<<10)},
		{Name: "b.sym", Data: archive.Symbols(2, 600<<10), Method: archive.Deflate},
		{Name: "c.sym", Data: archive.Symbols(3, 90<<10)},
		{Name: "d.dll", Data: archive.Symbols(4, 200<<10), Method: archive.Deflate},
		{Name: "e-symbols.txt", Data: archive.Symbols(5, 5<<10), Method: archive.Deflate},
		{Name: "f.dll", Data: archive.Noise(6, 500<<10)},
		{Name: "empty.sym"},
		{Name: "last.sym", Data: archive.Symbols(7, 1<<10), Method: archive.Zstd},
	}
}

// SpillArchives are archives of [SpillFiles] that cannot be read forward, by name.
var SpillArchives = sync.OnceValue(func() map[string][]byte {
	first := func(change func(*archive.Entry)) []byte {
		entries := SpillFiles()
		change(&entries[0])
		return archive.Build(entries...)
	}
	each := func(change func(*archive.Entry)) []byte {
		entries := SpillFiles()
		for i := range entries {
			change(&entries[i])
		}
		return archive.Build(entries...)
	}
	kinds := map[string][]byte{
		"bytes before the first entry":                  archive.Archive{Prefix: archive.Noise(8, 1000), Entries: SpillFiles()}.Bytes(),
		"a prefix that the offsets do not count":        archive.Archive{Prefix: archive.Noise(8, 1000), OffsetsAfterPrefix: true, Entries: SpillFiles()}.Bytes(),
		"a prefix that they do not count, zip64":        archive.Archive{Prefix: archive.Noise(8, 1000), OffsetsAfterPrefix: true, Zip64: true, Entries: SpillFiles()}.Bytes(),
		"gaps between entries":                          each(func(e *archive.Entry) { e.Gap = []byte("gap") }),
		"a gap before the directory, and zip64":         archive.Archive{Entries: SpillFiles(), Prefix: []byte("#!"), BeforeDirectory: []byte("gap"), Zip64: true}.Bytes(),
		"zstd with a descriptor":                        first(func(e *archive.Entry) { e.Method, e.Descriptor = archive.Zstd, archive.Signed64 }),
		"a directory in another order than the entries": archive.Archive{Prefix: []byte("#!"), Entries: SpillFiles(), Central: func(h []archive.CentralHeader) []archive.CentralHeader { slices.Reverse(h); return h }}.Bytes(),
	}
	for name, layout := range map[string]archive.DescriptorLayout{
		"signed, 32 bit": archive.Signed32, "unsigned, 32 bit": archive.Unsigned32,
		"signed, 64 bit": archive.Signed64, "unsigned, 64 bit": archive.Unsigned64,
	} {
		kinds["stored with a descriptor, "+name] = first(func(e *archive.Entry) { e.Descriptor = layout })
		kinds["all with a descriptor, "+name] = each(func(e *archive.Entry) { e.Descriptor = layout })
	}
	return kinds
})

// CheckSpillFiles checks that the store has [SpillFiles].
func CheckSpillFiles(t *testing.T, s *Store) {
	t.Helper()
	want := make(map[string][]byte)
	for _, e := range SpillFiles() {
		if form, _ := FormByName(e.Name); form != stream.Ignore {
			want[e.Name] = e.Data
		}
	}
	CheckSame(t, Contents(t, s), want)
}
