package upload

import (
	"bytes"
	"io"
)

// rawForm is the body beneath a multipart reader. That reader bounds hardly
// anything and takes some bodies for complete that are not.
type rawForm struct {
	src   io.Reader
	count int64
	ended bool  // the body has ended, and in good order
	err   error // what Read returned, if not nil or io.EOF

	left int64 // bytes that may be read until the next call of allow
	over error // what reading more than that is

	closing []byte // the closing boundary, with the end of the line before it
	tail    []byte // the last bytes that were read, at most one less than closing has
	closed  bool   // closing has been seen
}

func newRawForm(src io.Reader, boundary string) *rawForm {
	return &rawForm{
		src:     src,
		closing: []byte("\n--" + boundary + "--"),
		tail:    []byte("\n"), // the body's first byte begins a line
	}
}

// allow lets n more bytes be read, and over be the error beyond them.
func (r *rawForm) allow(n int64, over error) { r.left, r.over = n, over }

// Read remembers its error: the multipart reader takes one in the middle of a
// header for a malformed header.
func (r *rawForm) Read(p []byte) (int, error) {
	if r.left <= 0 {
		r.err = r.over
		return 0, r.err
	}
	n, err := r.src.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	r.count += int64(n)
	r.watch(p[:n])
	switch {
	case err == io.EOF:
		r.ended = true
	case err != nil:
		r.err = err
	}
	return n, err
}

// watch looks for the closing boundary in what follows r.tail.
func (r *rawForm) watch(p []byte) {
	if r.closed {
		return
	}
	keep := len(r.closing) - 1
	r.tail = append(r.tail, p[:min(len(p), keep)]...)
	r.closed = bytes.Contains(r.tail, r.closing) || bytes.Contains(p, r.closing)
	if len(p) > keep {
		r.tail = append(r.tail[:0], p[len(p)-keep:]...)
	} else if len(r.tail) > keep {
		r.tail = append(r.tail[:0], r.tail[len(r.tail)-keep:]...)
	}
}
