package s3sink

import (
	"bytes"
	"errors"
	"sync"
)

var errCut = errors.New("s3: the body of a request was read after its end")

// body is what a request sends. Its bytes belong to a buffer that is used again
// after the request, while the HTTP transport may go on reading the body of a
// request that has been answered, or given up, for a moment: [body.cut] keeps
// it from doing so.
type body struct {
	mu sync.Mutex
	r  *bytes.Reader // nil once cut
}

func newBody(data []byte) *body { return &body{r: bytes.NewReader(data)} }

// cut waits for a read that is under way. From then on reads fail.
func (b *body) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.r = nil
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.r == nil {
		return 0, errCut
	}
	return b.r.Read(p)
}

func (b *body) ReadAt(p []byte, off int64) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.r == nil {
		return 0, errCut
	}
	return b.r.ReadAt(p, off)
}

func (b *body) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.r == nil {
		return 0, errCut
	}
	return b.r.Seek(offset, whence)
}
