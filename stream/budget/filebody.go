package budget

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Body returns a body that lies on the disk: head, n bytes from offset off, and tail.
// The file is complete. Whoever gets the body releases it.
func (f *File) Body(head []byte, off, n int64, tail []byte) *FileBody {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users++
	for i := off / spillBlock; i < blocks(off+n); i++ {
		f.bodies[i]++
	}
	return &FileBody{file: f, head: head, off: off, n: n, tail: tail}
}

// A FileBody is the body of an object that lies in a file.
type FileBody struct {
	file       *File
	head, tail []byte
	off, n     int64
	once       sync.Once
}

// ReadAt implements [io.ReaderAt].
func (b *FileBody) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("budget: reading a body at offset %d", off)
	}
	if off < int64(len(b.head)) {
		n = copy(p, b.head[off:])
	}
	if at := off + int64(n) - int64(len(b.head)); n < len(p) && at < b.n {
		want := p[n:min(int64(len(p)), int64(n)+b.n-at)]
		got, err := b.file.ReadAt(want, b.off+at)
		if n += got; got < len(want) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	if at := off + int64(n) - int64(len(b.head)) - b.n; n < len(p) && at < int64(len(b.tail)) {
		n += copy(p[n:], b.tail[at:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Size is in bytes.
func (b *FileBody) Size() int64 { return int64(len(b.head)) + b.n + int64(len(b.tail)) }

// Memory is what the body takes of the memory budget: nothing.
func (b *FileBody) Memory() int64 { return 0 }

// Held reports that the body may be kept until the upload ends.
func (b *FileBody) Held() bool { return true }

// Release gives the body up. It may be called more than once.
func (b *FileBody) Release() { b.once.Do(b.release) }

func (b *FileBody) release() {
	f := b.file
	from, to := b.off/spillBlock, blocks(b.off+b.n)
	f.mu.Lock()
	for i := from; i < to; i++ {
		f.bodies[i]--
	}
	var unused []run
	if !f.closed || f.users > 1 {
		unused = f.unused(from, min(to, f.passedBlocks()))
	}
	f.mu.Unlock()
	// If this fails, the space is given back when the file ends, and the next
	// cleaning reports it.
	ctx, cancel := context.WithTimeoutCause(f.share.ctx, f.spill.calls.hangAfter, ErrDiskHangs)
	defer cancel()
	_ = f.punch(ctx, unused)
	// Only now: the file must not end, and give all its space back, before.
	f.mu.Lock()
	f.users--
	f.mu.Unlock()
	f.end()
}
