//go:build !linux

package serve

import "errors"

// openFiles is implemented for Linux only.
func openFiles() (open, limit int, err error) { return 0, 0, errors.ErrUnsupported }
