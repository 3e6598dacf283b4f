// Package tmpfs mounts file systems of a chosen size. Tests read exactly how much of one
// is in use, and can fill it.
package tmpfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"spillway/testdata/keeper"
)

// mount mounts a tmpfs with options at a folder, and unmounts it in the end.
const mount = `mount -t tmpfs -o "$2" spillway-test "$1" || exit
echo ready
read -r _
umount -l "$1"; rmdir "$1"`

// FS is a mounted file system.
type FS struct {
	Path string

	keeper *keeper.Keeper
}

// Mount mounts a file system of size bytes, with further options of mount(8) if any.
// Only root may mount. The caller closes it.
func Mount(size int64, options ...string) (*FS, error) {
	path, err := os.MkdirTemp("", "spillway-tmpfs-")
	if err != nil {
		return nil, err
	}
	k, err := keeper.Start(mount, path, strings.Join(append(options, "size="+strconv.FormatInt(size, 10)), ","))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("no tmpfs can be mounted: %w", err), ignoreMissing(os.Remove(path)))
	}
	return &FS{Path: path, keeper: k}, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Used returns how many bytes are in use, by files without a name as well.
func (f *FS) Used() (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(f.Path, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: f.Path, Err: err}
	}
	return int64(s.Blocks-s.Bfree) * int64(s.Bsize), nil
}

// Fill writes a file that leaves only free bytes. The returned function removes it.
func (f *FS) Fill(free int64) (empty func() error, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(f.Path, &s); err != nil {
		return nil, &os.PathError{Op: "statfs", Path: f.Path, Err: err}
	}
	name := filepath.Join(f.Path, "filler")
	if err := os.WriteFile(name, make([]byte, int64(s.Bfree)*int64(s.Bsize)-free), 0o600); err != nil {
		return nil, err
	}
	return func() error { return os.Remove(name) }, nil
}

// Remount changes mount options, such as "ro".
func (f *FS) Remount(ctx context.Context, options string) error {
	if out, err := exec.CommandContext(ctx, "mount", "-o", "remount,"+options, f.Path).CombinedOutput(); err != nil {
		return fmt.Errorf("remounting with %s: %w: %s", options, err, bytes.TrimSpace(out))
	}
	return nil
}

// Close unmounts it.
func (f *FS) Close() error { return f.keeper.Close() }
