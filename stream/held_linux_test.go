package stream_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"spillway/stream"
	"spillway/testdata/archive"
)

// diskCache is a cache on the disk with room for two of the archives here.
func diskCache(t testing.TB, change ...func(*stream.SpillConfig)) *stream.Spill {
	t.Helper()
	disk, err := stream.OpenDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.SpillConfig{Disk: disk, Quota: 4 * mib, UploadQuota: 4 * mib}
	for _, f := range change {
		f(&cfg)
	}
	return stream.NewSpill(cfg)
}

// withDisk is a budget beside the cache.
func withDisk(t testing.TB, spill *stream.Spill) *stream.Memory {
	t.Helper()
	m, err := stream.NewMemory(64*mib, part, 8, 30*time.Second, spill)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// checkNothingSpilled checks that the cache is as it was in the beginning.
func checkNothingSpilled(t testing.TB, spill *stream.Spill) {
	t.Helper()
	if u := spill.Usage(); u.Used != 0 || u.Files != 0 || u.Waiting != 0 {
		t.Errorf("a cache that nobody uses: %+v", u)
	}
}

// heldFiles are what the archives that have to be held have in them: more than
// a window.
func heldFiles() []archive.Entry {
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

// heldKinds are the archives that cannot be read forward, with heldFiles.
var heldKinds = sync.OnceValue(func() map[string][]byte {
	first := func(change func(*archive.Entry)) []byte {
		entries := heldFiles()
		change(&entries[0])
		return archive.Build(entries...)
	}
	each := func(change func(*archive.Entry)) []byte {
		entries := heldFiles()
		for i := range entries {
			change(&entries[i])
		}
		return archive.Build(entries...)
	}
	kinds := map[string][]byte{
		"bytes before the first entry":             archive.Archive{Prefix: archive.Noise(8, 1000), Entries: heldFiles()}.Bytes(),
		"a prefix that the offsets do not count":   archive.Archive{Prefix: archive.Noise(8, 1000), Shifted: true, Entries: heldFiles()}.Bytes(),
		"a prefix that they do not count, zip64":   archive.Archive{Prefix: archive.Noise(8, 1000), Shifted: true, Zip64: true, Entries: heldFiles()}.Bytes(),
		"gaps between entries":                     each(func(e *archive.Entry) { e.Gap = []byte("gap") }),
		"a gap before the directory, and zip64":    archive.Archive{Entries: heldFiles(), Prefix: []byte("#!"), BeforeDirectory: []byte("gap"), Zip64: true}.Bytes(),
		"zstd with a descriptor":                   first(func(e *archive.Entry) { e.Method, e.Descriptor = archive.Zstd, archive.Signed64 }),
		"rows in another order than their entries": archive.Archive{Prefix: []byte("#!"), Entries: heldFiles(), Rows: func(rows []archive.Row) []archive.Row { slices.Reverse(rows); return rows }}.Bytes(),
	}
	for name, layout := range map[string]archive.Descriptor{
		"signed, 32 bit": archive.Signed32, "unsigned, 32 bit": archive.Unsigned32,
		"signed, 64 bit": archive.Signed64, "unsigned, 64 bit": archive.Unsigned64,
	} {
		kinds["stored with a descriptor, "+name] = first(func(e *archive.Entry) { e.Descriptor = layout })
		kinds["all with a descriptor, "+name] = each(func(e *archive.Entry) { e.Descriptor = layout })
	}
	return kinds
})

// checkHeldFiles checks that the store got heldFiles.
func checkHeldFiles(t *testing.T, s *store) {
	t.Helper()
	want := make(map[string][]byte)
	for _, e := range heldFiles() {
		if form, _ := formByName(e.Name); form != stream.Ignore {
			want[e.Name] = e.Data
		}
	}
	checkSame(t, contents(t, s), want)
}

func TestArchivesThatAreHeldOnDisk(t *testing.T) {
	for name, data := range heldKinds() {
		for _, size := range []int64{0, int64(len(data)), int64(len(data)) + 500} {
			t.Run(fmt.Sprintf("%s, size %d", name, size), func(t *testing.T) {
				spill := diskCache(t)
				m := withDisk(t, spill)
				rules := ordinary
				rules.Size = size
				// Reads of any length, so that blocks end anywhere.
				s, _, err := reading{data: data, source: iotest.HalfReader(newReader(data)), memory: m, rules: &rules}.do(t)
				if err != nil {
					t.Fatal(err)
				}
				checkHeldFiles(t, s)
				checkNothingSpilled(t, spill)
			})
		}
	}
}

// TestBodiesStayOnDisk has a store that keeps every body to the end, as one does
// that publishes at the end.
func TestBodiesStayOnDisk(t *testing.T) {
	spill := diskCache(t)
	m := withDisk(t, spill)
	ctx, share := admit(t, m)
	sink := &keeper{}
	data := heldKinds()["stored with a descriptor, signed, 32 bit"]
	if _, err := stream.ReadZip(ctx, newReader(data), share, sink, ordinary); err != nil {
		t.Fatal(err)
	}
	onDisk := 0
	for _, b := range sink.bodies {
		if b.Memory() == 0 && b.Size() > 0 {
			onDisk++
			if !b.Held() {
				t.Error("a body on disk that may not be kept")
			}
			if err := iotest.TestReader(io.NewSectionReader(b, 0, b.Size()), bytesOf(t, b)); err != nil {
				t.Error(err)
			}
		}
	}
	if onDisk < 3 {
		t.Errorf("%d bodies are on disk", onDisk)
	}
	if removed, err := spill.Clean(t.Context()); removed != 0 || err != nil {
		t.Errorf("cleaning: %d removed, %v", removed, err)
	}
	before := spill.Usage().Used
	if before == 0 || before > int64(len(data))+128<<10 {
		t.Errorf("%d bytes are in use for bodies of an archive of %d", before, len(data))
	}
	for _, b := range sink.bodies {
		b.Release()
		b.Release()
		if now := spill.Usage().Used; now > before {
			t.Errorf("a release took %d bytes", now-before)
		} else {
			before = now
		}
	}
	share.Close()
	checkNothingSpilled(t, spill)
	checkEmpty(t, m)
}

func TestQuotas(t *testing.T) {
	data := heldKinds()["gaps between entries"]
	size := int64(len(data))
	tests := []struct {
		name  string
		cache func(*stream.SpillConfig)
		want  stream.QuotaError // without its numbers
	}{
		{"no disk", func(c *stream.SpillConfig) { c.Quota = 0 }, stream.QuotaError{Quota: stream.ProcessQuota, Never: true}},
		{"a quota under the archive", func(c *stream.SpillConfig) { c.Quota = size - 400<<10 }, stream.QuotaError{Quota: stream.ProcessQuota, Never: true}},
		{"a quota of the upload under the archive", func(c *stream.SpillConfig) { c.UploadQuota = size - 400<<10 }, stream.QuotaError{Quota: stream.UploadQuota, Never: true}},
		{"a quota of a block", func(c *stream.SpillConfig) { c.Quota = 64 << 10 }, stream.QuotaError{Quota: stream.ProcessQuota, Never: true}},
		{"too little free", func(c *stream.SpillConfig) { c.MinFree = 1 << 60 }, stream.QuotaError{Quota: stream.FreeSpace}},
	}
	for _, tt := range tests {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, size known %t", tt.name, known), func(t *testing.T) {
				spill := diskCache(t, tt.cache)
				m := withDisk(t, spill)
				rules := ordinary
				if known {
					rules.Size = size
				}
				s, _, err := reading{data: data, memory: m, rules: &rules}.do(t)
				got, ok := errors.AsType[*stream.QuotaError](err)
				if !ok || got.Quota != tt.want.Quota || got.Never != tt.want.Never {
					t.Errorf("the error is %v", err)
				}
				if _, ok := errors.AsType[*stream.SpillError](err); !ok {
					t.Errorf("the error does not say why the disk was wanted: %v", err)
				}
				if len(s.kept()) > 0 {
					t.Error("something is kept")
				}
				checkNothingSpilled(t, spill)
				if _, _, err := (reading{data: archive.Build(heldFiles()...), memory: m}).do(t); err != nil {
					t.Errorf("an ordinary archive after it: %v", err)
				}
			})
		}
	}
}

