package budget

import "io"

// A Disk is the folder of the spill files. Many goroutines use it at once. Its errors
// are those of the system.
type Disk interface {
	// Create makes a file that nobody else can see, and that ends with the process,
	// whatever ends that.
	Create() (DiskFile, error)

	// Free is how many bytes the file system has left for this process.
	Free() (int64, error)

	// Clean removes the files of processes that are gone, and returns how many those
	// were.
	Clean() (removed int, err error)
}

// A DiskFile is one file on a Disk. Each byte is allocated before it is written.
type DiskFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer // gives back all that is allocated

	// Allocate makes sure that n bytes at offset off can be written.
	Allocate(off, n int64) error

	// Punch gives n bytes at offset off back to the file system.
	Punch(off, n int64) error

	// Allocated is how many bytes the file takes on the disk, including what the file
	// system needs to find them.
	Allocated() (int64, error)
}

// DiskTraits say on what a folder is.
type DiskTraits struct {
	FileSystem string // its type, e.g. "ext4"
	InMemory   bool   // its files take memory, not space on a disk

	// Nameless: files can be made without a name. Else a file has one for a moment, and
	// a process that is killed then leaves it behind, for the next Clean.
	Nameless bool
}
