package upload

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"slices"
	"strings"

	"spillway/fetch"
)

// Limits of a form around its archive.
const (
	maxFormParts  = 100      // of any kind
	maxPartHeader = 64 << 10 // bytes of one part's header fields
	maxFields     = 1 << 20  // bytes of the values of all fields before the archive
	maxURLForm    = 64 << 10 // bytes of a form without files
	maxBoundary   = 70       // characters (RFC 2046, section 5.1.1)

	// besideHeader bounds what is read together with a part's header fields, in bytes: the
	// boundary, what is before it, and what the multipart reader reads ahead.
	besideHeader = 16 << 10

	// formOverhead bounds the size of the form without the archive, in bytes.
	formOverhead = 1 << 20

	// formBuffer is the size of a read from the body, in bytes.
	formBuffer = 64 << 10
)

var (
	errNotForm  = errors.New("upload: not a multipart form")
	errNoFile   = errors.New("upload: the form has neither a file nor a URL")
	errTryLate  = errors.New("upload: the field try comes after the archive")
	errFormCut  = errors.New("upload: the body ends before the form's closing boundary")
	errFormPart = errors.New("upload: a part of the form has no valid Content-Disposition")
)

// A formError says that a form violates RFC 2046.
type formError struct {
	err error
}

func (e *formError) Error() string { return "upload: malformed form: " + e.err.Error() }
func (e *formError) Unwrap() error { return e.err }

// An encodingError says that a part of the form, or the whole request if part is empty, is
// encoded.
type encodingError struct {
	part     string
	encoding string
}

func (e *encodingError) Error() string {
	return fmt.Sprintf("upload: part %q has the encoding %q", e.part, e.encoding)
}

// A formLimitError says that a form exceeds one of its limits.
type formLimitError struct {
	what  string // e.g. "parts"
	limit int64
}

func (e *formLimitError) Error() string {
	return fmt.Sprintf("upload: a form with more than %d %s", e.limit, e.what)
}

// boundaryOf returns the boundary of a form's content type. It is empty for
// application/x-www-form-urlencoded, whose forms have no files.
func boundaryOf(contentType string) (string, error) {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err == nil && mediaType == "application/x-www-form-urlencoded" {
		return "", nil
	}
	boundary := params["boundary"]
	if err != nil || mediaType != "multipart/form-data" || boundary == "" || len(boundary) > maxBoundary {
		return "", errNotForm
	}
	return boundary, nil
}

// form reads a multipart/form-data body (RFC 7578) in one pass: the fields before the
// archive, the archive, and what comes after it.
type form struct {
	in     *bufio.Reader // of the body
	raw    *rawForm
	parts  *multipart.Reader
	count  int
	fields int64 // bytes left for the values of fields before the archive

	try bool   // the archive has try symbols: a field try had a value, or the token says so
	url string // the value of the last field url
}

// newForm returns a reader of a form. If onlyTry is set, the archive has try symbols whatever
// the form says.
func newForm(body io.Reader, boundary string, onlyTry bool) *form {
	in := bufio.NewReaderSize(body, formBuffer)
	raw := newRawForm(in, boundary)
	return &form{in: in, raw: raw, parts: multipart.NewReader(raw, boundary), fields: maxFields, try: onlyTry}
}

// A filePart is the part of a form with the archive.
type filePart struct {
	field, filename string
	content         io.Reader
}

// part is a part of a form. If it has a filename, it is a file.
type part struct {
	*multipart.Part
	name, filename string
}

// file reads the form up to the content of its first file. If there is no file but a URL, it
// reads the whole form and returns nil.
func (f *form) file() (*filePart, error) {
	for {
		p, err := f.next()
		switch {
		case err != nil:
			return nil, err
		case p == nil && f.url != "":
			return nil, f.end()
		case p == nil:
			return nil, errNoFile
		case p.filename != "":
			return &filePart{field: p.name, filename: baseName(p.filename), content: partReader{f, p.Part}}, nil
		}
		if err := f.field(p); err != nil {
			return nil, err
		}
	}
}

// field reads a part that is not a file.
func (f *form) field(p *part) error {
	var value strings.Builder
	kept := int64(0)
	if p.name == "url" {
		kept = fetch.MaxURL + 1 // longer ones are refused anyway
	}
	content := io.LimitReader(p, f.fields+1)
	length, err := io.Copy(&value, io.LimitReader(content, kept))
	if err == nil {
		var more int64
		more, err = io.Copy(io.Discard, content)
		length += more
	}
	if err != nil {
		return f.explain(err)
	}
	if f.fields -= length; f.fields < 0 {
		return &formLimitError{what: "bytes of fields before the archive", limit: maxFields}
	}
	f.try = f.try || length > 0 && p.name == "try"
	if value.Len() > 0 {
		f.url = value.String()
	}
	return nil
}

