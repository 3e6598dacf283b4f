//go:build !linux

package budget

import (
	"errors"
	"fmt"
)

// OpenDisk fails: files that are allocated ahead, and given back piece by
// piece, are only there on Linux.
func OpenDisk(string) (Disk, error) {
	return nil, fmt.Errorf("spilling to disk: %w on this system", errors.ErrUnsupported)
}

// DescribeDisk fails, too.
func DescribeDisk(string) (DiskTraits, error) {
	return DiskTraits{}, fmt.Errorf("spilling to disk: %w on this system", errors.ErrUnsupported)
}
