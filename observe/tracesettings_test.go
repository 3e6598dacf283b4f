package observe_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

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
		if tracer, err := newTracer(variables, zap.NewNop()); tracer != nil || err != nil {
			t.Errorf("%v: %v, %v", variables, tracer, err)
		}
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

// TestTraceVariables: a variable that cannot be used stops the start. The error names it, and
// quotes no secret.
func TestTraceVariables(t *testing.T) {
	folder := t.TempDir()
	empty := filepath.Join(folder, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for _, c := range []struct{ name, value, want string }{
		{endpoint, "localhost:4318", endpoint + ": it is not a URL"},
		{endpoint, "ftp://localhost/secret", endpoint + ": it is not a URL"},
		{endpoint, "http://user:secret@localhost", endpoint + ": it contains a user or password"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: it is not a URL"},
		{"OTEL_TRACES_EXPORTER", "console", "OTEL_TRACES_EXPORTER: only otlp and none"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf"},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: only http/protobuf"},
		{"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "OTEL_EXPORTER_OTLP_COMPRESSION: only gzip and none"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "secret", "OTEL_EXPORTER_OTLP_HEADERS: it is not a list"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a b=secret", "OTEL_EXPORTER_OTLP_HEADERS: it is not a list"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a=secret%zz", "OTEL_EXPORTER_OTLP_HEADERS: it is not a list"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a=secret%0a", "OTEL_EXPORTER_OTLP_HEADERS: it is not a list"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "OTEL_EXPORTER_OTLP_TIMEOUT: \"10s\" is not a number"},
		{"OTEL_BSP_MAX_QUEUE_SIZE", "1000000", "OTEL_BSP_MAX_QUEUE_SIZE: \"1000000\" is not a number from 1 to 8192"},
		{"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT: \"many\" is not a number"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", empty, "OTEL_EXPORTER_OTLP_CERTIFICATE: there is no certificate"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", filepath.Join(folder, "none"), "OTEL_EXPORTER_OTLP_CERTIFICATE: open"},
		{"OTEL_EXPORTER_OTLP_CLIENT_KEY", empty, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY must be set together"},
		{"OTEL_TRACES_SAMPLER", "jaeger_remote", "OTEL_TRACES_SAMPLER: \"jaeger_remote\" is not supported"},
	} {
		variables := map[string]string{endpoint: "http://127.0.0.1:1"}
		variables[c.name] = c.value
		tracer, err := newTracer(variables, zap.NewNop())
		if err == nil {
			tracer.Close(t.Context())
		}
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s=%s: %v, want %s", c.name, c.value, err, c.want)
		}
	}
	for argument, fails := range map[string]bool{"0.25": false, "1.1": true, "-1": true, "NaN": true, "x": true} {
		tracer, err := newTracer(map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": argument}, zap.NewNop())
		if (err != nil) != fails {
			t.Errorf("a ratio of %s: %v", argument, err)
		}
		tracer.Close(t.Context())
	}
	if _, err := newTracer(map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, zap.NewNop()); err == nil {
		t.Error("an exporter without an endpoint is accepted")
	}
}
