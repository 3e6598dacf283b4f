package s3sink

import (
	"errors"
	"hash/crc32"
	"io"
	"sync"

	"spillway/stream/budget"
)

var errCut = errors.New("s3: the body of a request was read after the request had ended")

// requestBody is the body of a request to S3. Its buffer is reused after the request,
// but the HTTP transport may read a body for a moment after the request has been answered
// or cancelled. [requestBody.cut] prevents that.
type requestBody struct {
	size int64 // bytes

	mu     sync.Mutex
	r      *io.SectionReader // nil once cut
	failed error             // a disk error that a read returned
}

// newRequestBody returns a body of n bytes of r at offset off.
func newRequestBody(r io.ReaderAt, off, n int64) *requestBody {
	return &requestBody{size: n, r: io.NewSectionReader(r, off, n)}
}

// cut waits for a read that is under way, and makes later reads fail. err is the error of
// the request. If a read has failed, cut returns the disk's error instead.
func (b *requestBody) cut(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.r = nil
	if err != nil && b.failed != nil {
		return b.failed
	}
	return err
}

func (b *requestBody) Read(p []byte) (int, error) {
	return b.do(func(r *io.SectionReader) (int, error) { return r.Read(p) })
}

func (b *requestBody) ReadAt(p []byte, off int64) (int, error) {
	return b.do(func(r *io.SectionReader) (int, error) { return r.ReadAt(p, off) })
}

func (b *requestBody) do(read func(*io.SectionReader) (int, error)) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.r == nil {
		return 0, errCut
	}
	n, err := read(b.r)
	if disk, ok := errors.AsType[*budget.DiskError](err); ok {
		b.failed = disk
	}
	return n, err
}

func (b *requestBody) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.r == nil {
		return 0, errCut
	}
	return b.r.Seek(offset, whence)
}

// sumBuffers has the buffers of sum.
var sumBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// sum updates each of the CRC-32s with the n bytes of r at offset off.
func sum(r io.ReaderAt, off, n int64, sums ...*uint32) error {
	buf := sumBuffers.Get().(*[32 << 10]byte)
	defer sumBuffers.Put(buf)
	for n > 0 {
		b := buf[:min(n, int64(len(buf)))]
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

// emptyBody is the body of an empty object.
type emptyBody struct{}

func (emptyBody) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }
func (emptyBody) Size() int64                       { return 0 }
func (emptyBody) Memory() int64                     { return 0 }
func (emptyBody) Held() bool                        { return true }
func (emptyBody) Release()                          {}
