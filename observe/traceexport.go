package observe

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	// maxTraceQueue bounds OTEL_BSP_MAX_QUEUE_SIZE: a span takes some 2 KB.
	maxTraceQueue = 8192

	// maxTraceAnswer bounds the answer of an endpoint, in bytes.
	maxTraceAnswer = 64 << 10
)

// newTraceExporter returns an exporter to an endpoint, whatever OTEL_EXPORTER_OTLP_INSECURE
// says about the URL's scheme.
func newTraceExporter(ctx context.Context, endpoint *url.URL) (*otlptrace.Exporter, error) {
	return otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint.String()), otlptracehttp.WithMaxResponseSize(maxTraceAnswer),
		otlptracehttp.WithProxy(proxyOfTraces))
}

// proxyOfTraces returns the proxy for a request. It refuses those that follow a redirect:
// another host must not get the header. With a client of our own, the exporter would ignore
// the variables for TLS and the timeout.
func proxyOfTraces(req *http.Request) (*url.URL, error) {
	if req.Response != nil {
		return nil, errors.New("the endpoint answered with a redirect")
	}
	return http.ProxyFromEnvironment(req)
}

// traceQueue is a queue of at most limit spans. Those that do not fit are dropped and
// counted. The queue of the SDK, which follows, is as long and so never full.
type traceQueue struct {
	sdktrace.SpanProcessor
	limit  int64
	counts *traceCounts
}

func newTraceQueue(exporter sdktrace.SpanExporter, counts *traceCounts) *traceQueue {
	q := &traceQueue{counts: counts}
	q.SpanProcessor = sdktrace.NewBatchSpanProcessor(exporter, func(o *sdktrace.BatchSpanProcessorOptions) {
		// The SDK takes any number: it panics below 0, and never pauses with a delay of 0.
		o.MaxQueueSize = max(1, min(o.MaxQueueSize, maxTraceQueue))
		o.MaxExportBatchSize = max(1, min(o.MaxExportBatchSize, o.MaxQueueSize))
		o.BatchTimeout = max(o.BatchTimeout, time.Millisecond)
		q.limit = int64(o.MaxQueueSize)
	})
	return q
}

// OnEnd implements [sdktrace.SpanProcessor]. A quarter of the queue is for the spans of
// uploads themselves.
func (q *traceQueue) OnEnd(s sdktrace.ReadOnlySpan) {
	limit := q.limit
	if s.SpanKind() != trace.SpanKindServer {
		limit -= limit / 4
	}
	if q.counts.waiting.Add(1) > limit {
		q.counts.waiting.Add(-1)
		q.counts.dropped.Add(1)
		return
	}
	q.SpanProcessor.OnEnd(s)
}

// countedExporter counts what becomes of spans, and reports failures. It has no errors, which
// the SDK would report as well.
type countedExporter struct {
	sdktrace.SpanExporter
	endpoint *url.URL
	counts   *traceCounts
	report   func(error)
}

// ExportSpans implements [sdktrace.SpanExporter].
func (e *countedExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	n, failed := int64(len(spans)), int64(0)
	if err != nil {
		failed = min(n, rejected(err, n))
	}
	if failed > 0 {
		e.report(e.reported(err))
	}
	e.counts.waiting.Add(-n)
	e.counts.exported.Add(n - failed)
	e.counts.failed.Add(failed)
	return nil
}

// partialSuccess matches the error for a batch that the endpoint took without some of its
// spans. Its type is internal to the exporter.
var partialSuccess = regexp.MustCompile(`OTLP partial success: [\s\S]*\((\d+) spans rejected\)`)

// rejected returns how many spans of a batch of n have failed with err.
func rejected(err error, n int64) int64 {
	if m := partialSuccess.FindStringSubmatch(err.Error()); m != nil {
		n, _ = strconv.ParseInt(m[1], 10, 64)
	}
	return n
}

// reported returns err without the URL of the endpoint, and without what the endpoint
// answered, which may repeat a header.
func (e *countedExporter) reported(err error) error {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return failed.Err
	}
	text := err.Error()
	if m := partialSuccess.FindStringSubmatch(text); m != nil {
		return errors.New("the endpoint rejected " + m[1] + " spans")
	}
	text, _, _ = strings.Cut(text, "body: ")
	return errors.New(strings.TrimRight(strings.ReplaceAll(text, e.endpoint.String(), "the endpoint"), ": ("))
}
