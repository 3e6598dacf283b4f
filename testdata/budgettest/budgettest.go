// Package budgettest makes budgets for tests.
package budgettest

import (
	"context"
	"testing"
	"time"

	"spillway/stream"
	"spillway/stream/budget"
)

const (
	mib = 1 << 20

	// entries is the most entries of an archive.
	entries = 1000
)

// Part is the part size of all budgets here, in bytes.
const Part = 5 * mib

// New returns a budget of 64 MiB for eight uploads, which wait for 30 s. It has no disk.
func New(t testing.TB, change ...func(*budget.Config)) *budget.Budget {
	t.Helper()
	cfg := budget.Config{Memory: 64 * mib, MaxPart: Part, Uploads: 8, Needs: stream.Needs(entries, false), Wait: 30 * time.Second}
	for _, f := range change {
		f(&cfg)
	}
	b, err := budget.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// NewWithDisk returns such a budget with a disk of 4 MiB.
func NewWithDisk(t testing.TB, change ...func(*budget.SpillConfig)) *budget.Budget {
	t.Helper()
	return New(t, Disk(t, change...))
}

// Disk returns a change that gives a budget that disk.
func Disk(t testing.TB, change ...func(*budget.SpillConfig)) func(*budget.Config) {
	t.Helper()
	disk, err := budget.OpenDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return func(c *budget.Config) {
		c.Spill = budget.SpillConfig{Disk: disk, Quota: 4 * mib, UploadQuota: 4 * mib}
		for _, f := range change {
			f(&c.Spill)
		}
	}
}

// Admit admits an upload, and returns its context. The context ends with ctx, or when the
// budget ends the upload.
func Admit(t testing.TB, ctx context.Context, b *budget.Budget) (context.Context, *budget.Share) {
	t.Helper()
	ctx, end := context.WithCancelCause(ctx)
	share, err := b.Admit(ctx, budget.Upload{End: end})
	if err != nil {
		t.Fatal(err)
	}
	return ctx, share
}

// CheckUnused checks that nothing of the budget is in use.
func CheckUnused(t testing.TB, b *budget.Budget) {
	t.Helper()
	if u := b.Usage(); u != (budget.Usage{Total: u.Total}) {
		t.Errorf("memory is still in use: %+v", u)
	}
	if u := b.Spill().Usage(); u.Used != 0 || u.Files != 0 || u.Waiting != 0 {
		t.Errorf("disk is still in use: %+v", u)
	}
}
