package stream

import (
	"context"
	"io"
	"sync/atomic"

	"spillway/stream/budget"
)

// source reads the archive from the client. It wraps the reader's errors, stops when
// its context does, and measures the time spent waiting for the client.
type source struct {
	ctx   context.Context
	r     io.Reader
	share *budget.Share
	turn  *budget.Turn // of the goroutine that reads
	n     atomic.Int64 // bytes read
	err   error        // sticky; not set by io.EOF
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
		return 0, s.err
	}
	resume := s.turn.Pause()
	arrived := s.share.AwaitClient()
	n, err := s.r.Read(p)
	arrived(n)
	resume()
	s.n.Add(int64(n))
	if err != nil {
		s.share.AllArrived()
	}
	if err != nil && err != io.EOF {
		s.err = &SourceError{Err: err}
		err = s.err
	}
	return n, err
}

// entryReader reads the compressed bytes of one entry from the window. It moves the
// window only past bytes that certainly belong to the entry.
type entryReader struct {
	in   *Window
	left int64     // bytes that may still be read
	tee  io.Writer // gets the entry's bytes; may be nil
	n    int64     // bytes consumed

	pending int   // bytes returned and not consumed yet
	err     error // of the window or of tee; sticky
}

func (r *entryReader) Read(b []byte) (int, error) {
	if r.consume(r.pending); r.err != nil {
		return 0, r.err
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	next, err := r.in.buffered(min(r.left, int64(len(b))))
	if err != nil {
		r.err = err
		return 0, err
	}
	r.pending = copy(b, next)
	return r.pending, nil
}

// end consumes all bytes that were read, except the last unused ones.
func (r *entryReader) end(unused int) error {
	r.consume(r.pending - unused)
	return r.err
}

func (r *entryReader) consume(n int) {
	r.pending = 0
	if r.err != nil || n == 0 {
		return
	}
	if r.tee != nil {
		b, _ := r.in.Peek(n) // cannot fail: it is buffered
		if _, r.err = r.tee.Write(b); r.err != nil {
			return
		}
	}
	r.in.Discard(n)
	r.n += int64(n)
	r.left -= int64(n)
}
