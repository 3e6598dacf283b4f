package stream_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"spillway/stream"
	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/nightly"
	"spillway/testdata/ziptest"
)

// TestBodiesStayOnDisk has a store that keeps all bodies to the end, as one that publishes
// at the end does.
func TestBodiesStayOnDisk(t *testing.T) {
	m := budgettest.NewWithDisk(t)
	spill := m.Spill()
	ctx, share := admit(t, m)
	sink := &keeper{}
	data := ziptest.SpillArchives()["stored with a descriptor, signed, 32 bit"]
	if _, err := ziptest.Read(ctx, bytes.NewReader(data), share, sink, ziptest.Ordinary); err != nil {
		t.Fatal(err)
	}
	onDisk := 0
	for _, b := range sink.bodies {
		if b.Memory() == 0 && b.Size() > 0 {
			onDisk++
			if !b.Held() {
				t.Error("a body on disk may not be kept")
			}
			size := b.Size()
			start := max(0, size-nightly.Pick(64<<10, size)) // bytes are read one by one
			if err := iotest.TestReader(io.NewSectionReader(b, start, size-start), bytesOf(t, b)[start:]); err != nil {
				t.Error(err)
			}
		}
	}
	if onDisk < 3 {
		t.Errorf("%d bodies are on disk", onDisk)
	}
	if removed, err := spill.Clean(t.Context()); removed != 0 || err != nil {
		t.Errorf("Clean removed %d files, error %v", removed, err)
	}
	before := spill.Usage().Used
	if before == 0 || before > int64(len(data))+128<<10 {
		t.Errorf("%d bytes of disk are in use for an archive of %d", before, len(data))
	}
	for _, b := range sink.bodies {
		b.Release()
		b.Release()
		if now := spill.Usage().Used; now > before {
			t.Errorf("a release took %d more bytes", now-before)
		} else {
			before = now
		}
	}
	share.Close()
	budgettest.CheckUnused(t, m)
}

func TestQuotas(t *testing.T) {
	data := ziptest.SpillArchives()["gaps between entries"]
	size := int64(len(data))
	tests := []struct {
		name  string
		cache func(*budget.SpillConfig)
		want  budget.QuotaError // Quota and Never only
	}{
		{"no disk", func(c *budget.SpillConfig) { c.Quota = 0 }, budget.QuotaError{Quota: budget.ProcessQuota, Never: true}},
		{"a quota smaller than the archive", func(c *budget.SpillConfig) { c.Quota = size - 400<<10 }, budget.QuotaError{Quota: budget.ProcessQuota, Never: true}},
		{"an upload quota smaller than the archive", func(c *budget.SpillConfig) { c.UploadQuota = size - 400<<10 }, budget.QuotaError{Quota: budget.UploadQuota, Never: true}},
		{"a quota of one block", func(c *budget.SpillConfig) { c.Quota = 64 << 10 }, budget.QuotaError{Quota: budget.ProcessQuota, Never: true}},
		{"too little free space", func(c *budget.SpillConfig) { c.MinFree = 1 << 60 }, budget.QuotaError{Quota: budget.FreeSpace}},
	}
	for _, tt := range tests {
		for _, stated := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, size stated %t", tt.name, stated), func(t *testing.T) {
				m := budgettest.NewWithDisk(t, tt.cache)
				rules := ziptest.Ordinary
				if stated {
					rules.Size = size
				}
				s, _, err := ziptest.Reading{Data: data, Budget: m, Rules: &rules}.Do(t)
				got, ok := errors.AsType[*budget.QuotaError](err)
				if !ok || got.Quota != tt.want.Quota || got.Never != tt.want.Never {
					t.Errorf("the error is %v", err)
				}
				if _, ok := errors.AsType[*stream.SpillError](err); !ok {
					t.Errorf("the error does not say why the archive was spilled: %v", err)
				}
				if len(s.Kept()) > 0 {
					t.Error("something is kept")
				}
				budgettest.CheckUnused(t, m)
				if _, _, err := (ziptest.Reading{Data: archive.Build(ziptest.SpillFiles()...), Budget: m}).Do(t); err != nil {
					t.Errorf("an archive that needs no disk: %v", err)
				}
			})
		}
	}
}

// TestCleanBesideUploads: the space counted for a file agrees with the file system at any
// moment.
func TestCleanBesideUploads(t *testing.T) {
	data := ziptest.SpillArchives()["gaps between entries"]
	for _, size := range []int{0, len(data)} {
		m := budgettest.NewWithDisk(t, func(c *budget.SpillConfig) { c.Quota = 64 * mib })
		spill := m.Spill()
		var uploads []<-chan outcome
		for range 8 {
			uploads = append(uploads, background(t, m, bytes.NewReader(data), size))
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
		budgettest.CheckUnused(t, m)
	}
}

// bytesOf returns the bytes of b.
func bytesOf(t testing.TB, b stream.Body) []byte {
	t.Helper()
	data := make([]byte, b.Size())
	if n, err := b.ReadAt(data, 0); n < len(data) {
		t.Errorf("read %d of a body's %d bytes: %v", n, len(data), err)
	}
	return data
}
