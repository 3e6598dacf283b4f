package stream

import "sync"

const (
	// An entry may expand to maxRatio times its compressed size, and so may all of
	// them together: a bomb may come in many pieces. Symbols expand to 4 to 10
	// times of it, and deflate can make it 1,032, zstd much more, of zeros.
	// The first ratioFrom bytes may be any: what is small does no harm.
	maxRatio  = 200
	ratioFrom = 16 << 20
)

// tooFar reports whether uncompressed bytes are too many for the compressed ones that
// they come from.
func tooFar(uncompressed, compressed int64) bool {
	return uncompressed > ratioFrom && uncompressed > maxRatio*compressed
}

// expansion counts what a whole archive expands to, and the work of that, against
// their limits.
type expansion struct {
	limit    int64        // of bytes
	received func() int64 // bytes of the archive, so far

	mu         sync.Mutex // guards what follows
	bytes      int64
	compressed int64 // what they were decoded from
	work       work
}

// add counts n bytes that took w and were decoded from compressed more bytes of an
// entry of that name.
func (x *expansion) add(name string, n, compressed int64, w work) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.bytes += n
	x.compressed += compressed
	x.work += w
	switch {
	case x.bytes > x.limit:
		return &LimitError{What: ExpandedBound, Limit: x.limit}
	case tooFar(x.bytes, x.compressed):
		return &LimitError{What: RatioBound, Limit: maxRatio}
	case x.work > freeWork && x.work > freeWork+work(x.received())*workPerByte:
		return &LimitError{What: WorkBound, Limit: workPerMB, Entry: name}
	}
	return nil
}

func (x *expansion) count() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.bytes
}
