package observe

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap/zapcore"

	"spillway/internal/s3event"
)

// maxTracestate bounds the tracestate that is taken over from a client, in bytes: each
// span has it. Longer ones may be dropped (W3C Trace Context, section 3.3.1.5).
const maxTracestate = 512

// parentOf returns the span of the client that a request's header names. It keeps nothing
// of the header's memory. Whether it is valid says whether there is one.
func parentOf(ctx context.Context, header http.Header) trace.SpanContext {
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(header))
	parent := trace.SpanContextFromContext(ctx)
	text := parent.TraceState().String() // a copy
	if len(text) > maxTracestate {
		text = ""
	}
	state, err := trace.ParseTraceState(text)
	if err != nil {
		state = trace.TraceState{}
	}
	return parent.WithTraceState(state)
}

type traceKey struct{}

// traceOf returns the trace of the upload that ctx is derived from; nil if there is none.
func traceOf(ctx context.Context) *uploadTrace {
	u, _ := ctx.Value(traceKey{}).(*uploadTrace)
	return u
}

// uploadTrace is the span of an upload under way, and the requests that get spans of their
// own when it ends. A nil uploadTrace does nothing.
type uploadTrace struct {
	tracer *Tracer
	span   trace.Span
	ctx    context.Context // with the span; never ends
	began  time.Time
	id     string
	given  bool // the client has sent the ID

	mu    sync.Mutex        // guards the fields below
	calls map[string]*calls // by name
	kept  int64             // requests in calls
	ended bool
}

// exportedID returns the ID of the trace; empty if the span will not be exported. anonymous
// says that the upload has no known token.
func (u *uploadTrace) exportedID(anonymous bool) string {
	if u == nil || anonymous || !u.span.IsRecording() {
		return ""
	}
	return u.id
}

// loggedID returns the ID that the log has: of a trace that is exported, or that the client
// knows; else empty.
func (u *uploadTrace) loggedID(anonymous bool) string {
	if u != nil && u.given {
		return u.id
	}
	return u.exportedID(anonymous)
}

// context returns ctx with the trace, if requests need to find it.
func (u *uploadTrace) context(ctx context.Context) context.Context {
	if u == nil || !u.span.IsRecording() {
		return ctx
	}
	return context.WithValue(ctx, traceKey{}, u)
}

// add adds a request.
func (u *uploadTrace) add(c call) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return
	}
	if u.calls == nil {
		u.calls = make(map[string]*calls)
	}
	all := u.calls[c.name()]
	if all == nil {
		all = &calls{}
		u.calls[c.name()] = all
	}
	all.add(c, func() bool {
		room := u.tracer.keep()
		if room {
			u.kept++
		}
		return room
	})
}

// end ends the trace, and hands its spans to the queue: the upload's own first, so that it
// gets a place before those of its requests.
func (u *uploadTrace) end(x *Upload, e *Ended) {
	if u == nil {
		return
	}
	u.mu.Lock()
	all, kept := u.calls, u.kept
	u.calls, u.ended = nil, true
	u.mu.Unlock()
	defer u.tracer.kept.Add(-kept)
	if e.Anonymous || !u.span.IsRecording() {
		return // a span that does not end is not exported
	}
	u.span.SetAttributes(uploadAttributes(x, e)...)
	for name, c := range all {
		u.span.SetAttributes(c.attributes(name)...)
	}
	if e.Status >= http.StatusInternalServerError {
		u.span.SetStatus(codes.Error, clip(secrets.ReplaceAllString(e.Message, scrubbed)))
	}
	u.span.End(trace.WithTimestamp(u.began.Add(e.Spent.Wall())))

	for _, c := range all {
		for _, one := range c.all() {
			u.tracer.export(u.ctx, one)
		}
	}
}

// export makes a span of a request.
func (t *Tracer) export(parent context.Context, c call) {
	began, took := c.times()
	_, span := t.tracer.Start(parent, c.name(), trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(began), trace.WithAttributes(c.attributes()...))
	if failure := c.failure(); failure != "" {
		span.SetAttributes(attribute.String("error.type", failure))
		span.SetStatus(codes.Error, "")
	}
	span.End(trace.WithTimestamp(began.Add(took)))
}

