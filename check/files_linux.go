package check

import (
	"os"
	"syscall"

	"spillway/stream/budget"
)

// OpenFiles returns how many file descriptors the process has open, and how many it
// may have.
func OpenFiles() (open, limit int, err error) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0, 0, os.NewSyscallError("getrlimit", err)
	}
	limit = int(min(r.Cur, 1<<30))
	f, err := os.Open("/proc/self/fd")
	if budget.OutOfFiles(err) {
		return limit, limit, nil
	}
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	return len(names) - 1, limit, err // without f itself
}
