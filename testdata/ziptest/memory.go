package ziptest

import (
	"testing"
	"time"

	"spillway/stream"
)

const mib = 1 << 20

const part = 5 * mib

// DiskCache is a cache on the disk with room for two of the archives here.
func DiskCache(t testing.TB, change ...func(*stream.SpillConfig)) *stream.Spill {
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

// WithDisk is a budget beside the cache.
func WithDisk(t testing.TB, spill *stream.Spill) *stream.Memory {
	t.Helper()
	m, err := stream.NewMemory(64*mib, part, 8, 30*time.Second, spill)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// CheckNothingSpilled checks that the cache is as it was in the beginning.
func CheckNothingSpilled(t testing.TB, spill *stream.Spill) {
	t.Helper()
	if u := spill.Usage(); u.Used != 0 || u.Files != 0 || u.Waiting != 0 {
		t.Errorf("a cache that nobody uses: %+v", u)
	}
}
