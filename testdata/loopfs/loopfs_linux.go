package loopfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"spillway/testdata/keeper"
)

// mount makes a file system of a size in a folder and mounts it there. In the end it
// unmounts the file system and removes the folder.
const mount = `truncate -s "$2" "$1/image" && mkfs.ext4 -q -F "$1/image" && mkdir "$1/mnt" && mount -o loop "$1/image" "$1/mnt" || exit
echo ready
read -r _
fsfreeze -u "$1/mnt" 2>/dev/null
umount -l "$1/mnt"; rm -r "$1"`

// watchdog thaws a file system after a minute. A process that is killed while its calls
// hang keeps its files open, so that unmounting would wait forever.
const watchdog = `sleep 60; fsfreeze -u "$1"`

// FS is a mounted file system.
type FS struct {
	Path string

	keeper *keeper.Keeper

	mu    sync.Mutex
	guard *exec.Cmd // the watchdog, while it is frozen
}

// Mount mounts a file system of size bytes. Only root may mount. The caller closes it.
func Mount(size int64) (*FS, error) {
	folder, err := os.MkdirTemp("", "spillway-loopfs-")
	if err != nil {
		return nil, err
	}
	k, err := keeper.Start(mount, folder, strconv.FormatInt(size, 10))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("no file system can be mounted from a file: %w", err), os.RemoveAll(folder))
	}
	return &FS{Path: filepath.Join(folder, "mnt"), keeper: k}, nil
}

// Freeze makes calls that write hang until Thaw, or for a minute.
func (f *FS) Freeze(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	guard := exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", "-c", watchdog, "sh", f.Path)
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := guard.Start(); err != nil {
		return err
	}
	f.guard = guard
	return fsfreeze(ctx, "-f", f.Path)
}

// Thaw lets the calls go on. Without a Freeze before, it does nothing.
func (f *FS) Thaw(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.guard == nil {
		return nil
	}
	err := errors.Join(fsfreeze(context.WithoutCancel(ctx), "-u", f.Path), syscall.Kill(-f.guard.Process.Pid, syscall.SIGKILL))
	_ = f.guard.Wait() // it was killed
	f.guard = nil
	return err
}

func fsfreeze(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, "fsfreeze", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("fsfreeze %v: %w: %s", args, err, bytes.TrimSpace(out))
	}
	return nil
}

// Close thaws and unmounts it.
func (f *FS) Close() error {
	return errors.Join(f.Thaw(context.Background()), f.keeper.Close())
}
