package observe_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"spillway/internal/outcome"
	"spillway/observe"
)

// TestTracerIsOff: without an endpoint there is no Tracer, and a nil one costs nothing.
func TestTracerIsOff(t *testing.T) {
	for _, variables := range []map[string]string{
		nil,
		{"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "unknown", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://localhost"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost", "OTEL_SDK_DISABLED": "true"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost", "OTEL_TRACES_EXPORTER": "none"},
	} {
		t.Run("", func(t *testing.T) {
			if tracer, err := newTracer(t, variables, zap.NewNop()); tracer != nil || err != nil {
				t.Errorf("%v: %v, %v", variables, tracer, err)
			}
		})
	}
	var off *observe.Tracer
	if !off.Close(t.Context()) {
		t.Error("no tracer has spans to export")
	}
	u := newInstance().uploads.Begin(1, observe.Sender{}, nil)
	ctx, header, began := t.Context(), http.Header{"Traceparent": {parent + "01"}}, time.Now()
	allocations := testing.AllocsPerRun(100, func() {
		if traced := u.Trace(ctx, header, began); traced != ctx || off.TraceID(traced) != "" {
			t.Error("an upload has a trace")
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations for each upload", allocations)
	}
}

// TestTraceVariables: a variable that the exporter would misread stops the start. The error
// quotes no secret.
func TestTraceVariables(t *testing.T) {
	folder := t.TempDir()
	empty := filepath.Join(folder, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const (
		endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
		unusable = "a variable OTEL_… cannot be used: "
	)
	for _, c := range []struct{ name, value, want string }{
		{endpoint, "localhost:4318", endpoint + ": it is not a URL"},
		{endpoint, "ftp://localhost/secret", endpoint + ": it is not a URL"},
		{endpoint, "http://secret:%zz", endpoint + ": it is not a URL"},
		{endpoint, "http://user:secret@localhost", endpoint + ": it contains a user, password or query"},
		{endpoint, "http://localhost/?key=secret", endpoint + ": it contains a user, password or query"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: it is not a URL"},
		{"OTEL_TRACES_EXPORTER", "console", "OTEL_TRACES_EXPORTER: only otlp and none"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf"},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: only http/protobuf"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "secret", unusable + "parse headers"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a b=secret", unusable + "parse headers"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a=secret%secret", unusable + "escape header value"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "10s", unusable + "parse duration"},
		{"OTEL_BSP_MAX_QUEUE_SIZE", "secret", unusable + "OTEL_BSP_MAX_QUEUE_SIZE"},
		{"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many", unusable + "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", empty, unusable + "create tls cert pool"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", filepath.Join(folder, "none"), unusable + "read tls ca cert file: open"},
		{"OTEL_TRACES_SAMPLER", "jaeger_remote", unusable + "unsupported sampler: jaeger_remote"},
		{"OTEL_RESOURCE_ATTRIBUTES", "a", "OTEL_RESOURCE_ATTRIBUTES: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			variables := map[string]string{endpoint: "http://127.0.0.1:1"}
			variables[c.name] = c.value
			tracer, err := newTracer(t, variables, zap.NewNop())
			tracer.Close(t.Context())
			if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s=%s: %v, want %s", c.name, c.value, err, c.want)
			}
		})
	}
	for argument, fails := range map[string]bool{"0.25": false, "1.1": true, "-1": true, "x": true} {
		t.Run("ratio of "+argument, func(t *testing.T) {
			variables := map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": argument}
			tracer, err := newTracer(t, variables, zap.NewNop())
			tracer.Close(t.Context())
			if (err != nil) != fails {
				t.Error(err)
			}
		})
	}
	if _, err := newTracer(t, map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, zap.NewNop()); err == nil {
		t.Error("an exporter without an endpoint is accepted")
	}
}

// TestNumbersOfTheQueue: numbers that make no sense neither stop the program nor take its
// memory.
func TestNumbersOfTheQueue(t *testing.T) {
	for _, number := range []string{"-1", "0", "1000000000000"} {
		t.Run(number, func(t *testing.T) {
			x := trace(t, map[string]string{
				"OTEL_BSP_MAX_QUEUE_SIZE": number, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": number, "OTEL_BSP_SCHEDULE_DELAY": number, "OTEL_BSP_EXPORT_TIMEOUT": number,
			})
			x.upload(nil, ended(outcome.Stored, outcome.NoReason), nil)
			if n := len(x.flushed(t)[spanOfUpload]); n != 1 {
				t.Errorf("%d spans", n)
			}
		})
	}
}

// TestHeaderStaysEncrypted: whether spans are encrypted depends on the URL alone.
func TestHeaderStaysEncrypted(t *testing.T) {
	x := trace(t, map[string]string{"OTEL_EXPORTER_OTLP_INSECURE": "false"})
	x.upload(nil, ended(outcome.Stored, outcome.NoReason), nil)
	if n := len(x.flushed(t)); n != 1 {
		t.Errorf("%d spans over http", n)
	}
	x = trace(t, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": strings.Replace(x.URL, "http:", "https:", 1), "OTEL_EXPORTER_OTLP_INSECURE": "true"})
	x.upload(nil, ended(outcome.Stored, outcome.NoReason), nil)
	if x.Close(t.Context()) {
		t.Error("spans for https were exported over http")
	}
}
