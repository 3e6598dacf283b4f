package upload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"spillway/testdata/archive"
)

// errURLOnly stands for a form that has a URL instead of a file.
var errURLOnly = errors.New("a URL")

// readForm reads a whole form as an upload does.
func readForm(r io.Reader) (field, filename, content string, try bool, err error) {
	f := newForm(r, boundary, false)
	file, err := f.file()
	if err != nil {
		return "", "", "", false, err
	}
	if file == nil {
		return "", "", f.url, f.try, errURLOnly
	}
	data, err := io.ReadAll(file.content)
	if err == nil {
		err = f.finish()
	}
	return file.field, file.filename, string(data), f.try, err
}

const (
	sep    = "--" + boundary
	file   = "Content-Disposition: form-data; name=\"a.zip\"; filename=\"b\"\r\n\r\n"
	tryIt  = "Content-Disposition: form-data; name=\"try\"\r\n\r\n1"
	theEnd = "\r\n" + sep + "--\r\n"
)

// TestForms checks what is read of forms that arrive whole, byte by byte, and with io.EOF
// in the read of their last bytes.
func TestForms(t *testing.T) {
	field := func(name, value string) string {
		return sep + "\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	malformed := &formError{}
	tooMuch := &formLimitError{}
	for _, c := range []struct {
		name, body string
		content    string
		try        bool
		err        error
	}{
		{"a file", sep + "\r\n" + file + "ZIP" + theEnd, "ZIP", false, nil},
		{"an empty file", sep + "\r\n" + file + theEnd, "", false, nil},
		{"no line end after the closing boundary", sep + "\r\n" + file + "ZIP\r\n" + sep + "--", "ZIP", false, nil},
		{"spaces after the boundaries", sep + " \t\r\n" + file + "ZIP\r\n" + sep + "-- \r\n", "ZIP", false, nil},
		{"a preamble", "hello\r\n" + sep + "\r\n" + file + "ZIP" + theEnd, "ZIP", false, nil},
		{"an epilogue", sep + "\r\n" + file + "ZIP" + theEnd + "good\r\nbye", "ZIP", false, nil},
		{"a long epilogue", sep + "\r\n" + file + "ZIP" + theEnd + strings.Repeat("bye\n", 100_000), "ZIP", false, nil},
		{"lines that end in LF", strings.ReplaceAll(sep+"\r\n"+file+"ZIP"+theEnd, "\r\n", "\n"), "ZIP", false, nil},
		{"a part whose encoding changes nothing", sep + "\r\nContent-Transfer-Encoding: BINARY\r\n" + file + "ZIP" + theEnd, "ZIP", false, nil},
		{"a part in quoted-printable", sep + "\r\nContent-Transfer-Encoding: quoted-printable\r\n" + file + "=41=" + theEnd, "", false, &encodingError{"a.zip", "quoted-printable"}},
		{"a part in base64", sep + "\r\nContent-Transfer-Encoding: base64\r\n" + file + "UEsDBA==" + theEnd, "", false, &encodingError{"a.zip", "base64"}},
		{"content that looks like a boundary", sep + "\r\n" + file + "\r\n" + sep + "x\r\n" + sep[1:] + "--\r\n" + theEnd, "\r\n" + sep + "x\r\n" + sep[1:] + "--\r\n", false, nil},
		{"two files: the first counts", sep + "\r\n" + file + "ZIP\r\n" + sep + "\r\n" + file + "RAR" + theEnd, "ZIP", false, nil},

		{"try before", field("try", "1") + sep + "\r\n" + file + "ZIP" + theEnd, "ZIP", true, nil},
		{"try before, empty", field("try", "") + sep + "\r\n" + file + "ZIP" + theEnd, "ZIP", false, nil},
		{"try after", sep + "\r\n" + file + "ZIP\r\n" + sep + "\r\n" + tryIt + theEnd, "", false, errTryLate},
		{"try after, empty", sep + "\r\n" + file + "ZIP\r\n" + field("try", "") + sep + "--", "ZIP", false, nil},
		{"try before and after", field("try", "1") + sep + "\r\n" + file + "ZIP\r\n" + sep + "\r\n" + tryIt + theEnd, "ZIP", true, nil},
		{"url and a file", field("url", "https://x") + sep + "\r\n" + file + "ZIP" + theEnd, "ZIP", false, nil},
		{"url only", field("url", "https://x") + sep + "--\r\n", "", false, errURLOnly},
		{"url only, empty", field("url", "") + sep + "--\r\n", "", false, errNoFile},
		{"fields only", field("x", "y") + sep + "--\r\n", "", false, errNoFile},
		{"no part", sep + "--\r\n", "", false, errNoFile},
		{"an empty body", "", "", false, errNoFile},
		{"filename empty", sep + "\r\nContent-Disposition: form-data; name=\"a.zip\"; filename=\"\"\r\n\r\nZIP" + theEnd, "", false, errNoFile},
		{"99 fields", strings.Repeat(field("x", "y"), 99) + sep + "\r\n" + file + "ZIP" + theEnd, "ZIP", false, nil},
		{"100 fields", strings.Repeat(field("x", "y"), 100) + sep + "\r\n" + file + "ZIP" + theEnd, "", false, tooMuch},
		{"a field of under 1 MiB", field("x", strings.Repeat("y", 1<<20-8<<10)) + sep + "\r\n" + file + "ZIP" + theEnd, "ZIP", false, nil},
		{"a field of over 1 MiB", field("x", strings.Repeat("y", 1<<20+8<<10)) + sep + "\r\n" + file + "ZIP" + theEnd, "", false, tooMuch},
		{"fields of over 1 MiB together", strings.Repeat(field("x", strings.Repeat("y", 300<<10)), 4) + sep + "\r\n" + file + "ZIP" + theEnd, "", false, tooMuch},
		{"a huge field after the archive", sep + "\r\n" + file + "ZIP\r\n" + field("x", strings.Repeat("y", 3<<20)) + sep + "--", "ZIP", false, nil},
		{"a huge header", sep + "\r\nX: " + strings.Repeat("y", 80<<10) + "\r\n" + file + "ZIP" + theEnd, "", false, tooMuch},
		{"a huge header after the archive", sep + "\r\n" + file + "ZIP\r\n" + sep + "\r\nX: " + strings.Repeat("y", 80<<10) + "\r\n" + tryIt + theEnd, "", false, tooMuch},
		{"a huge preamble", strings.Repeat("hello\r\n", 12<<10) + sep + "\r\n" + file + "ZIP" + theEnd, "", false, tooMuch},

		{"no Content-Disposition", sep + "\r\n\r\nZIP" + theEnd, "", false, errFormPart},
		{"a malformed Content-Disposition", sep + "\r\nContent-Disposition: form-data; name=\"a\r\n\r\nZIP" + theEnd, "", false, errFormPart},
		{"another disposition", sep + "\r\nContent-Disposition: attachment; filename=\"a.zip\"\r\n\r\nZIP" + theEnd, "", false, errFormPart},
		{"a malformed one after the archive", sep + "\r\n" + file + "ZIP\r\n" + sep + "\r\nContent-Disposition: ;\r\n\r\n" + theEnd, "", false, errFormPart},
		{"a header without a colon", sep + "\r\nnonsense\r\n\r\nZIP" + theEnd, "", false, malformed},
		{"something behind the closing boundary", sep + "\r\n" + file + "ZIP\r\n" + sep + "--x\r\n", "", false, malformed},

		{"cut in the first boundary", sep[:9], "", false, errFormCut},
		{"cut in a header", sep + "\r\n" + file[:30], "", false, errFormCut},
		{"cut after a header line", sep + "\r\nContent-Disposition: form-data\r\n", "", false, errFormCut},
		{"cut in the archive", sep + "\r\n" + file + "ZI", "", false, errFormCut},
		{"cut before a boundary", sep + "\r\n" + file + "ZIP\r\n", "", false, errFormCut},
		{"cut after --boundary", sep + "\r\n" + file + "ZIP\r\n" + sep, "", false, errFormCut},
		{"cut after --boundary-", sep + "\r\n" + file + "ZIP\r\n" + sep + "-", "", false, errFormCut},
		{"cut after --boundary and a line end", sep + "\r\n" + file + "ZIP\r\n" + sep + "\r\n", "", false, errFormCut},
		{"cut in the header after the archive", sep + "\r\n" + file + "ZIP\r\n" + sep + "\r\nContent-Disposition: form-data; name=\"x\"\r\n", "", false, errFormCut},
		{"cut in the field after the archive", sep + "\r\n" + file + "ZIP\r\n" + sep + "\r\n" + tryIt, "", false, errFormCut},
	} {
		for way, r := range map[string]io.Reader{
			"whole":        strings.NewReader(c.body),
			"byte by byte": iotest.OneByteReader(strings.NewReader(c.body)),
			"end at once":  iotest.DataErrReader(strings.NewReader(c.body)),
		} {
			if way == "byte by byte" && len(c.body) > 16<<10 {
				continue
			}
			_, _, content, try, err := readForm(r)
			if c.err == nil && (content != c.content || try != c.try) {
				t.Errorf("%s, %s: content %q, try %t, want %q, %t", c.name, way, content, try, c.content, c.try)
			}
			ok := errors.Is(err, c.err)
			switch c.err {
			case malformed: //nolint:errorlint // the wanted error is never wrapped
				_, ok = errors.AsType[*formError](err)
			case tooMuch:
				_, ok = errors.AsType[*formLimitError](err)
			}
			if want, encoded := errors.AsType[*encodingError](c.err); encoded {
				got, _ := errors.AsType[*encodingError](err)
				ok = got != nil && *got == *want
			}
			if !ok {
				t.Errorf("%s, %s: %v, want %v", c.name, way, err, c.err)
			}
		}
	}
}

// TestEveryPrefixOfAForm checks that a form is complete only as a whole.
func TestEveryPrefixOfAForm(t *testing.T) {
	form := encode(formPart{"x", "", []byte("y")}, formPart{"a.zip", "b", []byte("Z\r\nI\r\n--P")}, formPart{"z", "", []byte("z")})
	whole := len(form) - len("\r\n") // the last line needs no line end
	for n := range len(form) + 1 {
		for way, r := range map[string]io.Reader{
			"whole":        bytes.NewReader(form[:n]),
			"byte by byte": iotest.OneByteReader(bytes.NewReader(form[:n])),
		} {
			_, _, content, _, err := readForm(r)
			if (err == nil) != (n == whole || n == len(form)) {
				t.Fatalf("%d of %d bytes, %s: %v", n, len(form), way, err)
			}
			if err == nil && content != "Z\r\nI\r\n--P" {
				t.Fatalf("%d of %d bytes, %s: content %q", n, len(form), way, content)
			}
		}
	}
}

// TestFormsOfABodyThatFails checks that the body's error is returned, wherever it happens.
func TestFormsOfABodyThatFails(t *testing.T) {
	form := encode(formPart{"x", "", []byte("y")}, formPart{"a.zip", "b", []byte("ZIP")}, formPart{"z", "", []byte("z")})
	gone := &goneError{io.ErrUnexpectedEOF}
	for n := range len(form) + 1 {
		_, _, _, _, err := readForm(io.MultiReader(bytes.NewReader(form[:n]), iotest.ErrReader(gone)))
		if e, ok := errors.AsType[*goneError](err); !ok || e != gone {
			t.Fatalf("after %d of %d bytes: %v, want what the body said", n, len(form), err)
		}
	}
}

func TestFileNames(t *testing.T) {
	for filename, want := range map[string]string{
		"a.zip": "a.zip", "/tmp/a.zip": "a.zip", `C:\\tmp\\a.zip`: "a.zip", "symböl.zip": "symböl.zip",
	} {
		body := fmt.Sprintf("%s\r\nContent-Disposition: form-data; name=\"x\"; filename=\"%s\"\r\n\r\nZIP%s", sep, filename, theEnd)
		if _, got, _, _, err := readForm(strings.NewReader(body)); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", filename, got, err, want)
		}
	}
}

