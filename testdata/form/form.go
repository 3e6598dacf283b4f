// Package form makes the multipart form in which clients send an archive.
package form

import (
	"bytes"
	"io"
	"mime/multipart"
)

// Form is a multipart form with one file. Its body is Head, the file, and Tail.
type Form struct {
	ContentType string
	Head, Tail  []byte
}

// New returns a form for a file called symbols.zip.
func New() Form {
	var head bytes.Buffer
	w := multipart.NewWriter(&head)
	if _, err := w.CreateFormFile("symbols.zip", "symbols.zip"); err != nil {
		panic(err) // writing to memory does not fail
	}
	return Form{
		ContentType: w.FormDataContentType(),
		Head:        head.Bytes(),
		Tail:        []byte("\r\n--" + w.Boundary() + "--\r\n"),
	}
}

// Length returns the length of the body with a file of size bytes.
func (f Form) Length(size int64) int64 { return int64(len(f.Head)) + size + int64(len(f.Tail)) }

// Reader returns the body with that file.
func (f Form) Reader(file io.Reader) io.Reader {
	return io.MultiReader(bytes.NewReader(f.Head), file, bytes.NewReader(f.Tail))
}

// Bytes returns the body with that file.
func (f Form) Bytes(file []byte) []byte { return bytes.Join([][]byte{f.Head, file, f.Tail}, nil) }
