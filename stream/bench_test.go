package stream_test

import (
	"bytes"
	"testing"

	"spillway/stream"
	"spillway/testdata/archive"
)

// BenchmarkReadZip reads archives out of memory into a store that keeps
// nothing. The rate is of archive bytes.
func BenchmarkReadZip(b *testing.B) {
	many := func(entries, size int, descriptor archive.Descriptor) []byte {
		var all []archive.Entry
		for i := range entries {
			seed := uint64(i)
			all = append(all, archive.Entry{
				Name: archive.SymbolsName(seed), Data: archive.Symbols(seed, size), Method: archive.Deflate, Descriptor: descriptor,
			})
		}
		return archive.Build(all...)
	}
	for _, bm := range []struct {
		name    string
		archive []byte
	}{
		{"many", many(1000, 32<<10, archive.NoDescriptor)},
		{"many/descriptors", many(1000, 32<<10, archive.Signed32)},
		{"one", many(1, 128*mib, archive.NoDescriptor)},
		{"one/descriptor", many(1, 128*mib, archive.Signed32)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			m := newMemory(b)
			b.SetBytes(int64(len(bm.archive)))
			b.ReportAllocs()
			for b.Loop() {
				ctx, share, err := m.Admit(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				s := newStore(b, m)
				s.discard = true
				if _, err := stream.ReadZip(ctx, bytes.NewReader(bm.archive), share, s, ordinary); err != nil {
					b.Fatal(err)
				}
				share.Close()
			}
		})
	}
}

// BenchmarkHold reads an archive of one large stored file forward, and the same
// with a byte before it, so that it is held on disk. The rate is of archive
// bytes.
func BenchmarkHold(b *testing.B) {
	entry := archive.Entry{Name: "a.dll", Data: archive.Noise(1, 64*mib)}
	for _, bm := range []struct {
		name    string
		archive []byte
	}{
		{"memory", archive.Build(entry)},
		{"disk", archive.Archive{Prefix: []byte{0}, Entries: []archive.Entry{entry}}.Bytes()},
	} {
		b.Run(bm.name, func(b *testing.B) {
			m := withDisk(b, diskCache(b, func(c *stream.SpillConfig) { c.Quota, c.UploadQuota = 1<<30, 1<<30 }))
			b.SetBytes(int64(len(bm.archive)))
			b.ReportAllocs()
			for b.Loop() {
				ctx, share, err := m.Admit(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				s := newStore(b, m)
				s.discard = true
				if _, err := stream.ReadZip(ctx, bytes.NewReader(bm.archive), share, s, ordinary); err != nil {
					b.Fatal(err)
				}
				share.Close()
			}
		})
	}
}
