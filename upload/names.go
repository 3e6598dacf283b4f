package upload

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"spillway/stream"
)

// A snippetError says that a name contains a disallowed snippet.
type snippetError struct {
	name, snippet string
}

func (e *snippetError) Error() string { return fmt.Sprintf("upload: a name with %q", e.snippet) }

// A patternError says that a name is not a symbol key.
type patternError struct {
	name string
}

func (e *patternError) Error() string { return fmt.Sprintf("upload: %q is not a symbol key", e.name) }

// A nameLengthError says that the key of a name would be too long for the store.
type nameLengthError struct {
	name string
	max  int // bytes
}

func (e *nameLengthError) Error() string {
	return fmt.Sprintf("upload: the name %q is longer than %d bytes", e.name, e.max)
}

// nameRules decides by its name how an entry is stored.
type nameRules struct {
	disallowed []string // names that contain one of these are refused
	gzipped    []string // extensions of entries that are stored as gzip, in lower case and with their dot
	max        int      // bytes
}

// form is [stream.Rules].Form.
func (r nameRules) form(name string) (stream.Form, error) {
	for _, snippet := range r.disallowed {
		if strings.Contains(name, snippet) {
			return stream.Ignore, &snippetError{name, snippet}
		}
	}
	switch {
	case isIgnored(name):
		return stream.Ignore, nil
	case !isSymbolKey(name):
		return stream.Ignore, &patternError{name}
	case len(name) > r.max:
		return stream.Ignore, &nameLengthError{name, r.max}
	case slices.Contains(r.gzipped, strings.ToLower(extension(name))):
		return stream.Gzip, nil
	}
	return stream.AsIs, nil
}

// isIgnored reports whether an entry is ignored: the list of symbols that builds add, and the
// files that Finder leaves.
func isIgnored(name string) bool {
	const list = "-symbols.txt"
	slash := strings.LastIndexByte(name, '/')
	return name[slash+1:] == ".DS_Store" ||
		slash < 0 && len(name) > len(list) && strings.EqualFold(name[max(0, len(name)-len(list)):], list)
}

// isSymbolKey reports whether name is <module>/<hex>/<file>.
func isSymbolKey(name string) bool {
	parts := strings.Split(name, "/")
	return len(parts) == 3 && isKeyPart(parts[0]) && isHex(parts[1]) && isKeyPart(parts[2])
}

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// isKeyPart reports whether s may be the module or the file of a symbol key. It must not be
// a step in a path, or contain a character that S3 asks to avoid ("Naming Amazon S3
// objects").
func isKeyPart(s string) bool {
	if s == "" || s == "." || s == ".." || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool {
		return c < 0x20 || 0x7F <= c && c <= 0xFF || strings.ContainsRune("\\^`><{}[]#%\"'|", c)
	})
}

// extension returns the extension of a path, with its dot, as Python's os.path.splitext does:
// dots at the start of a file name do not begin an extension.
func extension(path string) string {
	base := strings.TrimLeft(path[strings.LastIndexByte(path, '/')+1:], ".")
	if dot := strings.LastIndexByte(base, '.'); dot >= 0 {
		return base[dot:]
	}
	return ""
}

// An extensionError says that an archive has an unknown extension.
type extensionError struct {
	extension string // as the client sent it
	ofURL     bool   // the archive's name is in a URL, not in a form
}

func (e *extensionError) Error() string {
	return fmt.Sprintf("upload: unknown archive extension %q", e.extension)
}

// archiveName returns an archive's name: the name of the form field, or the filename if the
// field name has no extension of an archive.
func archiveName(field, filename string) (string, error) {
	for _, name := range []string{field, filename} {
		if strings.EqualFold(extension(name), ".zip") {
			return name, nil
		}
	}
	if given := extension(field); given != "" {
		return field, &extensionError{extension: given}
	}
	return filename, &extensionError{extension: extension(filename)}
}
