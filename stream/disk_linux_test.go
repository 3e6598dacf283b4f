package stream_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"spillway/stream"
	"spillway/stream/budget"
	"spillway/testdata/budgettest"
)

// keeper is a sink that keeps the bodies it gets in Commit, and releases parts.
type keeper struct {
	mu     sync.Mutex
	bodies []stream.Body
}

func (k *keeper) Create(stream.Entry) stream.Object { return keptObject{k} }

func (k *keeper) Drop(int)        {}
func (*keeper) Skip(stream.Entry) {}
func (*keeper) Find(context.Context, stream.Entry) (stream.Found, error) {
	return stream.Undecided, nil
}

// release releases all bodies.
func (k *keeper) release() {
	for _, b := range k.bodies {
		if b != nil {
			b.Release()
		}
	}
}

type keptObject struct{ *keeper }

func (keptObject) NeedsMD5(bool) bool { return true }

func (o keptObject) Part(_ context.Context, b stream.Body) (bool, error) {
	b.Release()
	return true, nil
}

func (o keptObject) Commit(_ context.Context, rest stream.Body, _ stream.Facts) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bodies = append(o.bodies, rest)
	return nil
}

// hookedDisk calls before at the start of each operation. An error of before is that of
// the operation.
type hookedDisk struct {
	budget.Disk
	before func(op string) error
}

func (d hookedDisk) Create() (budget.DiskFile, error) {
	if err := d.before("create"); err != nil {
		return nil, err
	}
	f, err := d.Disk.Create()
	return hookedFile{f, d.before}, err
}

func (d hookedDisk) Free() (int64, error) {
	if err := d.before("free"); err != nil {
		return 0, err
	}
	return d.Disk.Free()
}

func (d hookedDisk) Clean() (int, error) {
	if err := d.before("clean"); err != nil {
		return 0, err
	}
	return d.Disk.Clean()
}

type hookedFile struct {
	budget.DiskFile
	before func(op string) error
}

func (f hookedFile) Allocate(off, n int64) error {
	if err := f.before("allocate"); err != nil {
		return err
	}
	return f.DiskFile.Allocate(off, n)
}

func (f hookedFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.before("write"); err != nil {
		return 0, err
	}
	return f.DiskFile.WriteAt(p, off)
}

func (f hookedFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.before("read"); err != nil {
		return 0, err
	}
	return f.DiskFile.ReadAt(p, off)
}

func (f hookedFile) Punch(off, n int64) error {
	if err := f.before("punch"); err != nil {
		return err
	}
	return f.DiskFile.Punch(off, n)
}

func (f hookedFile) Allocated() (int64, error) {
	if err := f.before("stat"); err != nil {
		return 0, err
	}
	return f.DiskFile.Allocated()
}

func (f hookedFile) Close() error {
	if err := f.before("close"); err != nil {
		return err
	}
	return f.DiskFile.Close()
}

// diskFault fails one call of one operation.
type diskFault struct {
	op    string
	call  int // from 1
	err   error
	calls atomic.Int64 // of op
}

func (f *diskFault) before(op string) error {
	if op == f.op && f.calls.Add(1) == int64(f.call) {
		return f.err
	}
	return nil
}

// on makes the disk fail.
func (f *diskFault) on(c *budget.SpillConfig) { c.Disk = hookedDisk{c.Disk, f.before} }

// shortDisk reports the free space that free returns.
type shortDisk struct {
	budget.Disk
	free func() int64
}

func (d shortDisk) Free() (int64, error) { return d.free(), nil }

// frozenDisk is a disk whose calls of one operation hang until it thaws.
type frozenDisk struct {
	op     string
	thawed chan struct{}
	hung   atomic.Int64 // calls so far
}

func (d *frozenDisk) before(op string) error {
	if op == d.op {
		d.hung.Add(1)
		<-d.thawed
	}
	return nil
}

func (d *frozenDisk) thaw() { close(d.thawed) }

// freeze returns a budget whose disk hangs in one operation.
func freeze(t *testing.T, op string, change ...func(*budget.Config)) (*frozenDisk, *budget.Budget) {
	t.Helper()
	d := &frozenDisk{op: op, thawed: make(chan struct{})}
	return d, budgettest.New(t, append(change, budgettest.Disk(t, func(c *budget.SpillConfig) {
		c.Disk = hookedDisk{c.Disk, d.before}
		c.Trouble = func(err error) { t.Errorf("a call that hangs was reported as trouble: %v", err) }
	}))...)
}
