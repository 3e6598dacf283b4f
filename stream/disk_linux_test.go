package stream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"spillway/stream"
)

func newReader(data []byte) io.Reader { return bytes.NewReader(data) }

// keeper is a sink that keeps all bodies, or drops those of which parts came.
type keeper struct {
	mu     sync.Mutex
	bodies []stream.Body
}

func (k *keeper) Create(stream.Entry) stream.Object { return keptObject{k} }

func (k *keeper) Drop(int) {}

type keptObject struct{ *keeper }

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

// faultyDisk fails one call of one operation.
type faultyDisk struct {
	stream.Disk
	op    string
	call  int
	fault error
	calls atomic.Int64 // of op
}

func (d *faultyDisk) fails(op string) error {
	if op == d.op && d.calls.Add(1) == int64(d.call) {
		return d.fault
	}
	return nil
}

func (d *faultyDisk) Create() (stream.DiskFile, error) {
	if err := d.fails("create"); err != nil {
		return nil, err
	}
	f, err := d.Disk.Create()
	return faultyFile{f, d}, err
}

func (d *faultyDisk) Free() (int64, error) {
	if err := d.fails("free"); err != nil {
		return 0, err
	}
	return d.Disk.Free()
}

type faultyFile struct {
	stream.DiskFile
	disk *faultyDisk
}

func (f faultyFile) Allocate(off, n int64) error {
	if err := f.disk.fails("allocate"); err != nil {
		return err
	}
	return f.DiskFile.Allocate(off, n)
}

func (f faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.disk.fails("write"); err != nil {
		return 0, err
	}
	return f.DiskFile.WriteAt(p, off)
}

func (f faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.disk.fails("read"); err != nil {
		return 0, err
	}
	return f.DiskFile.ReadAt(p, off)
}

func (f faultyFile) Punch(off, n int64) error {
	if err := f.disk.fails("punch"); err != nil {
		return err
	}
	return f.DiskFile.Punch(off, n)
}

func TestDisk(t *testing.T) {
	folder := t.TempDir()
	disk, err := stream.OpenDisk(folder)
	if err != nil {
		t.Fatal(err)
	}
	f, err := disk.Create()
	if err != nil {
		t.Fatal(err)
	}
	const mebi = 1 << 20
	if err := f.Allocate(0, mebi); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Allocated(); n < mebi || err != nil {
		t.Errorf("%d bytes are allocated: %v", n, err)
	}
	if _, err := f.WriteAt([]byte("MODULE"), mebi-6); err != nil {
		t.Error(err)
	}
	if err := f.Punch(0, mebi/2); err != nil {
		t.Error(err)
	}
	if n, err := f.Allocated(); n < mebi/2 || n > mebi*3/4 || err != nil {
		t.Errorf("%d bytes are allocated: %v", n, err)
	}
	got := make([]byte, 6)
	if _, err := f.ReadAt(got, mebi-6); err != nil || string(got) != "MODULE" {
		t.Errorf("read %q: %v", got, err)
	}
	if names, err := os.ReadDir(folder); len(names) > 0 || err != nil {
		t.Errorf("the folder has %v: %v", names, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := stream.OpenDisk(filepath.Join(folder, "missing")); err == nil {
		t.Error("a folder that is not there was opened")
	}
}

// TestClean has files of ours and of others; some of ours are in use.
func TestClean(t *testing.T) {
	folder := t.TempDir()
	disk, err := stream.OpenDisk(folder)
	if err != nil {
		t.Fatal(err)
	}
	make := func(name string) *os.File {
		f, err := os.Create(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	make("spillway-spill-123")
	make("spillway-spill-124")
	inUse := make("spillway-spill-125")
	make("somebody-else")
	if err := unix.Flock(int(inUse.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("somebody-else", filepath.Join(folder, "spillway-spill-link")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{2, 0} {
		if n, err := disk.Clean(); n != want || err != nil {
			t.Errorf("removed %d files, want %d: %v", n, want, err)
		}
	}
	for _, name := range []string{"spillway-spill-125", "somebody-else", "spillway-spill-link"} {
		if _, err := os.Lstat(filepath.Join(folder, name)); err != nil {
			t.Error(err)
		}
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Clean(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("cleaning a folder that is gone: %v", err)
	}
}
