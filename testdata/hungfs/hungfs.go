// Package hungfs mounts file systems that never answer, as a dead NFS server
// does: every call that reaches one waits until it is closed.
package hungfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// keeper mounts a FUSE file system that nobody serves, says so, and unmounts it
// when its standard input ends, which it does with this process, however that
// dies. Calls that wait then fail, because the keeper has the only file that
// could answer them.
const keeper = `exec 9<>/dev/fuse && mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 spillway-test "$1" || exit
echo mounted
read -r _
exec 9>&-
umount -l "$1"; rmdir "$1"`

// FS is a file system that hangs.
type FS struct {
	Path string // to touch it is to hang

	command *exec.Cmd
	hold    io.Closer // the keeper's standard input
	stderr  strings.Builder
}

// Mount mounts a file system that hangs, which only root may do. The caller
// closes it.
func Mount() (_ *FS, err error) {
	path, err := os.MkdirTemp("", "spillway-hungfs-")
	if err != nil {
		return nil, err
	}
	f := &FS{Path: path}
	f.command = exec.CommandContext(context.Background(), "/bin/sh", "-c", keeper, "sh", path)
	f.command.Stderr = &f.stderr
	hold, err := f.command.StdinPipe()
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	f.hold = hold
	out, err := f.command.StdoutPipe()
	if err == nil {
		err = f.command.Start()
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "mounted\n" {
		err := errors.Join(hold.Close(), f.command.Wait(), os.Remove(path))
		return nil, fmt.Errorf("no FUSE file system can be mounted: %w: %s", err, strings.TrimSpace(f.stderr.String()))
	}
	return f, nil
}

// Close unmounts it. Calls that wait for it fail.
func (f *FS) Close() error {
	err := errors.Join(f.hold.Close(), f.command.Wait())
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(f.stderr.String()))
	}
	return nil
}
