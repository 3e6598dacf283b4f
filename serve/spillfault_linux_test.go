package serve

import (
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"

	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/client"
)

// faultyDisk is a disk with one operation that can be made to fail.
type faultyDisk struct {
	budget.Disk

	mu     sync.Mutex
	op     string
	err    error
	failed int
}

// fail makes an operation fail from now on. With a nil error, none fails.
func (d *faultyDisk) fail(op string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.op, d.err, d.failed = op, err, 0
}

func (d *faultyDisk) failures() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

func (d *faultyDisk) fault(op string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil || d.op != op {
		return nil
	}
	d.failed++
	return d.err
}

func (d *faultyDisk) Create() (budget.DiskFile, error) {
	if err := d.fault("create"); err != nil {
		return nil, err
	}
	f, err := d.Disk.Create()
	return &faultyFile{f, d}, err
}

func (d *faultyDisk) Free() (int64, error) {
	if err := d.fault("free"); err != nil {
		return 0, err
	}
	return d.Disk.Free()
}

type faultyFile struct {
	budget.DiskFile
	disk *faultyDisk
}

func (f *faultyFile) Allocate(off, n int64) error {
	if err := f.disk.fault("allocate"); err != nil {
		return err
	}
	return f.DiskFile.Allocate(off, n)
}

func (f *faultyFile) Punch(off, n int64) error {
	if err := f.disk.fault("punch"); err != nil {
		return err
	}
	return f.DiskFile.Punch(off, n)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.disk.fault("write"); err != nil {
		return 0, err
	}
	return f.DiskFile.WriteAt(p, off)
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.disk.fault("read"); err != nil {
		return 0, err
	}
	return f.DiskFile.ReadAt(p, off)
}

// Whichever operation of the disk fails, the upload is refused with a 503 and leaves nothing.
// The next one is stored, without a restart.
func TestDiskThatFails(t *testing.T) {
	t.Parallel()
	disk := &faultyDisk{}
	folder := t.TempDir()
	svc := startService(t, overrides{
		openDisk: func(path string) (_ budget.Disk, err error) {
			disk.Disk, err = budget.OpenDisk(path)
			return disk, err
		},
	}, "--spill-dir="+folder, "--spill-min-free=0")
	a := archive.NeedsDisk(1, 3<<20)
	api := svc.api()
	for _, op := range []string{"create", "free", "allocate", "write", "read", "punch"} {
		for _, failure := range []error{syscall.ENOSPC, syscall.EIO} {
			what := fmt.Sprintf("%s: %v", op, failure)
			disk.fail(op, failure)
			got, err := client.Send(client.Within(t), api, "dev", a.Reader())
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if got.Status != http.StatusServiceUnavailable || got.RetryAfter == "" || disk.failures() == 0 {
				t.Errorf("%s: %+v after %d failures, want 503", what, got, disk.failures())
			}
			svc.wantNothing(t, what)

			disk.fail("", nil)
			if got, err = client.Send(client.Within(t), api, "dev", a.Reader()); err != nil || got.Status != http.StatusCreated {
				t.Errorf("%s, and then not: %+v, error %v", what, got, err)
			}
			svc.drop(t)
			svc.wantNothing(t, what+", and then not")
		}
	}
}
