// Package loopfs mounts ext4 file systems in files, which tests can freeze: calls
// that write hang until the file system is thawed.
package loopfs

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
	"sync"
	"syscall"
)

// keeper makes a file system of a size in a folder and mounts it there, says so,
// and unmounts and removes it when its standard input ends.
const keeper = `truncate -s "$2" "$1/image" && mkfs.ext4 -q -F "$1/image" && mkdir "$1/mnt" && mount -o loop "$1/image" "$1/mnt" || exit
echo mounted
read -r _
fsfreeze -u "$1/mnt" 2>/dev/null
umount -l "$1/mnt"; rm -r "$1"`

// watchdog thaws a file system after a while. A process that is killed while its
// calls hang keeps its files open, so that the keeper would wait for ever.
const watchdog = `sleep 60; fsfreeze -u "$1"`

// FS is a file system of its own.
type FS struct {
	Path string

	command *exec.Cmd
	hold    io.Closer // the keeper's standard input
	stderr  strings.Builder

	mu    sync.Mutex
	guard *exec.Cmd // the watchdog, while it is frozen
}

// Mount mounts a file system of size bytes. It takes the rights to; the error
// says what is missing. The caller closes it.
func Mount(size int64) (_ *FS, err error) {
	folder, err := os.MkdirTemp("", "spillway-loopfs-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(folder))
		}
	}()
	f := &FS{Path: filepath.Join(folder, "mnt")}
	f.command = exec.CommandContext(context.Background(), "/bin/sh", "-c", keeper, "sh", folder, strconv.FormatInt(size, 10))
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
		return nil, fmt.Errorf("no file system can be mounted from a file: %w: %s", err, strings.TrimSpace(f.stderr.String()))
	}
	return f, nil
}

// Freeze has calls hang from now on until Thaw, or for a minute.
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

// Thaw has calls go on. It does nothing if they do.
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
	err := errors.Join(f.Thaw(context.Background()), f.hold.Close(), f.command.Wait())
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(f.stderr.String()))
	}
	return nil
}
