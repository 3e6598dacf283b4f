package observe

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"spillway/internal/s3event"
	"spillway/internal/throttle"
)

// Only this file and its neighbours trace*.go know of OpenTelemetry.

// maxCalls is how many requests of all uploads under way are kept for their spans: some
// 4 MiB.
const maxCalls = 8192

// TracerConfig configures a [Tracer]. Every field must be set.
type TracerConfig struct {
	Release string // version of the program
	Log     *zap.Logger
	Repeats *throttle.Throttle // of messages about exports that fail
}

// A Tracer exports one span for each upload to an OTLP endpoint, and below it spans for the
// upload's requests to the store and to the host of its archive. It never waits for the
// endpoint. A nil Tracer does nothing.
//
// Uploads without a known token have no span. Anybody could fill the queue with them.
type Tracer struct {
	takeOver bool // the traces of clients
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider
	exporter *otlptrace.Exporter
	counts   *traceCounts
	kept     atomic.Int64 // requests of uploads under way, up to maxCalls
}

// traceCounts counts the spans that have ended.
type traceCounts struct {
	waiting  atomic.Int64 // in the queue, and being exported
	exported atomic.Int64
	failed   atomic.Int64 // the endpoint did not take them
	dropped  atomic.Int64 // the queue was full
}

// NewTracer returns a Tracer as the standard OTEL_ variables describe it, and connects to
// nothing yet. It is nil if they name no endpoint. The error says which variable cannot be
// used, or why. It quotes nothing that may be a secret.
func NewTracer(ctx context.Context, cfg TracerConfig) (*Tracer, error) {
	endpoint, err := traceEndpoint()
	if endpoint == nil || err != nil {
		return nil, err
	}
	report := func(err error) {
		text := clip(secrets.ReplaceAllString(err.Error(), scrubbed))
		cfg.Repeats.Do("traces", func(omitted int) {
			cfg.Log.Warn("spans were not exported", zap.String("error", text), zap.Int("omitted", omitted))
		})
	}
	// The SDK would write both to the standard error.
	setup := &setupErrors{}
	otel.SetLogger(logr.New(setup))
	otel.SetErrorHandler(setup)
	t, err := newTracer(ctx, endpoint, cfg.Release, report)
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(report))
	if err != nil {
		return nil, err
	}
	if err := setup.first(); err != nil {
		t.Close(ctx)
		return nil, err
	}
	cfg.Log.Info("spans are exported", zap.String("host", endpoint.Host))
	return t, nil
}

func newTracer(ctx context.Context, endpoint *url.URL, release string, report func(error)) (*Tracer, error) {
	described, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", "spillway"), attribute.String("service.version", release)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	t := &Tracer{takeOver: takesOverTraces(), counts: &traceCounts{}}
	if t.exporter, err = newTraceExporter(ctx, endpoint); err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_…: %w", err)
	}
	t.provider = sdktrace.NewTracerProvider(
		sdktrace.WithResource(described),
		sdktrace.WithSpanProcessor(newTraceQueue(&countedExporter{t.exporter, endpoint, t.counts, report}, t.counts)),
	)
	t.tracer = t.provider.Tracer("spillway")
	return t, nil
}

// Close exports the spans that wait, until ctx ends. It reports whether all were exported
// in time, or had failed before. Later spans are lost.
func (t *Tracer) Close(ctx context.Context) bool {
	if t == nil {
		return true
	}
	failed := t.counts.failed.Load()
	err := t.provider.Shutdown(ctx)
	_ = t.exporter.Shutdown(ctx) // ends requests, also if ctx has ended
	return err == nil && t.counts.failed.Load() == failed
}

// spans returns how many spans were exported, how many the endpoint did not take, and how
// many were dropped because the queue was full.
func (t *Tracer) spans() (exported, failed, dropped int) {
	if t == nil {
		return 0, 0, 0
	}
	return int(t.counts.exported.Load()), int(t.counts.failed.Load()), int(t.counts.dropped.Load())
}

// Operation adds a request to the store to the upload whose context ctx is derived from, if
// there is one.
func (t *Tracer) Operation(ctx context.Context, o s3event.Operation) {
	if u := traceOf(ctx); u != nil {
		o.Key, o.Code = clip(o.Key), clip(o.Code)
		u.add((*storeCall)(&o))
	}
}

// A Fetched describes a request to the host of an upload's archive. It has no part of the
// URL but the host.
type Fetched struct {
	Host     string // with its port, if the URL has one
	Began    time.Time
	Took     time.Duration
	Status   int    // of the answer; 0 if there was none
	Received int64  // bytes of the answer's body
	Failure  string // empty if nothing failed
}

// Fetched adds a request to the host of an archive to the upload whose context ctx is derived
// from.
func (t *Tracer) Fetched(ctx context.Context, f Fetched) {
	if u := traceOf(ctx); u != nil {
		f.Host, f.Failure = clip(f.Host), clip(f.Failure)
		u.add((*fetchCall)(&f))
	}
}

// TraceID returns the ID of the trace that ctx belongs to; empty if there is none, or if it
// is not sampled.
func (t *Tracer) TraceID(ctx context.Context) string {
	if t == nil {
		return ""
	}
	return traceOf(ctx).exportedID(false)
}

// begin begins the span of an upload.
func (t *Tracer) begin(ctx context.Context, header http.Header, began time.Time) *uploadTrace {
	if t == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	var parent trace.SpanContext
	if t.takeOver {
		parent = parentOf(ctx, header)
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	ctx, span := t.tracer.Start(ctx, "POST /upload/", trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(began))
	return &uploadTrace{tracer: t, span: span, ctx: ctx, began: began, id: span.SpanContext().TraceID().String(), given: parent.IsValid()}
}

// keep reports whether there is room to keep one more request.
func (t *Tracer) keep() bool {
	if t.kept.Add(1) > maxCalls {
		t.kept.Add(-1)
		return false
	}
	return true
}