// finish reads what comes after the archive, to the end of the body. It returns nil only if
// the closing boundary has come and the body has ended. A field try is an error here, unless
// the archive has try symbols anyway.
func (f *form) finish() error {
	for {
		p, err := f.next()
		if err != nil {
			return err
		}
		if p == nil {
			break
		}
		length, err := io.Copy(io.Discard, p)
		if err != nil {
			return f.explain(err)
		}
		if length > 0 && p.name == "try" && p.filename == "" && !f.try {
			return errTryLate
		}
	}
	return f.end()
}

// end reads what comes after the closing boundary, to the end of the body.
func (f *form) end() error {
	if _, err := io.Copy(io.Discard, f.raw); err != nil {
		return f.explain(err)
	}
	return nil
}

// next returns the next part, or nil after the closing boundary.
func (f *form) next() (*part, error) {
	tooLong := &formLimitError{what: "bytes in the header of a part", limit: maxPartHeader}
	f.raw.allow(maxPartHeader+besideHeader, tooLong)
	raw, err := f.parts.NextRawPart()
	f.raw.allow(math.MaxInt64, nil)
	if err == io.EOF && f.raw.closed { //nolint:errorlint // a cut-off body returns a wrapped io.EOF
		return nil, nil
	}
	if err != nil {
		// This may be a plain io.EOF, if the body ends within a part's header.
		return nil, f.explain(err)
	}
	if f.count++; f.count > maxFormParts {
		return nil, &formLimitError{what: "parts", limit: maxFormParts}
	}
	if fieldsLength(raw.Header) > maxPartHeader {
		return nil, tooLong
	}
	disposition, params, err := mime.ParseMediaType(raw.Header.Get("Content-Disposition"))
	if err != nil || disposition != "form-data" {
		return nil, errFormPart
	}
	if encoding := raw.Header.Get("Content-Transfer-Encoding"); isEncoded(encoding, "7bit", "8bit", "binary") {
		return nil, &encodingError{params["name"], encoding}
	}
	return &part{Part: raw, name: params["name"], filename: params["filename"]}, nil
}

// isEncoded reports whether encoding is none of those that leave bytes as they are.
func isEncoded(encoding string, identities ...string) bool {
	return encoding != "" && !slices.ContainsFunc(identities, func(identity string) bool {
		return strings.EqualFold(identity, strings.TrimSpace(encoding))
	})
}

// explain translates an error of the multipart reader.
func (f *form) explain(err error) error {
	switch {
	case f.raw.err != nil:
		return f.raw.err
	case f.raw.ended && f.raw.count == 0:
		return errNoFile
	case f.raw.ended && !f.raw.closed:
		return errFormCut
	}
	return &formError{err}
}

// fieldsLength returns the length of header fields in bytes, with their line ends (RFC 5322,
// section 2.2).
func fieldsLength(fields map[string][]string) (n int) {
	for name, values := range fields {
		for _, value := range values {
			n += len(name) + len(": ") + len(value) + len("\r\n")
		}
	}
	return n
}

// baseName returns the last element of a filename. Old clients send the whole path (RFC 7578,
// section 4.2).
func baseName(filename string) string {
	return filename[strings.LastIndexAny(filename, `/\`)+1:]
}

// partReader reads the content of a part. It returns io.EOF only if a boundary follows. Once
// the body has failed or was cut off, it returns no more bytes: the multipart reader would
// return the bytes of a boundary that was cut off as content.
type partReader struct {
	form *form
	part *multipart.Part
}

func (r partReader) Read(p []byte) (n int, err error) {
	// The multipart reader returns at most 4 KiB at a time. What has arrived already, except
	// the end that may be a boundary, is read in one call.
	for {
		var more int
		more, err = r.read(p[n:])
		n += more
		if err != nil || n == len(p) || r.form.in.Buffered() < besideHeader {
			return n, err
		}
	}
}

// read is Read for what the multipart reader returns at once.
func (r partReader) read(p []byte) (int, error) {
	n, err := r.part.Read(p)
	raw := r.form.raw
	switch {
	case raw.err != nil || raw.ended && !raw.closed:
		return 0, r.form.explain(io.ErrUnexpectedEOF)
	case err != nil && err != io.EOF: //nolint:errorlint // a Reader returns io.EOF unwrapped
		err = r.form.explain(err)
	}
	return n, err
}
