package stream

import (
	"errors"
	"fmt"
)

// ErrCutOff says that an archive ended before it was complete.
var ErrCutOff = errors.New("stream: the archive is cut off")

// A FormatError is damage or a contradiction in an archive.
type FormatError struct {
	Entry  string // raw name of the entry concerned; empty when it is the archive
	Reason string // a plain sentence without its full stop
}

func (e *FormatError) Error() string {
	if e.Entry == "" {
		return "stream: archive: " + e.Reason
	}
	return fmt.Sprintf("stream: entry %q: %s", e.Entry, e.Reason)
}

// A ChecksumError says that an entry's bytes do not have the CRC-32 that the
// archive states for them.
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
	Later, Earlier int64 // uncompressed sizes in bytes, in the order of the list
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("stream: two entries called %q, of %d and %d bytes", e.Name, e.Earlier, e.Later)
}

// Bound is one of the limits that an archive is read under.
type Bound int

const (
	EntriesBound   Bound = iota
	DirectoryBound       // bytes of an archive's directory
	ExpandedBound        // bytes of all entries together, uncompressed
	RatioBound           // times its compressed size that an entry, or all of them, may expand to
	WorkBound            // milliseconds of processor time for each MB of the archive
)

func (b Bound) String() string {
	return [...]string{"entries", "bytes in the directory", "uncompressed bytes", "times the compressed size, uncompressed", "ms of processor time for each MB"}[b]
}

// A LimitError says that an archive is over one of the limits it is read under.
type LimitError struct {
	What  Bound
	Limit int64
	Entry string // that is over the limit, or reached it; empty where all entries are together
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("stream: more than %d %s", e.Limit, e.What)
}

// A SpillError says that the archive cannot be read forward, and could not be
// held to be read by its central directory.
type SpillError struct {
	Reason string // why it cannot be read forward, a clause without its full stop
	Err    error  // a [*budget.QuotaError] or a [*budget.DiskError]
}

func (e *SpillError) Error() string {
	return "stream: archive cannot be read forward: " + e.Reason + ": " + e.Err.Error()
}

// Unwrap returns why it could not be held.
func (e *SpillError) Unwrap() error { return e.Err }

// A SourceError is a failure of the reader that the archive comes from: the
// client went away, was idle for too long, or sent too much.
type SourceError struct {
	Err error
}

func (e *SourceError) Error() string { return "stream: reading the archive: " + e.Err.Error() }

// Unwrap returns what the source said.
func (e *SourceError) Unwrap() error { return e.Err }

// A StoreError is the failure of the store behind a [Sink] at one operation.
// It is never the client's fault, and a retry of the whole upload is safe.
type StoreError struct {
	Op   string // the operation in the store's own terms, e.g. "UploadPart"
	Key  string
	Code string // the store's own error code, or in a few words why there is none; empty: not known
	Err  error
}

func (e *StoreError) Error() string { return fmt.Sprintf("store: %s %s: %v", e.Op, e.Key, e.Err) }

// Unwrap returns what the store said.
func (e *StoreError) Unwrap() error { return e.Err }
