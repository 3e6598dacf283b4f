package zip_test

import (
	"bytes"
	"testing"

	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/ziptest"
)

// BenchmarkRead reads archives from memory into a store that discards all bodies. The rate is
// of archive bytes.
func BenchmarkRead(b *testing.B) {
	many := func(entries, size int, descriptor archive.DescriptorLayout) []byte {
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
			benchmarkRead(b, budgettest.New(b), bm.archive)
		})
	}
}

// benchmarkRead reads an archive in each iteration.
func benchmarkRead(b *testing.B, m *budget.Budget, data []byte) {
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		ctx, share := budgettest.Admit(b, b.Context(), m)
		s := ziptest.NewStore(b, m)
		s.Discard = true
		if _, err := ziptest.Read(ctx, bytes.NewReader(data), share, s, ziptest.Ordinary); err != nil {
			b.Fatal(err)
		}
		share.Close()
	}
}
