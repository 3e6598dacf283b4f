package upload

import "io"

// A source is what an upload reads its archive from.
type source interface {
	// Read reads the archive. It returns io.EOF only where the archive is complete
	// as far as the source can tell.
	io.Reader

	// Size is the most bytes that the archive can have; 0 if that is not known.
	Size() int64

	// End reads what follows the archive, once Read has returned io.EOF. Nothing of the
	// archive may be published unless End returns nil, which means that the source is
	// complete and that nothing in it contradicts how the archive was stored.
	End() error

	// Close ends the source. It is the last call.
	Close()
}

// formSource is a form that has the archive in a file. It ends with its closing
// boundary and the end of the request's body.
type formSource struct {
	form    *form
	content io.Reader // of the file
	size    int64     // of the whole form, in bytes; 0 if that is not known
}

func (s *formSource) Read(p []byte) (int, error) { return s.content.Read(p) }
func (s *formSource) Size() int64                { return s.size }
func (s *formSource) End() error                 { return s.form.finish() }
func (s *formSource) Close()                     {}