// TestCleanBesideUploads: what is counted for a file is compared with the file
// system at any moment, and never wrong.
func TestCleanBesideUploads(t *testing.T) {
	data := heldKinds()["gaps between entries"]
	for _, known := range []int{0, len(data)} {
		spill := diskCache(t, func(c *stream.SpillConfig) { c.Quota = 64 * mib })
		m := withDisk(t, spill)
		var uploads []<-chan outcome
		for range 8 {
			uploads = append(uploads, background(t, m, bytes.NewReader(data), known))
		}
		for _, u := range uploads {
			var got *outcome
			for got == nil {
				select {
				case o := <-u:
					got = &o
				default:
					if _, err := spill.Clean(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got.err != nil {
				t.Error(got.err)
			}
		}
		checkNothingSpilled(t, spill)
	}
}

// TestDiskFaults fails each operation of the disk at each of its calls.
func TestDiskFaults(t *testing.T) {
	data := heldKinds()["gaps between entries"]
	for _, op := range []string{"create", "free", "allocate", "write", "read", "punch"} {
		for _, fault := range []error{syscall.ENOSPC, syscall.EIO} {
			for call := 1; ; call++ {
				disk := &faultyDisk{op: op, call: call, fault: fault}
				spill := diskCache(t, func(c *stream.SpillConfig) { disk.Disk, c.Disk = c.Disk, disk })
				m := withDisk(t, spill)
				s, _, err := reading{data: data, memory: m}.do(t)
				if disk.calls.Load() < int64(call) {
					if err != nil || call == 1 {
						t.Errorf("%s: ends after %d calls with %v", op, call-1, err)
					}
					break
				}
				// Space that cannot be given back in time is given back in the end.
				if _, ok := errors.AsType[*stream.DiskError](err); !ok && (op != "punch" || err != nil) {
					t.Errorf("%s fails at call %d with %v: the error is %v", op, call, fault, err)
				}
				if err != nil && len(s.kept()) > 0 {
					t.Errorf("%s fails at call %d: something is kept", op, call)
				}
				checkNothingSpilled(t, spill)

				if errors.Is(fault, syscall.EIO) {
					continue // a disk that works again is the same, whatever it had
				}
				s, _, err = reading{data: data, memory: m}.do(t)
				if err != nil {
					t.Fatalf("%s failed at call %d, and then: %v", op, call, err)
				}
				checkHeldFiles(t, s)
			}
		}
	}
}

// TestCutOffWhileHeld cuts an archive off where it is held.
func TestCutOffWhileHeld(t *testing.T) {
	data := heldKinds()["stored with a descriptor, signed, 32 bit"]
	spill := diskCache(t)
	m := withDisk(t, spill)
	gone := errors.New("gone")
	for n := 0; n < len(data); n += 40_009 {
		for _, end := range []error{io.EOF, gone} {
			s, _, err := reading{source: io.MultiReader(newReader(data[:n]), iotest.ErrReader(end)), memory: m}.do(t)
			switch {
			case len(s.kept()) > 0:
				t.Errorf("cut off at %d with %v: something is kept", n, end)
			case !errors.Is(err, map[error]error{gone: gone, io.EOF: stream.ErrNotZip}[end]):
				t.Errorf("cut off at %d with %v: %v", n, end, err)
			}
			checkNothingSpilled(t, spill)
		}
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
			spill := diskCache(b, func(c *stream.SpillConfig) { c.Quota, c.UploadQuota = 1<<30, 1<<30 })
			benchmarkRead(b, withDisk(b, spill), bm.archive)
		})
	}
}
