package budget

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// spillPrefix is what the names of our files begin with, where files must have
// a name for a moment.
const spillPrefix = "spillway-spill-"

// folder is a [Disk] in a folder of a file system that can allocate and punch
// holes: ext4, XFS, Btrfs and tmpfs can.
type folder struct {
	path string
}

// OpenDisk returns the disk of a folder, which must exist. It proves that files
// can be made there, allocated and given back.
func OpenDisk(path string) (Disk, error) {
	d := folder{path}
	f, err := d.Create()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Allocate(0, spillBlock); err != nil {
		return nil, fmt.Errorf("its file system cannot allocate space ahead: %w", err)
	}
	if err := f.Punch(0, spillBlock); err != nil {
		return nil, fmt.Errorf("its file system cannot give space back: %w", err)
	}
	return d, nil
}

// Create makes a file without a name, or where the file system has no such
// thing, one whose name is removed at once. Until then it is locked, which is
// how Clean tells it from one that was left behind.
func (d folder) Create() (DiskFile, error) {
	f, err := d.createNameless()
	if errors.Is(err, errors.ErrUnsupported) {
		return d.createNamed()
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// createNameless makes a file without a name. The error is [errors.ErrUnsupported] if the file
// system has no such thing, or the kernel (open(2), "O_TMPFILE").
func (d folder) createNameless() (DiskFile, error) {
	f, err := os.OpenFile(d.path, os.O_RDWR|unix.O_TMPFILE, 0o600)
	switch {
	case err == nil:
		return diskFile{f}, nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return nil, err
}

func (d folder) createNamed() (_ DiskFile, err error) {
	f, err := os.CreateTemp(d.path, spillPrefix)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(err, os.Remove(f.Name()))
	}
	// Whoever cleans may have been faster.
	if err := os.Remove(f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return diskFile{f}, nil
}

func (d folder) Free() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(d.path, &s); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: d.path, Err: err}
	}
	return int64(s.Bavail) * s.Bsize, nil
}

func (d folder) Clean() (removed int, err error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), spillPrefix) || !e.Type().IsRegular() {
			continue
		}
		switch gone, err := removeOrphan(filepath.Join(d.path, e.Name())); {
		case err != nil:
			errs = append(errs, err)
		case gone:
			removed++
		}
	}
	return removed, errors.Join(errs...)
}

// removeOrphan removes the file if its owner, who has it locked, is gone.
func removeOrphan(path string) (removed bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	case err != nil:
		return false, &fs.PathError{Op: "flock", Path: path, Err: err}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, nil
}

type diskFile struct {
	*os.File
}

func (f diskFile) Allocate(off, n int64) error {
	return f.retry("fallocate", func() error { return unix.Fallocate(int(f.Fd()), 0, off, n) })
}

func (f diskFile) Punch(off, n int64) error {
	return f.retry("fallocate", func() error {
		return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	})
}

func (f diskFile) Allocated() (int64, error) {
	var s unix.Stat_t
	if err := f.retry("fstat", func() error { return unix.Fstat(int(f.Fd()), &s) }); err != nil {
		return 0, err
	}
	return s.Blocks * 512, nil // in units of 512 bytes whatever the block size, stat(2)
}

// retry repeats a call that a signal interrupts.
func (f diskFile) retry(op string, call func() error) error {
	for {
		err := call()
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: op, Path: f.Name(), Err: err}
		}
		return nil
	}
}
