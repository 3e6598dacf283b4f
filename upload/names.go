package upload

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"spillway/stream"
)

// A snippetError says that a name holds something that must not be stored.
type snippetError struct {
	snippet string
}

func (e *snippetError) Error() string { return fmt.Sprintf("upload: a name with %q", e.snippet) }

// A patternError says that a name is no symbol key.
type patternError struct {
	name string
}

func (e *patternError) Error() string { return fmt.Sprintf("upload: %q is no symbol key", e.name) }

// A nameLengthError says that a name makes a longer key than the store takes.
type nameLengthError struct {
	name string
	max  int // bytes
}

func (e *nameLengthError) Error() string {
	return fmt.Sprintf("upload: the name %q is longer than %d bytes", e.name, e.max)
}

// nameRules says what becomes of an archive's entries by their names.
type nameRules struct {
	disallowed []string // names that hold one of these are refused
	gzipped    []string // extensions, in lower case and with their dot, of what is stored as gzip
	max        int      // bytes
}

// form is the Form of [stream.Rules].
func (r nameRules) form(name string) (stream.Form, error) {
	for _, snippet := range r.disallowed {
		if strings.Contains(name, snippet) {
			return stream.Ignore, &snippetError{snippet}
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

// isIgnored reports whether an entry of that name is passed over in silence:
// the list of symbols that builds put beside them, and what Finder leaves.
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

// isKeyPart reports whether s may be the module or the file of a symbol key:
// the characters that S3 asks to avoid in keys are not in it ("Naming Amazon
// S3 objects"), and it cannot be taken for a step in a path.
func isKeyPart(s string) bool {
	if s == "" || s == "." || s == ".." || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool {
		return c < 0x20 || 0x7F <= c && c <= 0xFF || strings.ContainsRune("\\^`><{}[]#%\"'|", c)
	})
}

// extension returns the last dot of the last element of a path and what
// follows it, as Python's os.path.splitext does: dots that a file name begins
// with begin no extension.
func extension(path string) string {
	base := strings.TrimLeft(path[strings.LastIndexByte(path, '/')+1:], ".")
	if dot := strings.LastIndexByte(base, '.'); dot >= 0 {
		return base[dot:]
	}
	return ""
}

// An extensionError says that an archive is of no kind that is known here.
type extensionError struct {
	extension string // as it was given
}

func (e *extensionError) Error() string {
	return fmt.Sprintf("upload: unknown archive extension %q", e.extension)
}

// archiveName chooses an archive's name: that of its form field, or where this
// has no extension of an archive, that of its file.
func archiveName(field, filename string) (string, error) {
	for _, name := range []string{field, filename} {
		if strings.EqualFold(extension(name), ".zip") {
			return name, nil
		}
	}
	if given := extension(field); given != "" {
		return field, &extensionError{given}
	}
	return filename, &extensionError{extension(filename)}
}
