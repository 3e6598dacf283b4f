package budget

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// zfsMagic is not among the kernel's numbers: ZFS is not part of it (OpenZFS, "ZFS_SUPER_MAGIC").
const zfsMagic = 0x2fc12fc1

// fileSystems are the types of file systems by their magic number (statfs(2)).
var fileSystems = map[int64]string{
	unix.BTRFS_SUPER_MAGIC: "btrfs", unix.EXT4_SUPER_MAGIC: "ext4", unix.F2FS_SUPER_MAGIC: "f2fs", unix.FUSE_SUPER_MAGIC: "fuse",
	unix.HUGETLBFS_MAGIC: "hugetlbfs", unix.MSDOS_SUPER_MAGIC: "vfat", unix.NFS_SUPER_MAGIC: "nfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	unix.RAMFS_MAGIC: "ramfs", unix.SMB2_SUPER_MAGIC: "smb", unix.TMPFS_MAGIC: "tmpfs", unix.XFS_SUPER_MAGIC: "xfs", zfsMagic: "zfs",
}

// DescribeDisk returns the traits of a folder. It makes a file there, which vanishes at once.
func DescribeDisk(path string) (DiskTraits, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return DiskTraits{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	magic := int64(uint32(s.Type)) // signed on some processors
	t := DiskTraits{FileSystem: fileSystems[magic]}
	if t.FileSystem == "" {
		t.FileSystem = fmt.Sprintf("a file system of type %#x", magic)
	}
	switch t.FileSystem {
	case "tmpfs", "ramfs", "hugetlbfs":
		t.InMemory = true
	}
	f, err := folder{path}.createNameless()
	if errors.Is(err, errors.ErrUnsupported) {
		return t, nil
	}
	if err != nil {
		return t, err
	}
	t.Nameless = true
	return t, f.Close()
}
