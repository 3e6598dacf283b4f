package stream

import (
	"bufio"
	"context"
	"io"
)

// inputSize is the size of an archive's read buffer in bytes: room for a local
// header with the longest name and extra fields, and for a prefix to search.
const inputSize = 128 << 10

// lastLen is how many bytes an input remembers.
const lastLen = locator64Len

// input is the archive as it arrives.
type input struct {
	br     *bufio.Reader
	src    *source
	offset int64  // bytes consumed
	last   []byte // the last bytes consumed, at most lastLen
}

func newInput(ctx context.Context, r io.Reader) *input {
	src := &source{ctx: ctx, r: r}
	return &input{br: bufio.NewReaderSize(src, inputSize), src: src, last: make([]byte, 0, 2*lastLen)}
}

// source tells the failures of a reader from its end, and stops when its
// context does.
type source struct {
	ctx context.Context
	r   io.Reader
	err error // anything but the clean end
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = &SourceError{Err: err}
		err = s.err
	}
	return n, err
}

// peek returns the next n bytes without consuming them, fewer only at the end
// of the archive. They are valid until the next call.
func (in *input) peek(n int) ([]byte, error) {
	b, err := in.br.Peek(n)
	if err != nil && in.src.err != nil {
		return nil, in.src.err
	}
	return b, nil
}

// need is peek for bytes that must be there.
func (in *input) need(n int) ([]byte, error) {
	b, err := in.peek(n)
	if err == nil && len(b) < n {
		err = ErrNotZip
	}
	return b, err
}

// buffered returns what can be had without waiting, at least a byte and at
// most limit bytes; ErrNotZip at the end of the archive.
func (in *input) buffered(limit int64) ([]byte, error) {
	if _, err := in.need(1); err != nil {
		return nil, err
	}
	return in.br.Peek(int(min(int64(in.br.Buffered()), limit)))
}

// skip consumes n bytes that peek, need or buffered returned.
func (in *input) skip(n int) {
	b, _ := in.br.Peek(n)
	in.consumed(b)
	_, _ = in.br.Discard(n)
}

// readFull fills p; ErrNotZip if the archive ends before.
func (in *input) readFull(p []byte) error {
	for len(p) > 0 {
		n, err := in.br.Read(p)
		in.consumed(p[:n])
		p = p[n:]
		switch {
		case len(p) == 0:
		case in.src.err != nil:
			return in.src.err
		case err != nil:
			return ErrNotZip
		}
	}
	return nil
}

func (in *input) consumed(b []byte) {
	in.offset += int64(len(b))
	in.last = append(in.last, b[max(0, len(b)-lastLen):]...)
	if over := len(in.last) - lastLen; over > 0 {
		in.last = append(in.last[:0], in.last[over:]...)
	}
}

// packed is the compressed bytes of one entry, read from the archive as they
// arrive. Only what is known to be the entry's is consumed.
type packed struct {
	in   *input
	left int64     // bytes that may still be read
	tee  io.Writer // gets the entry's bytes; may be nil
	n    int64     // bytes consumed

	pending int   // bytes handed out, but not consumed yet
	err     error // what reading the archive or tee failed with
}

func (p *packed) Read(b []byte) (int, error) {
	if p.consume(p.pending); p.err != nil {
		return 0, p.err
	}
	if p.left == 0 {
		return 0, io.EOF
	}
	next, err := p.in.buffered(min(p.left, int64(len(b))))
	if err != nil {
		p.err = err
		return 0, err
	}
	p.pending = copy(b, next)
	return p.pending, nil
}

// end consumes what was read but for the last surplus bytes.
func (p *packed) end(surplus int) error {
	p.consume(p.pending - surplus)
	return p.err
}

func (p *packed) consume(n int) {
	p.pending = 0
	if p.err != nil || n == 0 {
		return
	}
	b, _ := p.in.br.Peek(n)
	if p.tee != nil {
		if _, p.err = p.tee.Write(b); p.err != nil {
			return
		}
	}
	p.in.skip(n)
	p.n += int64(n)
	p.left -= int64(n)
}
