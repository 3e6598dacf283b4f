package fetch

import (
	"net/http"
	"strings"
	"time"
)

// certainAge is how long before the answer a file must have changed last for its Last-Modified
// to be a strong validator: the clock that stamps files may differ from the one that stamps
// answers.
const certainAge = time.Minute

// A validator is a field of an answer's header that changes with the file. It is strong: the
// same value means the same bytes (RFC 9110, section 8.8.1).
type validator struct {
	field string // ETag or Last-Modified; empty if there is no strong validator
	value string
}

// newValidator returns the validator in a header (RFC 9110, section 13.1.5).
func newValidator(h http.Header) validator {
	if tag := h.Get("ETag"); isStrongETag(tag) {
		return validator{"ETag", tag}
	}
	// RFC 9110, section 8.8.2.2. The time has no fractions: a file may change twice in a second.
	text := h.Get("Last-Modified")
	modified, err := http.ParseTime(text)
	if err != nil {
		return validator{}
	}
	if sent, err := http.ParseTime(h.Get("Date")); err != nil || sent.Sub(modified) < certainAge {
		return validator{}
	}
	return validator{"Last-Modified", text}
}

// contradicts reports whether the header of another answer shows that the file has changed.
func (v validator) contradicts(h http.Header) bool {
	now := h.Get(v.field)
	return now != "" && now != v.value
}

// isStrongETag reports whether text is an entity tag that is not weak (RFC 9110, section
// 8.8.3).
func isStrongETag(text string) bool {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return false
	}
	return !strings.ContainsFunc(text[1:len(text)-1], func(c rune) bool { return c <= ' ' || c == '"' || c == 0x7f })
}
