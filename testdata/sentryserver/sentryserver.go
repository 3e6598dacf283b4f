// Package sentryserver is a Sentry that keeps what it is told.
package sentryserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A Server takes events (Sentry, "Envelopes").
type Server struct {
	DSN string // of its one project

	mu     sync.Mutex
	events []map[string]any
	raw    bytes.Buffer
}

// Start starts a server on loopback, which ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.take(r.Header, body)
	}))
	t.Cleanup(server.Close)
	s.DSN = strings.Replace(server.URL, "http://", "http://key@", 1) + "/1"
	return s
}

// take keeps an envelope, whose events are lines of JSON with a level.
func (s *Server) take(header http.Header, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(&s.raw, header, string(body))
	for line := range bytes.Lines(body) {
		var event map[string]any
		if json.Unmarshal(line, &event) == nil && event["level"] != nil {
			s.events = append(s.events, event)
		}
	}
}

// Events are those that have come.
func (s *Server) Events() []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Raw is all that has come, headers included.
func (s *Server) Raw() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.raw.String()
}
