package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"spillway/testdata/archive"
)

// The limit of the servers, and the sizes of the uploads, in MiB. They are much more than all
// buffers between a client and the server hold.
const (
	maxUpload = 224
	before    = 24 // what is right in an archive
	rest      = 184
	huge      = 256
)

// formType is the Content-Type of the forms.
const (
	boundary = "spillway-clients"
	formType = "multipart/form-data; boundary=" + boundary
)

// token is that of the clients.
const token = "dev"

// refusal is an upload that is refused while it is sent.
type refusal struct {
	name    string
	status  int
	text    string // in the field error of the answer
	token   string
	archive string // path
	form    string // path: the archive in a form, for clients that make none
}

// makeRefusals writes the uploads to the folder, as sparse files.
func makeRefusals(folder string) ([]refusal, error) {
	zeros := func(mebibytes int) *archive.Pattern {
		return &archive.Pattern{Block: make([]byte, 1<<20), Times: mebibytes}
	}
	first := archive.Entry{Name: "a.so/1/a.so", Large: zeros(before)}
	bad := archive.Archive{Entries: []archive.Entry{first, {Name: "nonsense", Large: zeros(rest)}}}
	large := archive.Archive{Entries: []archive.Entry{{Name: "a.so/1/a.so", Large: zeros(huge)}}}
	refusals := []refusal{
		{name: "403", status: 403, text: "This requires an Auth-Token", archive: "bad"},
		{name: "400", status: 400, text: "Unrecognized file pattern", token: token, archive: "bad"},
		{name: "413", status: 413, text: "--max-upload-size", token: token, archive: "large"},
	}
	for name, a := range map[string]archive.Archive{"bad": bad, "large": large} {
		if err := writeUpload(folder, name, a); err != nil {
			return nil, err
		}
	}
	for i := range refusals {
		r := &refusals[i]
		// In a folder of its own: Mono sends the name of the file, and no other.
		r.archive, r.form = filepath.Join(folder, r.archive, "symbols.zip"), filepath.Join(folder, r.archive, "form")
	}
	return refusals, nil
}

// writeUpload writes an archive and its form.
func writeUpload(folder, name string, a archive.Archive) error {
	folder = filepath.Join(folder, name)
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	head := "--" + boundary + "\r\nContent-Disposition: form-data; name=\"symbols.zip\"; filename=\"symbols.zip\"\r\n\r\n"
	tail := "\r\n--" + boundary + "--\r\n"
	return errors.Join(
		writeSparse(filepath.Join(folder, "symbols.zip"), a.Reader()),
		writeSparse(filepath.Join(folder, "form"), io.MultiReader(strings.NewReader(head), a.Reader(), strings.NewReader(tail))),
	)
}

// writeSparse writes a file with holes where its content is zeros.
func writeSparse(path string, content io.Reader) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	piece, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	var size int64
	for {
		n, err := io.ReadFull(content, piece)
		if !bytes.Equal(piece[:n], zeros[:n]) {
			if _, err := file.WriteAt(piece[:n], size); err != nil {
				return err
			}
		}
		size += int64(n)
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return file.Truncate(size)
		case err != nil:
			return err
		}
	}
}
