package stream

import "io"

// A Disk is the folder that spill files are in. It is used by many goroutines
// at once. Its errors are those of the system.
type Disk interface {
	// Create makes a file that nobody else can see, and that is gone with the
	// process whatever ends it.
	Create() (DiskFile, error)

	// Free is how many bytes the file system has left for this process.
	Free() (int64, error)

	// Clean removes files that were left by processes which are gone, and says
	// how many.
	Clean() (removed int, err error)
}

// A DiskFile is one spill file. Each of its bytes is allocated before it is
// written.
type DiskFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer // gives back all that is allocated

	// Allocate makes sure that n bytes at offset off can be written.
	Allocate(off, n int64) error

	// Punch gives n bytes at offset off back to the file system.
	Punch(off, n int64) error

	// Allocated is how many bytes the file takes on the disk, what the file
	// system needs to find them included.
	Allocated() (int64, error)
}
