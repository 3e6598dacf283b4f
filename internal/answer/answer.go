// Package answer writes HTTP responses in JSON. Their text is safe to print in a
// terminal.
package answer

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"spillway/internal/guard"
)

// Failure is the body of every error response.
type Failure struct {
	Error    string `json:"error"`     // exact texts that clients may look for
	Detail   string `json:"detail"`    // what was found, where, and what to do
	UploadID *int64 `json:"upload_id"` // as in the log and on the live page; nil if it was no upload
}

// Error responds with an error that was no upload. detail is a plain sentence.
func Error(w http.ResponseWriter, status int, message, detail string) {
	JSON(w, status, Failure{Error: message, Detail: detail})
}

// Defect is the detail of a response to a bug of ours.
const Defect = "This is a defect of the server. Those who run it find it in its log."

// unreadTimeout is how long the server may wait for a body that no handler reads.
// net/http waits for it before it sends the response.
const unreadTimeout = time.Second

// WithoutBody bounds the wait for a request body that the handler does not read.
// Otherwise a client that never sends it would keep the connection.
func WithoutBody(w http.ResponseWriter, r *http.Request) {
	if r.Body != nil && r.Body != http.NoBody {
		// This fails only if the connection is gone. Then there is no wait.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(unreadTimeout))
	}
}

// Guard calls serve. If serve panics, Guard calls panicked and responds with a 500,
// or closes the connection if a response has begun. [http.ErrAbortHandler] is
// panicked again.
func Guard(w http.ResponseWriter, r *http.Request, serve http.HandlerFunc, panicked func(*guard.PanicError)) {
	t := &tracked{ResponseWriter: w}
	err := guard.Do(func() error {
		serve(t, r)
		return nil
	})
	p, ok := errors.AsType[*guard.PanicError](err)
	if !ok {
		return
	}
	if p.Value == any(http.ErrAbortHandler) {
		panic(p.Value)
	}
	panicked(p)
	if t.begun {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Connection", "close")
	Error(w, http.StatusInternalServerError, http.StatusText(http.StatusInternalServerError), Defect)
}

// ReadOnly is [Guard] for a handler of GET and HEAD. Other methods get a 405.
func ReadOnly(w http.ResponseWriter, r *http.Request, serve http.HandlerFunc, panicked func(*guard.PanicError)) {
	WithoutBody(w, r)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		Error(w, http.StatusMethodNotAllowed, "Method Not Allowed ("+r.Method+"): "+r.URL.Path, "This path answers GET and HEAD.")
		return
	}
	Guard(w, r, serve, panicked)
}

// JSON responds with v. It ignores write errors, because nothing else depends on the
// client. It panics if v cannot be marshaled.
func JSON(w http.ResponseWriter, status int, v any) {
	text := NewEncoder().Text(v)
	Header(w.Header())
	w.Header().Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}

// Header sets the header fields of every JSON response.
func Header(h http.Header) {
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
}

// An Encoder marshals the values of a response that is written piece by piece.
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

// Text returns v as [Printable] JSON, valid until the next call. It panics if v
// cannot be marshaled.
func (e *Encoder) Text(v any) []byte {
	e.buf.Reset()
	if err := e.json.Encode(v); err != nil {
		panic(err)
	}
	return Printable(bytes.TrimSuffix(e.buf.Bytes(), []byte("\n")))
}

// Printable escapes every unprintable character outside ASCII in a JSON text (RFC
// 8259, section 7). Some terminals act on control characters from U+0080 on, and
// some characters reverse the direction of a line. JSON escapes those below U+0020
// anyway. The result may be text itself.
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

// isHidden reports whether r is DEL or an unprintable character outside ASCII.
func isHidden(r rune) bool { return r >= 0x7f && r != utf8.RuneError && !unicode.IsPrint(r) }

// appendEscape appends r as a JSON escape, in UTF-16.
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

// tracked records whether a response has begun.
type tracked struct {
	http.ResponseWriter
	begun bool
}

// Unwrap lets an [http.ResponseController] through.
func (t *tracked) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *tracked) WriteHeader(status int) {
	t.begun = true
	t.ResponseWriter.WriteHeader(status)
}

func (t *tracked) Write(p []byte) (int, error) {
	t.begun = true
	return t.ResponseWriter.Write(p)
}
