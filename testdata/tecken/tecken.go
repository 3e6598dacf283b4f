// Package tecken is a stand-in for Tecken, Mozilla's symbols server: it describes tokens as
// Tecken does, and fails in chosen ways.
//
// What it answers was read off Tecken's sources of July 2026: tecken/tokens/middleware.py,
// tecken/base/decorators.py, tecken/views.py and upload_auth_info in tecken/upload/views.py.
package tecken

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Token is what a server knows of a token.
type Token struct {
	Email    string
	UserID   int
	Try      bool      // it may upload try symbols, otherwise symbols
	Neither  bool      // it may upload neither
	Inactive bool      // its user is blocked
	Expires  time.Time // zero: in a year
}

// A Server describes the tokens that it has been given.
type Server struct {
	URL string

	mu       sync.Mutex
	tokens   map[string]Token
	fault    http.HandlerFunc // answers instead; nil: none
	requests []*http.Request
}

// New returns a server with those tokens. It is an [http.Handler].
func New(tokens map[string]Token) *Server { return &Server{tokens: tokens} }

// Start starts a server with those tokens, over plain http on loopback, until the test ends.
func Start(t testing.TB, tokens map[string]Token) *Server {
	t.Helper()
	s := New(tokens)
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		s.SetFault(nil)
		server.CloseClientConnections() // some hang
		server.Close()
	})
	s.URL = server.URL
	return s
}

// SetFault makes handler answer all requests instead; nil: the server works again.
func (s *Server) SetFault(handler http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = handler
}

// Set adds or replaces a token.
func (s *Server) Set(key string, t Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[key] = t
}

// Revoke removes a token.
func (s *Server) Revoke(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, key)
}

// Asked returns how often the server was asked about a token.
func (s *Server) Asked(key string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if r.Header.Get("Auth-Token") == key {
			n++
		}
	}
	return n
}

// Requests returns all requests up to now.
func (s *Server) Requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request(nil), s.requests...)
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	fault := s.fault
	given := r.Header.Get("Auth-Token")
	key, _, _ := strings.Cut(given, "-")
	token, known := s.tokens[key]
	s.mu.Unlock()
	if token.Expires.IsZero() {
		token.Expires = time.Now().AddDate(1, 0, 0)
	}
	switch {
	case fault != nil:
		fault(w, r)
	case given != "" && !known:
		Refuse(w, "API Token not matched")
	case given != "" && token.Expires.Before(time.Now()):
		Refuse(w, "API Token found but expired")
	case given != "" && token.Inactive:
		Refuse(w, "API Token matched but user not active")
	case r.URL.Path != "/upload/auth_info/":
		write(w, http.StatusNotFound, map[string]any{"error": "Not Found", "path": r.URL.Path})
	case r.Method != http.MethodPost:
		write(w, http.StatusMethodNotAllowed, map[string]any{"error": "Method Not Allowed (" + r.Method + "): " + r.URL.Path})
	case given == "":
		Refuse(w, "This requires an Auth-Token to authenticate the request")
	case token.Neither:
		Refuse(w, "Forbidden")
	default:
		write(w, http.StatusOK, token.AuthInfo())
	}
}

// AuthInfo returns how Tecken describes the token, with the settings of telemetry, which have
// a secret of their own.
func (t Token) AuthInfo() map[string]any {
	return map[string]any{
		"email": t.Email, "user_id": t.UserID, "try_symbols": t.Try, "token_expires_at": t.Expires.Unix(), "upload_api_version": 2,
		"opentelemetry": map[string]any{
			"endpoint": "https://telemetry.googleapis.com/", "headers": map[string]string{"Authorization": "Bearer " + TelemetrySecret},
			"resource_attributes": map[string]string{"gcp.project_id": "my-gcp-project"}, "log_level": "info",
		},
	}
}

// TelemetrySecret is in each description of a token.
const TelemetrySecret = "telemetry-access-token"

// Refuse answers as Tecken refuses a token.
func Refuse(w http.ResponseWriter, message string) {
	write(w, http.StatusForbidden, map[string]any{"error": message})
}

// Answer returns a handler that answers with that status and body.
func Answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body)) // an error means that the client has gone
	}
}

// Hang answers nothing until the client has gone.
func Hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // an error means that the client has gone
}
