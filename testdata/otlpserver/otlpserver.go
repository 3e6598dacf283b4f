// Package otlpserver is an OTLP endpoint that keeps the spans that it gets.
package otlpserver

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A Span is a span that has come.
type Span struct {
	Name       string
	Kind       string // "SERVER" or "CLIENT"
	Trace, ID  string // in hexadecimal
	Parent     string // ID of the parent; empty: none
	State      string // tracestate
	Failed     bool   // its status is an error
	Began      time.Time
	Took       time.Duration
	Attributes map[string]any // int64, float64, string or bool
	Resource   map[string]any
	Message    string // of the status
}

// A Server takes spans at /v1/traces, in binary protobuf.
type Server struct {
	URL string // base URL

	mu     sync.Mutex // guards the fields below
	answer http.HandlerFunc
	spans  []Span
	raw    bytes.Buffer
	asked  int
}

// Start starts a server on loopback, which ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{}
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	s.URL = server.URL
	return s
}

// Answer has the server answer with h instead, and keep nothing; nil: no longer.
func (s *Server) Answer(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = h
}

// Hang is an answer that does not come until the client gives up.
func Hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // only then does the server see that the client has gone
	<-r.Context().Done()
}

// Status returns an answer with that status.
func Status(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked++
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	if err := s.take(r); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (s *Server) take(r *http.Request) error {
	if r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		return fmt.Errorf("%s %s is no export of spans", r.Method, r.URL)
	}
	var from io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			return err
		}
		from = unzipped
	}
	body, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	var data tracepb.TracesData // as ExportTraceServiceRequest on the wire
	if err := proto.Unmarshal(body, &data); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(&s.raw, r.Header, string(body))
	for _, of := range data.ResourceSpans {
		for _, in := range of.ScopeSpans {
			for _, span := range in.Spans {
				s.spans = append(s.spans, describe(span, attributes(of.Resource.GetAttributes())))
			}
		}
	}
	return nil
}

func describe(s *tracepb.Span, resource map[string]any) Span {
	began := time.Unix(0, int64(s.StartTimeUnixNano))
	return Span{
		Name: s.Name, Kind: s.Kind.String()[len("SPAN_KIND_"):],
		Trace: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId), State: s.TraceState,
		Failed: s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR, Message: s.Status.GetMessage(),
		Began: began, Took: time.Unix(0, int64(s.EndTimeUnixNano)).Sub(began),
		Attributes: attributes(s.Attributes), Resource: resource,
	}
}

func attributes(list []*commonpb.KeyValue) map[string]any {
	all := make(map[string]any)
	for _, a := range list {
		switch v := a.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			all[a.Key] = v.StringValue
		case *commonpb.AnyValue_BoolValue:
			all[a.Key] = v.BoolValue
		case *commonpb.AnyValue_IntValue:
			all[a.Key] = v.IntValue
		case *commonpb.AnyValue_DoubleValue:
			all[a.Key] = v.DoubleValue
		}
	}
	return all
}

// Spans are those that have come.
func (s *Server) Spans() []Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.spans)
}

// Requests is how many requests have come.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// Raw is all that has come, headers included.
func (s *Server) Raw() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.raw.String()
}
