// Package stream turns the bytes of an archive into verified entries.
//
// An archive is read forward, once, while it arrives. Each entry is inflated
// only to verify it; what is handed to a [Sink] is the body of the object that
// it becomes: for a deflated entry that is stored as gzip, the archive's own
// deflate stream in a gzip frame.
//
// All memory that grows with an archive comes out of one [budget.Budget].
package stream

import (
	"context"
	"io"
)

// Form says in which form an entry is stored.
type Form int

const (
	Ignore Form = iota // verified, not stored
	AsIs               // the entry's bytes as they are
	Gzip               // one gzip member (RFC 1952) of the entry's bytes
)

// Entry is what is known of an entry before its bytes.
type Entry struct {
	Name string
	Form Form

	// Size and CRC32 are what the local header states of the entry's uncompressed
	// bytes. They are only there if Stated is set, and only true if the
	// entry's Commit follows.
	Stated bool
	Size   int64
	CRC32  uint32
}

// Facts are what was counted over an entry's verified bytes.
type Facts struct {
	Size   int64
	CRC32  uint32
	MD5    [16]byte
	Symbol Symbol
}

// A Sink takes what an archive's entries become. Objects are numbered from 0, in
// the order of their creation.
type Sink interface {
	// Create begins the object of an entry. It does not wait for anything, and its
	// calls come in turn.
	Create(e Entry) Object

	// Drop gives up the object with that number: it will not be published. It is
	// called after the last call of the object's methods.
	Drop(number int)
}

// An Object is the body of one entry on its way into a store. Its methods are
// called in turn, and those of different objects at once. Nothing is visible under
// the entry's name before the whole archive has been verified and whoever made the
// Sink publishes it. Each object ends with a call of Commit or of the Sink's Drop;
// a Drop may follow both.
type Object interface {
	// Part takes over b, full, as the next part of a body that goes on after
	// it; the object releases b, also when it returns an error. It reports
	// false when the store is known to have the object already: then no more
	// parts are wanted, but Commit or Drop still is.
	Part(ctx context.Context, b Body) (wanted bool, err error)

	// Commit takes over the rest of the body (nil after Part reported false;
	// without bytes if it is empty; of at most one part, unless it is all of
	// the body and takes no memory) and says that the entry is verified and
	// what was counted over it. The object releases rest, also when it returns
	// an error.
	Commit(ctx context.Context, rest Body, facts Facts) error
}

// A Body is all of an object's bytes or a part of them, complete, in memory or
// on disk. It does not change until it is released.
type Body interface {
	// ReadAt reads from many goroutines at once. It fails with a [*budget.DiskError]
	// where the bytes are on a disk that does.
	io.ReaderAt

	// Size is in bytes.
	Size() int64

	// Memory is how much of the budget Release gives back, in bytes. It is zero
	// where the bytes are on disk.
	Memory() int64

	// Held reports whether the body may be kept until the upload is published.
	// If not, it goes to the store at once.
	Held() bool

	// Release gives its room back. It may be called more than once. Nobody
	// reads from the body any more.
	Release()
}
