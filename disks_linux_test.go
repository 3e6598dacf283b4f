package main

import (
	"context"
	"testing"

	"spillway/testdata/loopfs"
)

// mountLoop mounts a file system that can be frozen. Where none can be mounted,
// stream's tests alone have disks that hang, and frozen is nil.
func mountLoop(t *testing.T) (frozen *loopfs.FS) {
	t.Helper()
	disk, err := loopfs.Mount(256 << 20)
	if err != nil {
		t.Logf("only with a file system that can be frozen: %v", err)
		return nil
	}
	t.Cleanup(func() {
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	return disk
}

// freeze freezes a file system, at the latest until the test ends.
func freeze(t *testing.T, disk *loopfs.FS) {
	t.Helper()
	t.Cleanup(func() { thaw(t, disk) })
	if err := disk.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func thaw(t *testing.T, disk *loopfs.FS) {
	t.Helper()
	if err := disk.Thaw(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}
