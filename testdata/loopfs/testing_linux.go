package loopfs

import (
	"context"
	"testing"
)

// MountForTest mounts a file system that can be frozen, until the test ends. Where none
// can be mounted, it returns nil: stream's tests alone have disks that hang there.
func MountForTest(t *testing.T) (frozen *FS) {
	t.Helper()
	disk, err := Mount(256 << 20)
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

// FreezeForTest freezes a file system, at the latest until the test ends.
func FreezeForTest(t *testing.T, disk *FS) {
	t.Helper()
	t.Cleanup(func() { ThawForTest(t, disk) })
	if err := disk.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// ThawForTest thaws a file system.
func ThawForTest(t *testing.T, disk *FS) {
	t.Helper()
	if err := disk.Thaw(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}
