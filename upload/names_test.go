package upload

import (
	"errors"
	"strings"
	"testing"

	"spillway/stream"
)

var testRules = nameRules{disallowed: []string{"qcom/proprietary"}, gzipped: []string{".sym"}, max: 40}

func TestWhatBecomesOfNames(t *testing.T) {
	for name, want := range map[string]stream.Form{
		"app.pdb/ABC1/app.sym":             stream.Gzip,
		"app.pdb/ABC1/APP.SYM":             stream.Gzip,
		"app.pdb/ABC1/app.sym.gz":          stream.AsIs,
		"app.pdb/ABC1/appsym":              stream.AsIs,
		"app.pdb/0/a":                      stream.AsIs,
		"app.pdb/0123456789abcdefABCDEF/a": stream.AsIs,
		"a b+(c)~=@!$&*,;:?/1/€ ẞ 😀":       stream.AsIs,
		"build-symbols.txt":                stream.Ignore,
		"Build-SYMBOLS.TXT":                stream.Ignore,
		".DS_Store":                        stream.Ignore,
		"a/b/c/d/.DS_Store":                stream.Ignore,
		strings.Repeat("m", 36) + "/1/s":   stream.AsIs, // 40 bytes
	} {
		if got, err := testRules.form(name); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", name, got, err, want)
		}
	}
}

func TestNamesThatAreNoSymbolKey(t *testing.T) {
	names := []string{
		"", "a", "a/1", "a/1/b/c", "/1/b", "a//b", "a/1/", "/a/1/b", "a/g1/b", "a/ 1/b", "a/-1/b",
		"./1/b", "../1/b", "a/1/.", "a/1/..",
		"a/1/b-symbols.txt/c", "dir/build-symbols.txt", "-symbols.txt", "symbols.txt", ".DS_Store/1", ".ds_store",
		"a/1/\xff", "\xc3/1/a", "a/1/\xed\xa0\x80",
	}
	for _, c := range "\\^`><{}[]#%\"'|" + "\x00\x1f\x7f\u0080\u00ff" {
		names = append(names, "a"+string(c)+"/1/b", "a/1/b"+string(c))
	}
	for _, name := range names {
		_, err := testRules.form(name)
		if e, ok := errors.AsType[*patternError](err); !ok || e.name != name {
			t.Errorf("%q: %v, want a pattern error", name, err)
		}
	}
	for _, name := range []string{"a/1/b\u0100", "a/1/b\x20", "a\x7e/1/b"} {
		if _, err := testRules.form(name); err != nil {
			t.Errorf("%q, next to what is refused: %v", name, err)
		}
	}
}

func TestDisallowedSnippetComesFirst(t *testing.T) {
	for _, name := range []string{"qcom/proprietary/x", "x/qcom/proprietary/.DS_Store", "no/key/qcom/proprietary"} {
		_, err := testRules.form(name)
		if e, ok := errors.AsType[*snippetError](err); !ok || e.snippet != "qcom/proprietary" {
			t.Errorf("%q: %v, want a snippet error", name, err)
		}
	}
}

func TestNameLongerThanAKey(t *testing.T) {
	_, err := testRules.form(strings.Repeat("m", 37) + "/1/s")
	if e, ok := errors.AsType[*nameLengthError](err); !ok || e.max != 40 {
		t.Errorf("41 bytes: %v, want a length error", err)
	}
}

func TestExtension(t *testing.T) {
	// As Python's os.path.splitext.
	for path, want := range map[string]string{
		"a.zip": ".zip", "a.tar.gz": ".gz", "a": "", "": "", ".zip": "", "..zip": "", ".a.zip": ".zip",
		"a.": ".", "x.y/a": "", "x.y/.zip": "", "x/a.ZIP": ".ZIP",
	} {
		if got := extension(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

func TestArchiveName(t *testing.T) {
	for _, c := range []struct{ field, filename, name, unknown string }{
		{"symbols.zip", "anything", "symbols.zip", ""},
		{"symbols.zip", "other.zip", "symbols.zip", ""},
		{"SYMBOLS.ZIP", "x.rar", "SYMBOLS.ZIP", ""},
		{"file", "symbols.zip", "symbols.zip", ""},
		{"file.v1", "symbols.Zip", "symbols.Zip", ""},
		{"symbols.rar", "blob", "symbols.rar", ".rar"},
		{"symbols.tar.gz", "symbols.tar.gz", "symbols.tar.gz", ".gz"},
		{"file", "symbols.7z", "symbols.7z", ".7z"},
		{"file", "blob", "blob", ""},
	} {
		name, err := archiveName(c.field, c.filename)
		if name != c.name {
			t.Errorf("%q, %q: name %q, want %q", c.field, c.filename, name, c.name)
		}
		e, refused := errors.AsType[*extensionError](err)
		if known := strings.HasSuffix(strings.ToLower(c.name), ".zip"); refused == known {
			t.Errorf("%q, %q: %v", c.field, c.filename, err)
		} else if refused && e.extension != c.unknown {
			t.Errorf("%q, %q: extension %q, want %q", c.field, c.filename, e.extension, c.unknown)
		}
	}
}
