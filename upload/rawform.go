package upload

import (
	"bytes"
	"io"
)

// rawForm is the body that a multipart reader reads. The multipart reader has few limits, and
// takes some cut-off bodies for complete: rawForm limits what it reads and watches for the
// closing boundary.
type rawForm struct {
	src   io.Reader
	count int64
	ended bool  // the body has ended without an error
	err   error // an error of Read other than io.EOF

	left int64 // bytes that may be read before the next call of allow
	over error // the error of reading more

	closing []byte // the closing boundary, with the end of the line before it
	tail    []byte // the last bytes that were read, fewer than closing has
	closed  bool   // closing was read
}

func newRawForm(src io.Reader, boundary string) *rawForm {
	return &rawForm{
		src:     src,
		closing: []byte("\n--" + boundary + "--"),
		tail:    []byte("\n"), // the body begins at the start of a line
	}
}

// allow allows n more bytes to be read. Reading more is the error over.
func (r *rawForm) allow(n int64, over error) { r.left, r.over = n, over }

// Read keeps its error. The multipart reader reports an error in the middle of a header as a
// malformed header.
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

// watch looks for the closing boundary in p, which follows r.tail.
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
