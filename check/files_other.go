//go:build !linux

package check

import "errors"

// OpenFiles is implemented for Linux only.
func OpenFiles() (open, limit int, err error) { return 0, 0, errors.ErrUnsupported }
