package budget_test

import (
	"errors"
	"syscall"
	"testing"

	"spillway/stream/budget"
)

// crowdedDisk is a disk that is full once: the next Allocate fails, and calls emptied.
type crowdedDisk struct {
	budget.Disk
	emptied func() // nil: the disk is not full
}

type crowdedFile struct {
	budget.DiskFile
	disk *crowdedDisk
}

func (d *crowdedDisk) Create() (budget.DiskFile, error) {
	f, err := d.Disk.Create()
	return crowdedFile{f, d}, err
}

func (f crowdedFile) Allocate(off, n int64) error {
	if emptied := f.disk.emptied; emptied != nil {
		f.disk.emptied = nil
		emptied()
		return syscall.ENOSPC
	}
	return f.DiskFile.Allocate(off, n)
}

// TestOwnFilesInTheWay: an upload or a probe finds the disk full of our own files, which
// have given their space back by the time somebody looks. That is not the disk's fault.
func TestOwnFilesInTheWay(t *testing.T) {
	disk := &crowdedDisk{}
	b := newBudget(t, 4, withDisk(t, 20*mib), func(c *budget.Config) {
		c.Needs.Ticket = 2 * mib
		disk.Disk, c.Spill.Disk = c.Spill.Disk, disk
		c.Spill.Trouble = func(err error) { t.Errorf("trouble: %v", err) }
	})
	u := begin(t, b)
	defer u.Close()
	write := func() (*budget.File, error) {
		f, err := u.hold(0)
		if err != nil {
			t.Fatal(err)
		}
		err = f.Write(u.ctx, make([]byte, mib))
		return f, err
	}
	inTheWay := func() *budget.File {
		f, err := write()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}

	disk.emptied = inTheWay().Close
	f, err := write()
	if _, ok := errors.AsType[*budget.QuotaError](err); !ok {
		t.Errorf("the upload fails with %v, want a *QuotaError", err)
	}
	f.Close()

	disk.emptied = inTheWay().Close
	if err := b.Spill().Probe(t.Context()); err != nil {
		t.Errorf("the probe fails with %v", err)
	}

	disk.emptied = func() { _ = b.Spill().Probe(t.Context()) }
	f, err = write()
	if _, ok := errors.AsType[*budget.QuotaError](err); !ok {
		t.Errorf("beside a probe, the upload fails with %v, want a *QuotaError", err)
	}
	f.Close()
}