func TestBoundaryOf(t *testing.T) {
	for contentType, want := range map[string]string{
		"multipart/form-data; boundary=abc":                        "abc",
		"Multipart/Form-Data; charset=utf-8; boundary=\"a b\"":     "a b",
		"multipart/form-data; boundary=" + strings.Repeat("b", 70): strings.Repeat("b", 70),
		"multipart/form-data; boundary=" + strings.Repeat("b", 71): "",
		"multipart/form-data":                                      "",
		"multipart/form-data; boundary=":                           "",
		"multipart/mixed; boundary=abc":                            "",
		"application/zip":                                          "",
		"":                                                         "",
		"multipart/form-data; boundary=abc; boundary=def":          "",
	} {
		got, err := boundaryOf(contentType)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", contentType, got, err, want)
		}
	}
}

func BenchmarkForm(b *testing.B) {
	content := archive.Noise(1, 16<<20)
	form := encode(formPart{"a.zip", "b", content})
	b.SetBytes(int64(len(form)))
	buf := make([]byte, 64<<10)
	for b.Loop() {
		f := newForm(bytes.NewReader(form), boundary, false)
		file, err := f.file()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, file.content, buf); err != nil {
			b.Fatal(err)
		}
		if err := f.finish(); err != nil {
			b.Fatal(err)
		}
	}
}
