// Package tmpfs mounts file systems of a chosen size, of which tests can say
// exactly how much is in use, and that can be full.
package tmpfs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// keeper mounts a tmpfs with options at a folder, says so, and unmounts it when its
// standard input ends, which it does with this process, however that dies.
const keeper = `mount -t tmpfs -o "$2" spillway-test "$1" || exit
echo mounted
read -r _
umount -l "$1"; rmdir "$1"`

// FS is a file system of its own.
type FS struct {
	Path string

	command *exec.Cmd
	hold    io.Closer // the keeper's standard input
	stderr  strings.Builder
}

// Mount mounts a file system of size bytes, with more options (mount(8)) if there
// are any. It takes the rights to; the error says what is missing. The caller
// closes it.
func Mount(size int64, options ...string) (_ *FS, err error) {
	path, err := os.MkdirTemp("", "spillway-tmpfs-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(path)))
		}
	}()
	f := &FS{Path: path}
	f.command = exec.CommandContext(context.Background(), "/bin/sh", "-c", keeper, "sh", path, strings.Join(append(options, "size="+strconv.FormatInt(size, 10)), ","))
	f.command.Stderr = &f.stderr
	hold, err := f.command.StdinPipe()
	if err != nil {
		return nil, err
	}
	f.hold = hold
	out, err := f.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := f.command.Start(); err != nil {
		return nil, err
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "mounted\n" {
		err := errors.Join(hold.Close(), f.command.Wait())
		return nil, fmt.Errorf("no tmpfs can be mounted: %w: %s", err, strings.TrimSpace(f.stderr.String()))
	}
	return f, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Used is how much of it is in use, in bytes, files without a name included.
func (f *FS) Used() (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(f.Path, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: f.Path, Err: err}
	}
	return int64(s.Blocks-s.Bfree) * int64(s.Bsize), nil
}

// Fill takes all of it but for free bytes, until the returned function is
// called.
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

// Remount changes options, such as "ro".
func (f *FS) Remount(ctx context.Context, options string) error {
	if out, err := exec.CommandContext(ctx, "mount", "-o", "remount,"+options, f.Path).CombinedOutput(); err != nil {
		return fmt.Errorf("remounting with %s: %w: %s", options, err, bytes.TrimSpace(out))
	}
	return nil
}

// Close unmounts it.
func (f *FS) Close() error {
	err := errors.Join(f.hold.Close(), f.command.Wait())
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(f.stderr.String()))
	}
	return nil
}
