// Package answer writes what HTTP clients are answered with: JSON, whatever
// happens, and nothing in it that a terminal would act on.
package answer

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// Failure is the body of every answer that says no.
type Failure struct {
	Error string `json:"error"`
}

// Error answers that something went wrong.
func Error(w http.ResponseWriter, status int, message string) {
	JSON(w, status, Failure{message})
}

// unwanted is how long a server may wait for a body that nobody reads, which it
// does before it sends the answer.
const unwanted = time.Second

// WithoutBody says that the request is answered whatever its body is, so that a
// client that does not send it does not keep a connection.
func WithoutBody(w http.ResponseWriter, r *http.Request) {
	if r.Body != nil && r.Body != http.NoBody {
		// It fails where there is no connection: then nothing is waited for.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(unwanted))
	}
}

// JSON answers in full. A client that does not take the answer is not worth an
// error: nothing depends on it any more. It panics on a v that JSON cannot say.
func JSON(w http.ResponseWriter, status int, v any) {
	text := NewEncoder().Text(v)
	Header(w.Header())
	w.Header().Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}

// Header sets the fields that every answer in JSON has.
func Header(h http.Header) {
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
}

// An Encoder turns values into the text of answers, for those that are written
// piece by piece.
type Encoder struct {
	buf  bytes.Buffer
	json *json.Encoder
}

// NewEncoder returns an Encoder.
func NewEncoder() *Encoder {
	e := new(Encoder)
	e.json = json.NewEncoder(&e.buf)
	e.json.SetEscapeHTML(false)
	return e
}

// Text returns v as JSON that is [Printable]. It is valid until the next call. It
// panics on a v that JSON cannot say.
func (e *Encoder) Text(v any) []byte {
	e.buf.Reset()
	if err := e.json.Encode(v); err != nil {
		panic(err)
	}
	return Printable(bytes.TrimSuffix(e.buf.Bytes(), []byte("\n")))
}

// Printable returns JSON that means the same as text, which may be text itself,
// and in which every character outside ASCII that is not printable is written as
// an escape (RFC 8259, section 7): control characters of the upper half, which
// some terminals act on, and those that turn the direction of a line around.
// Those of the lower half JSON never has as they are.
func Printable(text []byte) []byte {
	if !bytes.ContainsFunc(text, isHidden) {
		return text
	}
	out := make([]byte, 0, len(text)+16)
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if isHidden(r) {
			out = appendEscape(out, r)
		} else {
			out = append(out, text[:n]...)
		}
		text = text[n:]
	}
	return out
}

// isHidden reports whether a character outside ASCII, or DEL, is not printable.
func isHidden(r rune) bool { return r >= 0x7f && r != utf8.RuneError && !unicode.IsPrint(r) }

// appendEscape appends r as JSON escapes it: in UTF-16.
func appendEscape(out []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	units := []rune{r}
	if r > 0xffff {
		r -= 0x10000
		units = []rune{0xd800 + r>>10, 0xdc00 + r&0x3ff}
	}
	for _, u := range units {
		out = append(out, '\\', 'u', hex[u>>12&15], hex[u>>8&15], hex[u>>4&15], hex[u&15])
	}
	return out
}

// A Tracked is a writer that knows whether an answer has begun.
type Tracked struct {
	http.ResponseWriter
	Begun bool
}

// Unwrap lets an [http.ResponseController] through.
func (t *Tracked) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// WriteHeader begins the answer.
func (t *Tracked) WriteHeader(status int) {
	t.Begun = true
	t.ResponseWriter.WriteHeader(status)
}

// Write begins the answer if need be.
func (t *Tracked) Write(p []byte) (int, error) {
	t.Begun = true
	return t.ResponseWriter.Write(p)
}
