//go:build !unix

package tokens

import (
	"errors"
	"os"
)

// errNeedsUnix reports that this system cannot edit a tokens file: it has no lock that
// ends with the process, or no atomic rename.
var errNeedsUnix = errors.New("editing a tokens file needs a Unix system such as Linux or macOS")

func lock(*os.File) error { return errNeedsUnix }

func removeLeftovers(string) {}

func replaceFile(string, []byte) error { return errNeedsUnix }
