// Package remote is a server of files for tests, whose downloads break in chosen ways.
package remote

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A File is what a server has at one path.
type File struct {
	Content []byte
	Header  http.Header // of each answer with content. A strong ETag, for example

	// Breaks are offsets in the file. The n-th answer with content ends at the n-th of them,
	// if it begins before; later answers do not break.
	Breaks []int
	Reset  bool // breaks reset the connection, so that what is on its way is lost
	Stall  bool // breaks leave the connection open

	Chunked bool // no length is stated

	// Rest answers requests for a range of the file. If nil, they are answered as
	// RFC 9110 says, for a range without an end.
	Rest http.HandlerFunc

	mu      sync.Mutex
	answers int
	starts  []int
}

// Starts returns the offset of each answer with content.
func (f *File) Starts() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]int(nil), f.starts...)
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
	start, ranged := f.requested(r)
	if r.Header.Get("Range") != "" && f.Rest != nil {
		f.Rest(w, r)
		return
	}
	maps.Copy(w.Header(), f.Header)
	status := http.StatusOK
	if ranged {
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(f.Content)-1, len(f.Content)))
	}
	if !f.Chunked {
		w.Header().Set("Content-Length", fmt.Sprint(len(f.Content)-start))
	}
	w.WriteHeader(status)
	end, breaks := f.next(start)
	_, _ = w.Write(f.Content[start:end]) // an error means that the client has gone
	_ = http.NewResponseController(w).Flush()
	if breaks {
		f.breakOff(r)
	}
}

// requested returns the start of the range that is asked for, if the request has one and
// the file has not changed.
func (f *File) requested(r *http.Request) (start int, ranged bool) {
	text := r.Header.Get("Range")
	if n, err := fmt.Sscanf(text, "bytes=%d-", &start); n != 1 || err != nil || !strings.HasSuffix(text, "-") || start >= len(f.Content) {
		return 0, false
	}
	for _, name := range []string{"ETag", "Last-Modified"} {
		if v := f.Header.Get(name); v != "" && v == r.Header.Get("If-Range") {
			return start, true
		}
	}
	return 0, false
}

// next returns where the next answer ends, and whether it breaks off there.
func (f *File) next(start int) (end int, breaks bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starts = append(f.starts, start)
	if f.answers++; f.answers <= len(f.Breaks) {
		return max(start, f.Breaks[f.answers-1]), true
	}
	return len(f.Content), false
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
