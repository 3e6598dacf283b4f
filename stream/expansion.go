package stream

import (
	"sync"
	"sync/atomic"
)

const (
	// maxRatio bounds the ratio of uncompressed to compressed size, for each entry
	// and for all of them together: a bomb may come in many pieces. Symbols have 4
	// to 10. Of zeros, deflate makes 1,032, and zstd much more.
	maxRatio = 200

	// ratioFreeBytes are the first uncompressed bytes, which may have any ratio.
	ratioFreeBytes = 16 << 20
)

// ratioExceeded reports whether the ratio of the two sizes is over the limit.
func ratioExceeded(uncompressed, compressed int64) bool {
	return uncompressed > ratioFreeBytes && uncompressed > maxRatio*compressed
}

// expansion adds up the uncompressed bytes of an archive and the work of decoding
// them, and checks both against their limits.
type expansion struct {
	limit    int64        // on uncompressed bytes
	received func() int64 // bytes of the archive so far
	hashed   atomic.Int64 // uncompressed bytes whose MD5 was computed

	mu         sync.Mutex // guards the fields below
	bytes      int64      // uncompressed
	compressed int64      // what they were decoded from
	work       work
}

// add adds n uncompressed bytes, decoded from so many compressed bytes of the named
// entry with work w.
func (x *expansion) add(name string, n, compressed int64, w work) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.bytes += n
	x.compressed += compressed
	x.work += w
	switch {
	case x.bytes > x.limit:
		return &LimitError{What: UncompressedBound, Limit: x.limit}
	case ratioExceeded(x.bytes, x.compressed):
		return &LimitError{What: RatioBound, Limit: maxRatio}
	case x.work > freeWork && x.work > freeWork+work(x.received())*workPerByte:
		return &LimitError{What: WorkBound, Limit: workPerMB, Entry: name}
	}
	return nil
}

// reset forgets all entries.
func (x *expansion) reset() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.bytes, x.compressed, x.work = 0, 0, 0
	x.hashed.Store(0)
}

// total returns the uncompressed bytes so far.
func (x *expansion) total() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.bytes
}
