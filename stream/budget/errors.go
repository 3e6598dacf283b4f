package budget

import "fmt"

// A Quota is one of the limits of [SpillConfig].
type Quota int

const (
	ProcessQuota Quota = iota // of all uploads together
	UploadQuota               // of one upload
	FreeSpace                 // that the file system keeps
)

func (q Quota) String() string {
	return [...]string{"quota of all uploads", "quota of one upload", "free space that has to stay"}[q]
}

// A QuotaError says that a quota left no room on the disk.
type QuotaError struct {
	Quota Quota
	Limit int64 // bytes
	InUse int64 // bytes that were in use; not for FreeSpace
	Free  int64 // bytes that were free; for FreeSpace only
	Need  int64 // how many more bytes were needed
	Never bool  // it would not fit even if nothing were in use: a retry cannot help
}

func (e *QuotaError) Error() string {
	if e.Quota == FreeSpace {
		return fmt.Sprintf("budget: no room on disk: %d bytes have to stay free, %d are free, %d more needed", e.Limit, e.Free, e.Need)
	}
	return fmt.Sprintf("budget: no room on disk: %s: %d bytes, %d in use, %d more needed", e.Quota, e.Limit, e.InUse, e.Need)
}

// A DiskError is a failure of the disk of the spill files. A retry is safe.
type DiskError struct {
	Op  string // e.g. "allocate"
	Err error
}

func (e *DiskError) Error() string { return "budget: spill file: " + e.Op + ": " + e.Err.Error() }

// Unwrap returns the error of the system.
func (e *DiskError) Unwrap() error { return e.Err }

// A NoRoomError says that an upload got no memory in time, or that it was ended so that
// another could have its memory. Unless it is Never, a retry is safe.
type NoRoomError struct {
	What  string // what was short, e.g. "memory for another upload"
	Limit int64  // the memory budget in bytes
	InUse int64  // bytes that were in use
	Never bool   // it would not fit even if nothing were in use: a retry cannot help
}

func (e *NoRoomError) Error() string {
	return fmt.Sprintf("budget: no room: %s (%d of %d bytes in use)", e.What, e.InUse, e.Limit)
}
