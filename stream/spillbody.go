package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// body returns the n bytes at offset off, between head and tail, as a body
// that lies on the disk. The file is complete.
func (f *spillFile) body(head []byte, off, n int64, tail []byte) *spilledBody {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users++
	for i := off / spillBlock; i < blocks(off+n); i++ {
		f.bodies[i]++
	}
	return &spilledBody{file: f, head: head, off: off, n: n, tail: tail}
}

// spilledBody is a [Body] in a spill file.
type spilledBody struct {
	file       *spillFile
	head, tail []byte
	off, n     int64
	once       sync.Once
}

// ReadAt implements [Body].
func (b *spilledBody) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("stream: reading a body at offset %d", off)
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

// Size implements [Body].
func (b *spilledBody) Size() int64 { return int64(len(b.head)) + b.n + int64(len(b.tail)) }

// Memory implements [Body].
func (b *spilledBody) Memory() int64 { return 0 }

// Held implements [Body].
func (b *spilledBody) Held() bool { return true }

// Release implements [Body].
func (b *spilledBody) Release() { b.once.Do(b.release) }

func (b *spilledBody) release() {
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
	// What cannot be given back now is when the file ends, and the next
	// cleaning says so.
	ctx, cancel := context.WithTimeoutCause(f.share.disk, f.spill.calls.hangAfter, ErrDiskHangs)
	defer cancel()
	_ = f.punch(ctx, unused)
	// Only now: the file must not end, and give all of its space back, in between.
	f.mu.Lock()
	f.users--
	f.mu.Unlock()
	f.end()
}
