// Package pieces hands out data in pieces, to test decoders that borrow their input.
package pieces

import (
	"bytes"
	"io"
)

// Source hands out Data in pieces. It overwrites a piece as soon as the piece is no
// longer valid, so that a decoder that holds on to one decodes nonsense.
type Source struct {
	Data []byte
	At   int   // bytes discarded so far
	Most int   // the size of the largest piece, in bytes
	Err  error // the error at the end of Data; nil means io.EOF

	lent []byte
}

// Peek returns the next piece. It is valid until the next call of Peek.
func (s *Source) Peek() ([]byte, error) {
	for i := range s.lent {
		s.lent[i] = 0xAA
	}
	if s.At == len(s.Data) {
		if s.Err != nil {
			return nil, s.Err
		}
		return nil, io.EOF
	}
	s.lent = bytes.Clone(s.Data[s.At:min(len(s.Data), s.At+s.Most)])
	return s.lent, nil
}

// Discard moves on by n bytes of the last piece. It panics if the piece has fewer.
func (s *Source) Discard(n int) {
	if n > len(s.lent) {
		panic("more bytes are discarded than were handed out")
	}
	s.lent = s.lent[n:]
	s.At += n
}
