package zip_test

import (
	"context"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/ziptest"
)

// TestHashedWhereItDecides counts the bytes whose MD5 is computed. It is computed as long as
// the store needs it: from the first byte for a body that may be held, and not at all where
// the store has said before that it needs none.
func TestHashedWhereItDecides(t *testing.T) {
	const (
		small = 100_000
		large = 3 * budgettest.Part
		never = 0
		whole = -1
	)
	noise := archive.Noise(1, large)
	deflated := func(name string, size int) archive.Entry {
		return archive.Entry{Name: name, Data: noise[:size], Method: archive.Deflate}
	}
	stored := func(name string, size int) archive.Entry {
		return archive.Entry{Name: name, Data: noise[:size]}
	}
	piped := func(e archive.Entry) archive.Entry {
		e.Descriptor = archive.Signed32
		return e
	}
	none := func(*ziptest.Object, bool) bool { return false }
	ifHeld := func(_ *ziptest.Object, held bool) bool { return held }
	all := func(*ziptest.Object, bool) bool { return true }
	// untilPart is a store that learns with the first part that it needs none.
	untilPart := func(o *ziptest.Object, _ bool) bool { return o.Parts == 0 }

	for _, test := range []struct {
		name   string
		entry  archive.Entry
		needs  func(o *ziptest.Object, held bool) bool
		hashed int // at most; whole: exactly the whole entry
	}{
		{"held, stored already", deflated("a.sym", small), none, never},
		{"held", deflated("a.sym", small), ifHeld, whole},
		{"held as it is", stored("a.dll", small), ifHeld, whole},
		{"held, inflated", deflated("a.dll", small), ifHeld, whole},
		{"held, with a descriptor", piped(deflated("a.sym", small)), ifHeld, whole},
		{"in parts", deflated("a.sym", large), ifHeld, never},
		{"in parts as it is", stored("a.dll", large), ifHeld, never},
		{"in parts, inflated", deflated("a.dll", large), ifHeld, never},
		{"in parts, compared", deflated("a.sym", large), all, whole},
		{"in parts, with a descriptor", piped(deflated("a.sym", large)), ifHeld, 2 * budgettest.Part},
		{"in parts, answered late", deflated("a.dll", large), untilPart, 2 * budgettest.Part},
		{"ignored", deflated("a-symbols.txt", small), all, never},
		{"empty", stored("a.dll", 0), ifHeld, whole},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := budgettest.New(t)
			store := ziptest.NewStore(t, m)
			store.NeedsMD5 = test.needs
			var committed *ziptest.Object
			store.OnCommit = func(_ context.Context, o *ziptest.Object) error {
				committed = o
				return nil
			}
			_, report, err := ziptest.Reading{Data: archive.Build(test.entry), Budget: m, Store: store}.Do(t)
			if err != nil {
				t.Fatal(err)
			}
			size := int64(len(test.entry.Data))
			switch got := report.Hashed; {
			case test.hashed == whole && got != size:
				t.Errorf("the MD5 of %d bytes was computed, want all %d", got, size)
			case test.hashed != whole && got > int64(test.hashed):
				t.Errorf("the MD5 of %d bytes was computed, want at most %d", got, test.hashed)
			}
			if committed != nil && committed.Facts.HasMD5 != (test.hashed == whole) {
				t.Errorf("committed with an MD5: %t", committed.Facts.HasMD5)
			}
			ziptest.Contents(t, store) // checks the sums
		})
	}
}
