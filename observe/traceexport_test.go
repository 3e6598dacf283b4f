package observe_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"spillway/internal/outcome"
	"spillway/internal/s3event"
	"spillway/observe"
	"spillway/testdata/client"
	"spillway/testdata/otlpserver"
)

// An endpoint that fails or hangs delays no upload, and the exit only up to its deadline.
// What is lost is counted, and logged once. Failures that may pass are retried.
func TestEndpointsThatFail(t *testing.T) {
	other := otlpserver.Start(t)
	for name, c := range map[string]struct {
		answer   http.HandlerFunc
		endpoint string
		logged   string
	}{
		"500":   {otlpserver.Status(500), "", "traces export: failed to send to the endpoint: 500 Internal Server Error"},
		"503":   {otlpserver.Status(503), "", "traces export: context canceled: retry-able request failure"},
		"hangs": {otlpserver.Hang, "", "context canceled"},
		"moves": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/v1/traces", http.StatusTemporaryRedirect)
		}, "", "the endpoint answered with a redirect"},
		"repeats the header": {func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "not the key: "+r.Header.Get("Api-Key"), http.StatusUnauthorized)
		}, "", "traces export: failed to send to the endpoint: 401 Unauthorized"},
		"down": {nil, "http://127.0.0.1:1", "dial tcp 127.0.0.1:1: connect: connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			variables := map[string]string{"OTEL_BSP_SCHEDULE_DELAY": "1", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=sesame"}
			if c.endpoint != "" {
				variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = c.endpoint
			}
			x := trace(t, variables)
			x.Answer(c.answer)
			for range 100 {
				x.upload(nil, ended(outcome.Stored, outcome.NoReason), nil)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			if x.Close(ctx) {
				t.Error("spans were exported")
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("closing took %v", took)
			}
			if n := other.Requests(); n != 0 {
				t.Errorf("%d requests followed a redirect", n)
			}
			// One line, without header and URL. Others are logged at the end of an interval.
			client.Until(t, "a line of the log", func() bool { return x.log.FilterMessage("spans were not exported").Len() > 0 })
			lines := x.log.FilterMessage("spans were not exported").All()
			if text := lines[0].ContextMap()["error"]; len(lines) != 1 || text != c.logged {
				t.Errorf("%d lines: %v", len(lines), text)
			}
		})
	}
}

// TestEncryptedEndpoint: the variables for TLS are used, and also over TLS no redirect is
// followed.
func TestEncryptedEndpoint(t *testing.T) {
	encrypted := func(o *otlpserver.Server) *httptest.Server {
		server := httptest.NewUnstartedServer(o)
		server.EnableHTTP2 = true
		server.StartTLS()
		t.Cleanup(server.Close)
		return server
	}
	o, other := otlpserver.Start(t), otlpserver.Start(t)
	server, elsewhere := encrypted(o), encrypted(other) // with one certificate
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	x := trace(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL, "OTEL_EXPORTER_OTLP_CERTIFICATE": file, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=sesame",
		"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1",
	})
	x.upload(nil, ended(outcome.Stored, outcome.NoReason), nil)
	client.Until(t, "a span", func() bool { return len(o.Spans()) == 1 })
	if !strings.Contains(o.Raw(), "Api-Key:[sesame]") {
		t.Error("the endpoint has not got the header")
	}
	o.Answer(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+"/v1/traces", http.StatusTemporaryRedirect)
	})
	x.upload(nil, ended(outcome.Stored, outcome.NoReason), nil)
	if x.Close(t.Context()) {
		t.Error("spans were exported")
	}
	if n := other.Requests(); n != 0 {
		t.Errorf("%d requests followed a redirect", n)
	}
	if _, err := newTracer(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": o.URL}, zap.NewNop()); err == nil {
		t.Error("an endpoint without TLS is accepted with a certificate")
	}
}

