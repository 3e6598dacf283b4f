package zip_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"spillway/stream/budget"
	"spillway/stream/zip"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/ziptest"
)

// TestSpilledArchives reads archives that are spilled to disk, with and without a stated size.
func TestSpilledArchives(t *testing.T) {
	for name, data := range ziptest.SpillArchives() {
		for _, size := range []int64{0, int64(len(data)), int64(len(data)) + 500} {
			t.Run(fmt.Sprintf("%s, size %d", name, size), func(t *testing.T) {
				t.Parallel()
				m := budgettest.NewWithDisk(t)
				rules := ziptest.Ordinary
				rules.Size = size
				// Short reads, so blocks end at any offset.
				s, _, err := ziptest.Reading{Data: data, Source: iotest.HalfReader(bytes.NewReader(data)), Budget: m, Rules: &rules}.Do(t)
				if err != nil {
					t.Fatal(err)
				}
				ziptest.CheckSpillFiles(t, s)
				budgettest.CheckUnused(t, m)
			})
		}
	}
}

// TestZipRulesOnDisk reads the archives of rules that do not fit into memory.
func TestZipRulesOnDisk(t *testing.T) {
	ran := 0
	for _, r := range everyRule() {
		if !r.needsDisk() {
			continue
		}
		ran++
		t.Run(r.name, func(t *testing.T) {
			s, report, err := ziptest.Reading{Data: r.archive, Budget: budgettest.NewWithDisk(t), Rules: r.limits}.Do(t)
			r.check(t, s, report, err)
		})
	}
	if ran < 5 {
		t.Errorf("only %d rules", ran)
	}
}

// TestCutOffWhileSpilled cuts off an archive that is spilled.
func TestCutOffWhileSpilled(t *testing.T) {
	data := ziptest.SpillArchives()["stored with a descriptor, signed, 32 bit"]
	m := budgettest.NewWithDisk(t)
	gone := errors.New("gone")
	for n := 0; n < len(data); n += 40_009 {
		for _, end := range []error{io.EOF, gone} {
			s, _, err := ziptest.Reading{Source: io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(end)), Budget: m}.Do(t)
			switch {
			case len(s.Kept()) > 0:
				t.Errorf("cut off at %d with %v: an object is kept", n, end)
			case !errors.Is(err, map[error]error{gone: gone, io.EOF: zip.ErrNotZip}[end]):
				t.Errorf("cut off at %d with %v: %v", n, end, err)
			}
			budgettest.CheckUnused(t, m)
		}
	}
}

// BenchmarkSpill reads an archive of one large stored file forward, and the same archive
// spilled to disk. The rate is of archive bytes.
func BenchmarkSpill(b *testing.B) {
	entry := archive.Entry{Name: "a.dll", Data: archive.Noise(1, 64*mib)}
	for _, bm := range []struct {
		name    string
		archive []byte
	}{
		{"memory", archive.Build(entry)},
		{"disk", archive.Archive{Prefix: []byte{0}, Entries: []archive.Entry{entry}}.Bytes()},
	} {
		b.Run(bm.name, func(b *testing.B) {
			m := budgettest.NewWithDisk(b, func(c *budget.SpillConfig) { c.Quota, c.UploadQuota = 1<<30, 1<<30 })
			benchmarkRead(b, m, bm.archive)
		})
	}
}
