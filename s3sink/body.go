package s3sink

import (
	"errors"
	"hash/crc32"
	"io"
	"sync"

	"spillway/stream"
)

var errCut = errors.New("s3: the body of a request was read after its end")

// body is what a request sends. Its bytes belong to a buffer that is used again
// after the request, while the HTTP transport may go on reading the body of a
// request that has been answered, or given up, for a moment: [body.cut] keeps
// it from doing so.
type body struct {
	size int64 // bytes

	mu     sync.Mutex
	r      *io.SectionReader // nil once cut
	failed error             // of the disk that the bytes are on
}

// newBody is n bytes of r at the offset off.
func newBody(r io.ReaderAt, off, n int64) *body {
	return &body{size: n, r: io.NewSectionReader(r, off, n)}
}

// cut waits for a read that is under way. From then on reads fail. It returns
// err, the outcome of the request, or what kept the body from being read.
func (b *body) cut(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.r = nil
	if err != nil && b.failed != nil {
		return b.failed
	}
	return err
}

func (b *body) Read(p []byte) (int, error) {
	return b.do(func(r *io.SectionReader) (int, error) { return r.Read(p) })
}

func (b *body) ReadAt(p []byte, off int64) (int, error) {
	return b.do(func(r *io.SectionReader) (int, error) { return r.ReadAt(p, off) })
}

func (b *body) do(read func(*io.SectionReader) (int, error)) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.r == nil {
		return 0, errCut
	}
	n, err := read(b.r)
	if disk, ok := errors.AsType[*stream.DiskError](err); ok {
		b.failed = disk
	}
	return n, err
}

func (b *body) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.r == nil {
		return 0, errCut
	}
	return b.r.Seek(offset, whence)
}

// runs are what bodies are summed in.
var runs = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// sum updates each of the CRC-32s with the n bytes of r at the offset off.
func sum(r io.ReaderAt, off, n int64, sums ...*uint32) error {
	run := runs.Get().(*[32 << 10]byte)
	defer runs.Put(run)
	for n > 0 {
		b := run[:min(n, int64(len(run)))]
		if got, err := r.ReadAt(b, off); got < len(b) {
			return err
		}
		for _, s := range sums {
			*s = crc32.Update(*s, crc32.IEEETable, b)
		}
		off += int64(len(b))
		n -= int64(len(b))
	}
	return nil
}

// nothing is the body of an empty object.
type nothing struct{}

func (nothing) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }
func (nothing) Size() int64                       { return 0 }
func (nothing) Memory() int64                     { return 0 }
func (nothing) Held() bool                        { return true }
func (nothing) Release()                          {}