// A request that failed for a moment is repeated. Spans that the endpoint says it has rejected
// count as failed.
func TestAnswersOfEndpoints(t *testing.T) {
	for name, c := range map[string]struct {
		first            http.HandlerFunc
		requests         int
		exported, failed int
	}{
		"unavailable": {otlpserver.Status(http.StatusServiceUnavailable), 2, 2, 0},
		"bad request": {otlpserver.Status(http.StatusBadRequest), 1, 0, 2},
		"success with a warning": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-protobuf")
			_, _ = w.Write([]byte{0x0a, 0x03, 0x12, 0x01, 'x'})
		}, 1, 2, 0},
		"partial success": {func(w http.ResponseWriter, _ *http.Request) {
			// partial_success with rejected_spans = 1 and a message.
			w.Header().Set("Content-Type", "application/x-protobuf")
			_, _ = w.Write([]byte{0x0a, 0x05, 0x08, 0x01, 0x12, 0x01, 'x'})
		}, 1, 1, 1},
		"garbage": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte{0x0a, 0xff, 0xff}) }, 1, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			x := trace(t, nil)
			x.Answer(func(w http.ResponseWriter, r *http.Request) {
				x.Answer(nil)
				c.first(w, r)
			})
			for range 2 {
				x.upload(nil, ended(outcome.Stored, outcome.NoReason), nil)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if all := x.Close(ctx); all != (c.failed == 0) {
				t.Errorf("all spans were exported: %v", all)
			}
			if n := x.Requests(); n != c.requests {
				t.Errorf("%d requests, want %d", n, c.requests)
			}
			text := newInstanceOf(nil, x.Tracer).scrape(t)
			for result, want := range map[string]int{"exported": c.exported, "failed": c.failed} {
				if line := fmt.Sprintf("spillway_trace_spans_total{result=%q} %d\n", result, want); !strings.Contains(text, line) {
					t.Errorf("missing: %s", line)
				}
			}
		})
	}
}

// Spans that do not fit into the queue are dropped and counted, those of requests first.
func TestFullQueue(t *testing.T) {
	x := trace(t, map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "40", "OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "40"})
	i := newInstanceOf(nil, x.Tracer)
	for range 2 {
		x.upload(nil, ended(outcome.Stored, outcome.NoReason), func(ctx context.Context) {
			for range 50 {
				x.Operation(ctx, s3event.Operation{Name: "HeadObject"})
			}
		})
	}
	spans := x.flushed(t)
	if u, heads := len(spans[spanOfUpload]), len(spans["S3.HeadObject"]); u != 2 || heads != 29 {
		t.Errorf("%d uploads and %d requests", u, heads)
	}
	for result, want := range map[string]int{"exported": 31, "failed": 0, "dropped": 71} {
		if line := fmt.Sprintf("spillway_trace_spans_total{result=%q} %d", result, want); !strings.Contains(i.scrape(t), line) {
			t.Errorf("missing: %s", line)
		}
	}
}

// What spans take at the most, in bytes: requests of uploads under way, and a full queue while
// the endpoint hangs.
func TestMemoryOfSpans(t *testing.T) {
	const most = 12 << 20
	x := trace(t, map[string]string{"OTEL_BSP_SCHEDULE_DELAY": "1"})
	x.Answer(otlpserver.Hang)
	before := heap()
	var under []context.Context
	work := func(ctx context.Context) {
		for n := range 1000 {
			x.Operation(ctx, s3event.Operation{
				Name: [...]string{"HeadObject", "PutObject", "UploadPart", "CreateMultipartUpload", "CompleteMultipartUpload"}[n%5], Bucket: "symbols",
				Key: fmt.Sprint(n, strings.Repeat("k", 1000)), Began: time.Now(), Status: 200, Attempts: 1,
			})
		}
	}
	for range 20 {
		x.upload(http.Header{"Traceparent": {parent + "01"}, "Tracestate": {"vendor=" + strings.Repeat("x", 250)}}, ended(outcome.Stored, outcome.NoReason), work)
	}
	for n := range int64(64) {
		ctx := x.uploads.Begin(n, observe.Sender{}, nil).Trace(t.Context(), nil, time.Now())
		work(ctx)
		under = append(under, ctx)
	}
	took := heap() - before
	t.Logf("%d KiB", took>>10)
	if took > most {
		t.Errorf("spans take %d bytes, want at most %d", took, most)
	}
	runtime.KeepAlive(under)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	x.Close(ctx)
}

// heap returns the bytes of the heap that are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
