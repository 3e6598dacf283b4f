package upload

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"testing"
	"testing/iotest"
)

// FuzzForm reads bodies in one piece and byte by byte, which must make no difference. It
// compares the forms that it accepts with the standard library's reader.
func FuzzForm(f *testing.F) {
	file := formPart{"a.zip", "b.zip", []byte("Z\r\nI\r\n--P")}
	for _, parts := range [][]formPart{{file}, {{"try", "", []byte("1")}, file}, {file, {"try", "", nil}}, {{"url", "", []byte("https://x")}}, {file, file}, {}} {
		form := encode(parts...)
		f.Add(form)
		f.Add(form[:len(form)/2])
		f.Add(append([]byte("preamble\r\n"), form...))
		f.Add(bytes.ReplaceAll(form, []byte("form-data"), []byte("form-data;;")))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		field, filename, content, try, err := readForm(bytes.NewReader(body))
		field1, filename1, content1, try1, err1 := readForm(iotest.OneByteReader(bytes.NewReader(body)))
		if (err == nil) != (err1 == nil) || err == nil && (field != field1 || filename != filename1 || content != content1 || try != try1) {
			t.Fatalf("%q %q %q %t %v, byte by byte %q %q %q %t %v", field, filename, content, try, err, field1, filename1, content1, try1, err1)
		}
		if err != nil {
			return
		}
		parts := multipart.NewReader(bytes.NewReader(body), boundary)
		for {
			p, err := parts.NextRawPart()
			if errors.Is(err, io.EOF) {
				t.Fatalf("took the file %q, and the library sees none", filename)
			}
			if err != nil {
				t.Fatalf("took what the library refuses: %v", err)
			}
			if p.FileName() == "" {
				continue
			}
			if want, err := io.ReadAll(p); err != nil || content != string(want) {
				t.Fatalf("content %q, the library says %q, %v", content, want, err)
			}
			return
		}
	})
}
