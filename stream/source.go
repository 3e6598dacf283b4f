package stream

import (
	"context"
	"io"
	"sync/atomic"

	"spillway/stream/budget"
)

// client reads the archive from the client. It wraps the reader's errors, stops when
// its context does, and measures the time spent waiting for the client.
type client struct {
	ctx    context.Context
	r      io.Reader
	ranged RangeReader // r, while the archive is read in ranges; else nil
	share  *budget.Share
	turn   *budget.Turn // of the goroutine that reads
	n      atomic.Int64 // how far the archive has been read, in bytes
	err    error        // sticky; not set by io.EOF
}

func (s *client) Read(p []byte) (int, error) {
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
	if err != nil && s.ranged == nil {
		s.share.AllArrived()
	}
	if err != nil && err != io.EOF {
		s.err = &SourceError{Err: err}
		err = s.err
	}
	return n, err
}

// windowSource is the compressed bytes of one entry in the window.
type windowSource struct {
	in   *Window
	left int64     // bytes that may still be read
	tee  io.Writer // gets the entry's bytes; may be nil
	err  error     // of the window or of tee; sticky
}

// Peek implements [source].
func (s *windowSource) Peek() ([]byte, error) {
	if s.err == nil && s.left == 0 {
		return nil, io.EOF
	}
	var b []byte
	if s.err == nil {
		b, s.err = s.in.buffered(min(s.left, inputSize))
	}
	return b, s.err
}

// Discard implements [source].
func (s *windowSource) Discard(n int) {
	if s.err != nil || n == 0 {
		return
	}
	if s.tee != nil {
		b, _ := s.in.Peek(n) // cannot fail: it is buffered
		if _, s.err = s.tee.Write(b); s.err != nil {
			return
		}
	}
	s.in.Discard(n)
	s.left -= int64(n)
}

// bodySource is the compressed bytes of one entry in its body, or in one part of it. The
// slices of a body in memory are its own, and valid until it is released.
type bodySource struct {
	body    Body
	at, end int64        // of the bytes that are left, in body
	turn    *budget.Turn // of the goroutine that reads

	buf    []byte // of a body on disk
	filled []byte // what of buf is next
}

// Peek implements [source].
func (s *bodySource) Peek() ([]byte, error) {
	if s.at == s.end {
		return nil, io.EOF
	}
	if m, ok := s.body.(interface{ Bytes() []byte }); ok && m.Bytes() != nil {
		return m.Bytes()[s.at:min(s.end, s.at+inputSize)], nil
	}
	if len(s.filled) == 0 {
		if s.buf == nil {
			s.buf = make([]byte, inputSize)
		}
		b := s.buf[:min(s.end-s.at, inputSize)]
		resume := s.turn.Pause()
		n, err := s.body.ReadAt(b, s.at)
		if resume(); n < len(b) {
			return nil, err
		}
		s.filled = b
	}
	return s.filled, nil
}

// Discard implements [source].
func (s *bodySource) Discard(n int) {
	s.at += int64(n)
	s.filled = s.filled[min(n, len(s.filled)):]
}
