//go:build unix

package tokens

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
)

// lock waits until no other process has locked the folder, and locks it. Closing the
// folder, or the end of the process, unlocks it.
func lock(folder *os.File) error { return syscall.Flock(int(folder.Fd()), syscall.LOCK_EX) }

// removeLeftovers removes the new files that killed edits of the file at path left beside
// it. The caller holds the folder's lock, so no edit is under way. What cannot be removed
// stays: it does no harm.
func removeLeftovers(path string) {
	dir, name := filepath.Split(path)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		// renameio appends a random number to the name.
		number, ok := strings.CutPrefix(e.Name(), "."+name)
		if ok && number != "" && strings.Trim(number, "0123456789") == "" && e.Type().IsRegular() {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// replaceFile replaces the content of a file atomically. An existing file keeps its owner and
// its group's permissions, so that a service that runs as another user can still read it.
// Only its owner can read a new file.
func replaceFile(path string, data []byte) (err error) {
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Cleanup()) }()
	if old, err := os.Stat(path); err == nil {
		if owner, ok := old.Sys().(*syscall.Stat_t); ok {
			if owner.Nlink > 1 {
				return fmt.Errorf("%s has %d names (hard links): an edit would change only one of them", path, owner.Nlink)
			}
			if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
				return fmt.Errorf("keeping the owner of %s: %w", path, err)
			}
		}
		if err := f.Chmod(old.Mode().Perm()&0o660 | 0o600); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}
