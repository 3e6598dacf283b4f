// Package remote is a server of files for tests, whose downloads break in chosen ways.
package remote

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A File is what a server has at one path.
type File struct {
	Content []byte
	Header  http.Header // of each answer with content. A strong ETag, for example

	// Breaks are offsets in the file. The n-th answer with content breaks off at the n-th of
	// them, if that is within it or at its end. Later answers do not break.
	Breaks []int
	Reset  bool // breaks reset the connection, so that what is on its way is lost
	Stall  bool // breaks leave the connection open

	Chunked bool // no length is stated

	NoRanges bool // requests for a range are answered with the file
	NoTail   bool // requests for the last bytes are, as by Azure Blob Storage

	// Rest answers requests for a range of the file. If nil, they are answered as
	// RFC 9110 says, for a single range.
	Rest http.HandlerFunc

	mu    sync.Mutex
	spans []Span
}

// Span is a range of a file, in bytes.
type Span struct{ Start, End int }

// Spans returns the range of each answer with content, in their order. Some may have broken off.
func (f *File) Spans() []Span {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Span(nil), f.spans...)
}

// Sent returns how many bytes the answers have had, if none broke off.
func (f *File) Sent() (n int) {
	for _, s := range f.Spans() {
		n += s.End - s.Start
	}
	return n
}

// Starts returns the offset of each answer with content.
func (f *File) Starts() (starts []int) {
	for _, s := range f.Spans() {
		starts = append(starts, s.Start)
	}
	return starts
}

// StrongETag is a header with a strong ETag.
func StrongETag() http.Header { return http.Header{"Etag": {`"one"`}} }

type connKey struct{}

// Start serves handler until the test ends, over TLS or not. What the server logs is dropped.
func Start(t testing.TB, handler http.Handler, withTLS bool) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}
	if withTLS {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(func() {
		server.CloseClientConnections() // some stall
		server.Close()
	})
	return server
}

// Trust returns an environment variable with which a program trusts the certificate of a server.
func Trust(t testing.TB, server *httptest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return "SSL_CERT_FILE=" + path
}

// ServeHTTP implements [http.Handler].
func (f *File) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	span, ranged := f.requested(r)
	if r.Header.Get("Range") != "" && f.Rest != nil {
		f.Rest(w, r)
		return
	}
	maps.Copy(w.Header(), f.Header)
	status := http.StatusOK
	if ranged {
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", span.Start, span.End-1, len(f.Content)))
	}
	if !f.Chunked {
		w.Header().Set("Content-Length", fmt.Sprint(span.End-span.Start))
	}
	w.WriteHeader(status)
	end, breaks := f.next(span)
	_, _ = w.Write(f.Content[span.Start:end]) // an error means that the client has gone
	_ = http.NewResponseController(w).Flush()
	if breaks {
		f.breakOff(r)
	}
}

// requested returns the range that is asked for, if the request has one and the file has not
// changed, or the whole file.
func (f *File) requested(r *http.Request) (span Span, ranged bool) {
	all := Span{0, len(f.Content)}
	span, ok := ParseRange(r.Header.Get("Range"), len(f.Content))
	if !ok || f.NoRanges || f.NoTail && strings.HasPrefix(r.Header.Get("Range"), "bytes=-") {
		return all, false
	}
	condition := r.Header.Get("If-Range")
	for _, name := range []string{"ETag", "Last-Modified"} {
		if v := f.Header.Get(name); condition == "" || v != "" && v == condition {
			return span, true
		}
	}
	return all, false
}

// ParseRange parses a Range header of a single range of a file of that size (RFC 9110, section
// 14.1.2). ok is false if there is no such range.
func ParseRange(text string, size int) (s Span, ok bool) {
	text, ok = strings.CutPrefix(text, "bytes=")
	first, last, dash := strings.Cut(text, "-")
	if !ok || !dash {
		return s, false
	}
	a, errA := strconv.Atoi(first)
	b, errB := strconv.Atoi(last)
	switch {
	case first == "":
		s = Span{max(0, size-b), size}
		errA = errB
	case last == "":
		s = Span{a, size}
	default:
		s = Span{a, min(b+1, size)}
		errA = errors.Join(errA, errB)
	}
	return s, errA == nil && s.Start < s.End
}

// next returns where the next answer ends, and whether it breaks off there.
func (f *File) next(span Span) (end int, breaks bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spans = append(f.spans, span)
	if n := len(f.spans); n <= len(f.Breaks) {
		if at := f.Breaks[n-1]; at >= span.Start && at <= span.End {
			return at, true
		}
	}
	return span.End, false
}

// breakOff ends an answer before its end.
func (f *File) breakOff(r *http.Request) {
	switch {
	case f.Stall:
		<-r.Context().Done()
	case f.Reset:
		conn := r.Context().Value(connKey{})
		if secure, ok := conn.(*tls.Conn); ok {
			conn = secure.NetConn()
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // fails if the client has gone
		}
	}
	panic(http.ErrAbortHandler)
}

// Before returns a Last-Modified of that age, as files have it.
func Before(age time.Duration) http.Header {
	return http.Header{"Last-Modified": {time.Now().Add(-age).UTC().Format(http.TimeFormat)}}
}