// uploadAttributes describe an upload. Those that begin with "spillway." have the names of
// the log event. Of the log event they lack who sent the upload, and the texts of errors.
func uploadAttributes(x *Upload, e *Ended) []attribute.KeyValue {
	shape := e.Shape.bounded()
	all := []attribute.KeyValue{
		attribute.String("http.request.method", http.MethodPost),
		attribute.String("http.route", "/upload/"),
		attribute.Int("http.response.status_code", e.Status),
		attribute.Int64("spillway.id", x.id),
		attribute.String("spillway.request_id", x.sender.RequestID),
		attribute.String("spillway.outcome", string(e.Outcome)),
		attribute.String("spillway.reason", string(e.Reason)),
		attribute.String("spillway.stage", string(e.Stage)),
	}
	all = append(all, attributesOf(shapeFields(&shape))...)
	all = append(all, attributesOf(timeFields(&e.Spent))...)
	all = append(all, kindAttributes(e.Shape.Kinds)...)
	if e.Status >= http.StatusInternalServerError {
		all = append(all, attribute.String("error.type", string(e.Outcome)))
	}
	if e.Detail != "" {
		all = append(all, attribute.String("spillway.store_error", clip(e.Detail)))
	}
	if d := e.Download; d != nil {
		all = append(all, attribute.String("spillway.download_host", shape.Host), attribute.Int64("spillway.download_bytes", d.Bytes),
			attribute.Int("spillway.download_requests", d.Requests), attribute.Int("spillway.download_resumes", d.Resumes))
	}
	return all
}

// kindAttributes are the files of an archive by kind. As in the metrics, kinds have names
// from a fixed list.
func kindAttributes(of []Kind) (all []attribute.KeyValue) {
	sums := make(map[string]Kind)
	for _, k := range of {
		name := oneOf(kinds, k.Name)
		sum := sums[name]
		sums[name] = Kind{Files: sum.Files + k.Files, Bytes: sum.Bytes + k.Bytes}
	}
	for name, k := range sums {
		all = append(all, attribute.Int("spillway.kinds."+name+".files", k.Files), attribute.Int64("spillway.kinds."+name+".bytes", k.Bytes))
	}
	return all
}

// attributesOf returns fields of the log as attributes. Durations are in seconds. Fields that
// are objects are left out.
func attributesOf(fields []zapcore.Field) (all []attribute.KeyValue) {
	for _, f := range fields {
		name := "spillway." + f.Key
		switch f.Type {
		case zapcore.StringType:
			all = append(all, attribute.String(name, f.String))
		case zapcore.BoolType:
			all = append(all, attribute.Bool(name, f.Integer == 1))
		case zapcore.Int64Type:
			all = append(all, attribute.Int64(name, f.Integer))
		case zapcore.DurationType:
			all = append(all, attribute.Float64(name, time.Duration(f.Integer).Seconds()))
		default:
		}
	}
	return all
}

// storeCall is a request to the store.
type storeCall s3event.Operation

func (c *storeCall) name() string                      { return "S3." + oneOf(s3Operations, c.Name) }
func (c *storeCall) times() (time.Time, time.Duration) { return c.Began, c.Took }
func (c *storeCall) failure() string                   { return c.Code }

func (c *storeCall) attributes() []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("rpc.system", "aws-api"),
		attribute.String("rpc.service", "S3"),
		attribute.String("rpc.method", c.Name),
		attribute.String("aws.s3.bucket", c.Bucket),
		attribute.Int("spillway.attempts", c.Attempts),
		attribute.Float64("spillway.in_flight", c.InFlight.Seconds()),
	}
	if c.Key != "" {
		all = append(all, attribute.String("aws.s3.key", c.Key))
	}
	if c.Part != 0 {
		all = append(all, attribute.Int("aws.s3.part_number", int(c.Part)))
	}
	if c.Sent != 0 {
		all = append(all, attribute.Int64("spillway.sent_bytes", c.Sent))
	}
	if c.Status != 0 {
		all = append(all, attribute.Int("http.response.status_code", c.Status))
	}
	return all
}

// fetchCall is a request to the host of an archive.
type fetchCall Fetched

func (c *fetchCall) name() string                      { return http.MethodGet }
func (c *fetchCall) times() (time.Time, time.Duration) { return c.Began, c.Took }

func (c *fetchCall) failure() string {
	if c.Failure == "" && c.Status >= http.StatusBadRequest {
		return http.StatusText(c.Status)
	}
	return c.Failure
}

func (c *fetchCall) attributes() []attribute.KeyValue {
	host, port, err := net.SplitHostPort(c.Host)
	if err != nil {
		host = c.Host
	}
	all := []attribute.KeyValue{
		attribute.String("http.request.method", http.MethodGet),
		attribute.String("server.address", host),
		attribute.Int64("spillway.received_bytes", c.Received),
	}
	if n, err := strconv.Atoi(port); err == nil {
		all = append(all, attribute.Int("server.port", n))
	}
	if c.Status != 0 {
		all = append(all, attribute.Int("http.response.status_code", c.Status))
	}
	return all
}
