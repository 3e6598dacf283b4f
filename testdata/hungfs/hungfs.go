// Package hungfs mounts file systems that never answer, as a dead NFS server does: every
// call that reaches one waits until it is closed.
package hungfs

import (
	"errors"
	"fmt"
	"os"

	"spillway/testdata/keeper"
)

// mount mounts a FUSE file system that nobody serves, and unmounts it in the end. The
// calls that wait then fail, because the script has the only file through which they
// could be answered.
const mount = `exec 9<>/dev/fuse && mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 spillway-test "$1" || exit
echo ready
read -r _
exec 9>&-
umount -l "$1"; rmdir "$1"`

// FS is a file system that hangs.
type FS struct {
	Path string // every call that touches it hangs

	keeper *keeper.Keeper
}

// Mount mounts a file system that hangs. Only root may mount. The caller closes it.
func Mount() (*FS, error) {
	path, err := os.MkdirTemp("", "spillway-hungfs-")
	if err != nil {
		return nil, err
	}
	k, err := keeper.Start(mount, path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("no FUSE file system can be mounted: %w", err), os.Remove(path))
	}
	return &FS{Path: path, keeper: k}, nil
}

// Close unmounts it. Calls that wait for it fail.
func (f *FS) Close() error { return f.keeper.Close() }
