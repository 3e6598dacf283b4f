package stream

import (
	"errors"
	"fmt"
)

// ErrCutOff says that an archive ended before it was complete.
var ErrCutOff = errors.New("stream: the archive is cut off")

// A FormatError says that an archive is damaged or contradicts itself.
type FormatError struct {
	Entry  string // raw name of the entry; empty if the error concerns the archive
	Offset int64  // of the entry's header or of the record in question, in bytes from the archive's start
	Reason string // a sentence without its full stop
}

func (e *FormatError) Error() string {
	if e.Entry == "" {
		return fmt.Sprintf("stream: archive: byte %d: %s", e.Offset, e.Reason)
	}
	return fmt.Sprintf("stream: entry %q at byte %d: %s", e.Entry, e.Offset, e.Reason)
}

// A ChecksumError says that an entry's bytes do not have the CRC-32 that the
// archive states.
type ChecksumError struct {
	Entry string
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("stream: entry %q: bad CRC-32", e.Entry)
}

// A DuplicateError says that an archive lists two entries of the same name and
// different sizes.
type DuplicateError struct {
	Name           string
	Later, Earlier int64 // uncompressed sizes in bytes, in the order of the archive's directory
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("stream: two entries named %q, of %d and %d bytes", e.Name, e.Earlier, e.Later)
}

// Bound is a limit on an archive.
type Bound int

const (
	EntriesBound      Bound = iota
	DirectoryBound          // bytes of the archive's directory
	UncompressedBound       // uncompressed bytes of all entries together
	RatioBound              // uncompressed to compressed size, of one entry or all together
	WorkBound               // milliseconds of processor time for each MB of the archive
)

func (b Bound) String() string {
	return [...]string{
		"entries", "bytes in the directory", "uncompressed bytes", "times the compressed size", "ms of processor time for each MB",
	}[b]
}

// A LimitError says that an archive exceeds a limit.
type LimitError struct {
	What  Bound
	Limit int64
	Entry string // the entry that exceeds the limit; empty if all entries together do
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("stream: more than %d %s", e.Limit, e.What)
}

// A SpillError says that an archive cannot be read forward, and could not be
// spilled to be read by its directory.
type SpillError struct {
	Reason string // why it cannot be read forward, a clause without its full stop
	Err    error  // a [*budget.QuotaError] or a [*budget.DiskError]
}

func (e *SpillError) Error() string {
	return "stream: archive cannot be read forward: " + e.Reason + ": " + e.Err.Error()
}

// Unwrap returns why the archive could not be spilled.
func (e *SpillError) Unwrap() error { return e.Err }

// A SourceError is an error of the reader that the archive comes from: the
// client disconnected, was idle for too long, or sent too much.
type SourceError struct {
	Err error
}

func (e *SourceError) Error() string { return "stream: reading the archive: " + e.Err.Error() }

// Unwrap returns the reader's error.
func (e *SourceError) Unwrap() error { return e.Err }

// A StoreError is an error of the store behind a [Sink]. The client is never the
// cause, and retrying the upload is safe.
type StoreError struct {
	Op   string // the operation in the store's own terms, e.g. "UploadPart"
	Key  string
	Code string // the store's error code, or a few words on why there is none; empty if not known
	Err  error
}

func (e *StoreError) Error() string { return fmt.Sprintf("store: %s %s: %v", e.Op, e.Key, e.Err) }

// Unwrap returns the store's error.
func (e *StoreError) Unwrap() error { return e.Err }
