// Package stream turns the bytes of an archive into verified entries.
//
// An archive is read forward, once, while it arrives. Entries are decompressed
// only to verify them. A [Sink] gets the body of the object that an entry
// becomes. For a deflated entry that is stored as gzip, that is the archive's
// own deflate stream in a gzip frame.
//
// All memory that grows with an archive comes from one [budget.Budget].
package stream

import (
	"context"
	"io"
)

// Form is how an entry is stored.
type Form int

const (
	Ignore Form = iota // verified, not stored
	AsIs               // the uncompressed bytes
	Gzip               // one gzip member (RFC 1952) of the uncompressed bytes
)

// Entry is what a [Sink] is told of an entry before its bytes arrive.
type Entry struct {
	Name string
	Form Form

	// Size and CRC32 are those that the archive states for the uncompressed
	// bytes. They are set only if Stated is. They are not verified before the
	// object is committed.
	Stated bool
	Size   int64
	CRC32  uint32

	// Found is what Find has found.
	Found Found
}

// Found is what a store knows of an entry whose bytes are not there.
type Found uint8

const (
	Undecided Found = iota // only the entry's bytes can tell, or nobody has looked
	Absent                 // the store has no object of that name
	Different              // the store has another object of that name
	Present                // the store has an equal object
)

// Facts are computed over the uncompressed bytes of a verified entry.
type Facts struct {
	Size   int64
	CRC32  uint32
	MD5    [16]byte // if HasMD5
	HasMD5 bool     // [Object.NeedsMD5] was true to the end
	Symbol Symbol
}

// A Result is what became of an object that was committed.
type Result struct {
	Name     string // of the entry
	Form     Form
	Skipped  bool  // the store had it already
	Unread   bool  // it was skipped without being read: its facts are what the archive states
	Replaced bool  // the store had another object of that name
	Facts    Facts // without Symbol
	BodySize int64 // of the stored object, in bytes; 0 if it was skipped
}

// A Sink takes the objects that an archive's entries become. Objects are
// numbered from 0, in the order of their creation.
type Sink interface {
	// Create begins the object of an entry. It must not block. It is never
	// called concurrently.
	Create(e Entry) Object

	// Find looks the object of an entry up in the store. The entry has a Size and a CRC32.
	// Find creates nothing. It is called concurrently, also with other methods.
	Find(ctx context.Context, e Entry) (Found, error)

	// Skip is Create for an entry that Find has found Present, and that is not read. Its
	// object has ended; a Drop may follow.
	Skip(e Entry)

	// Drop discards the object with that number: it will not be published. It is
	// called after the last call of the object's methods.
	Drop(number int)
}

// An Object is the body of one entry on its way into a store. Calls on one object
// are sequential. Calls on different objects are concurrent. Nothing is visible
// under the entry's name before the whole archive has been verified and the
// Sink's owner publishes it. Each object ends with Commit or with the Sink's
// Drop. A Drop may follow a Commit.
type Object interface {
	// NeedsMD5 reports whether Commit needs the entry's MD5. held says that the whole
	// body may yet be held until it is published, so that the MD5 can become part of
	// what is published. NeedsMD5 does not block. Once it is false, it stays false. It may
	// be called during a call of Part.
	NeedsMD5(held bool) bool

	// Part takes ownership of b, a full part that more of the body follows. The
	// object releases b, also on errors. Part returns false if the store is known
	// to have the object already. Then no more parts are sent, but Commit or Drop
	// still follows.
	Part(ctx context.Context, b Body) (wanted bool, err error)

	// Commit takes ownership of the rest of the body and says that the entry is
	// verified. The object releases rest, also on errors.
	//
	// rest is nil after Part returned false. It has no bytes if the body is empty.
	// It has at most one part, unless it is the entire body and lies on disk.
	Commit(ctx context.Context, rest Body, facts Facts) error
}

// A Body is an object's bytes, or one part of them, in memory or on disk. It does
// not change until it is released.
type Body interface {
	// ReadAt may be called concurrently. It fails with a [*budget.DiskError] if
	// the bytes are on disk and cannot be read.
	io.ReaderAt

	// Size is in bytes.
	Size() int64

	// Memory is how many bytes of the memory budget Release gives back. It is
	// zero if the bytes are on disk.
	Memory() int64

	// Held reports whether the body may be kept until the upload is published.
	// Otherwise it has to go to the store at once.
	Held() bool

	// Release gives back the memory or disk space. It may be called more than
	// once. Nobody may read the body after it.
	Release()
}
