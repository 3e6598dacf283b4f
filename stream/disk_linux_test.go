package stream_test

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"

	"spillway/stream"
	"spillway/stream/budget"
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
	budget.Disk
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

func (d *faultyDisk) Create() (budget.DiskFile, error) {
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
	budget.DiskFile
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
