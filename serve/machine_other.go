//go:build !linux

package serve

import "errors"

// openFiles fails: where to count is only known on Linux.
func openFiles() (open, limit int, err error) { return 0, 0, errors.ErrUnsupported }
