package observe_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"spillway/health"
	"spillway/internal/account"
	"spillway/internal/outcome"
	"spillway/internal/s3event"
	"spillway/internal/sender"
	"spillway/internal/throttle"
	"spillway/observe"
	"spillway/testdata/otlpserver"
)

// parent is the traceparent of a client, up to its flags.
const (
	parentTrace = "0af7651916cd43dd8448eb211c80319c"
	parentSpan  = "b7ad6b7169203331"
	parent      = "00-" + parentTrace + "-" + parentSpan + "-"
)

// traced is what traces uploads to an endpoint.
type traced struct {
	*observe.Tracer
	*otlpserver.Server
	uploads *observe.Uploads
	log     *observer.ObservedLogs
}

// trace returns a traced whose tracer has these variables besides the endpoint.
func trace(t *testing.T, variables map[string]string) *traced {
	t.Helper()
	server := otlpserver.Start(t)
	all := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL}
	maps.Copy(all, variables)
	core, log := observer.New(zap.DebugLevel)
	tracer, err := newTracer(t, all, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	return &traced{tracer, server, observe.NewUploads(observe.UploadsConfig{
		Log: zap.New(core), Metrics: observe.NewMetrics(health.Version{}), Outcomes: health.NewOutcomes(health.OutcomeConfig{}), Tracer: tracer,
	}), log}
}

// newTracer returns a tracer with these variables in the environment, until the test ends.
func newTracer(t *testing.T, variables map[string]string, log *zap.Logger) (*observe.Tracer, error) {
	t.Helper()
	for name, value := range variables {
		t.Setenv(name, value)
	}
	return observe.NewTracer(context.Background(), observe.TracerConfig{Release: "1.2.3", Log: log, Repeats: throttle.New(time.Hour)})
}

// upload makes an upload, with what work does on its behalf.
func (x *traced) upload(header http.Header, e observe.Ended, work func(ctx context.Context)) {
	began := time.Now()
	u := x.uploads.Begin(7, observe.Sender{Sender: sender.Sender{RequestID: "request-1"}}, func() observe.Progress { return observe.Progress{} })
	ctx := u.Trace(context.Background(), header, began)
	if work != nil {
		work(ctx)
	}
	u.End(e)
}

// flushed closes the tracer and returns the spans by name.
func (x *traced) flushed(t *testing.T) map[string][]otlpserver.Span {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if !x.Close(ctx) {
		t.Error("some spans were not exported")
	}
	all := make(map[string][]otlpserver.Span)
	for _, s := range x.Spans() {
		all[s.Name] = append(all[s.Name], s)
	}
	return all
}

// spanOfUpload is the name of an upload's span.
const spanOfUpload = "POST /upload/"

// The span of an upload says what its log event says, but not who sent it.
func TestSpanOfAnUpload(t *testing.T) {
	x := trace(t, nil)
	e := ended(outcome.Failed, outcome.StoreFailed)
	e.Status, e.Message, e.User, e.Detail = 503, "The storage failed.", "somebody@example.com", "PutObject: SlowDown"
	e.Err = errors.New("secret text")
	x.upload(nil, e, nil)
	spans := x.flushed(t)
	if len(spans) != 1 || len(spans[spanOfUpload]) != 1 {
		t.Fatalf("spans: %+v", spans)
	}
	s := spans[spanOfUpload][0]
	if s.Kind != "SERVER" || s.Parent != "" || !s.Failed || s.Message != e.Message || s.Took != e.Spent.Wall() {
		t.Errorf("%+v", s)
	}
	event := x.log.FilterMessage("upload").All()[0].ContextMap()
	if event["trace_id"] != s.Trace {
		t.Errorf("the event has the trace %v, the span %s", event["trace_id"], s.Trace)
	}
	apart := []string{"user", "token_digest", "client_address", "user_agent", "error", "kinds", "status", "trace_id"}
	for name, value := range event {
		got, ok := s.Attributes["spillway."+name]
		if ok == slices.Contains(apart, name) {
			t.Errorf("%s is an attribute: %v", name, ok)
		}
		if d, isDuration := value.(time.Duration); isDuration {
			value = d.Seconds()
		}
		if ok && fmt.Sprint(got) != fmt.Sprint(value) {
			t.Errorf("%s is %v in the event, and %v in the span", name, value, got)
		}
	}
	for name, want := range map[string]any{
		"http.request.method": "POST", "http.route": "/upload/", "http.response.status_code": int64(503), "error.type": "failed",
		"spillway.store_error": "PutObject: SlowDown", "spillway.kinds.sym.files": int64(2), "spillway.kinds.sym.bytes": int64(4900),
		"spillway.waited_client": e.Spent.By[account.OnClient].Seconds(), "spillway.workers_worked": e.Spent.Workers.Seconds(),
	} {
		if s.Attributes[name] != want {
			t.Errorf("%s is %v, want %v", name, s.Attributes[name], want)
		}
	}
	if s.Resource["service.name"] != "spillway" || s.Resource["service.version"] != "1.2.3" {
		t.Errorf("the resource is %v", s.Resource)
	}
}

// Requests on behalf of an upload have spans of their own. Others have none.
func TestSpansOfRequests(t *testing.T) {
	x := trace(t, map[string]string{"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"})
	began := time.Now()
	put := s3event.Operation{
		Name: "PutObject", Bucket: "symbols", Key: "v1/a", Began: began, Took: 3 * time.Second, Attempts: 2, InFlight: time.Second, Sent: 10, Status: 503, Code: "SlowDown",
	}
	x.upload(nil, ended(outcome.Stored, outcome.NoReason), func(ctx context.Context) {
		x.Operation(ctx, put)
		x.Operation(ctx, s3event.Operation{Name: "UploadPart", Bucket: "symbols", Key: "v1/b", Part: 3, Began: began, Attempts: 1, Status: 200})
		x.Fetched(ctx, observe.Fetched{Host: "files.example.com:8443", Began: began, Took: time.Second, Status: 404, Received: 5})
		x.Fetched(ctx, observe.Fetched{Host: "files.example.com", Began: began, Failure: "connection refused"})
	})
	x.Operation(t.Context(), put) // a probe
	spans := x.flushed(t)
	root := spans[spanOfUpload][0]
	if n := len(x.Spans()); n != 5 {
		t.Errorf("%d spans, want 5", n)
	}
	for _, c := range []struct {
		span   otlpserver.Span
		took   time.Duration
		failed bool
		want   map[string]any
	}{
		{spans["S3.PutObject"][0], put.Took, true, map[string]any{
			"rpc.system": "aws-api", "rpc.service": "S3", "rpc.method": "PutObject", "aws.s3.bucket": "symbols", "aws.s3.key": "v1/a",
			"spillway.attempts": int64(2), "spillway.in_flight": 1.0, "spillway.sent_bytes": int64(10), "http.response.status_code": int64(503), "error.type": "SlowDown",
		}},
		{spans["S3.UploadPart"][0], 0, false, map[string]any{
			"rpc.system": "aws-api", "rpc.service": "S3", "rpc.method": "UploadPart", "aws.s3.bucket": "symbols", "aws.s3.key": "v1/b", "aws.s3.part_number": int64(3),
			"spillway.attempts": int64(1), "spillway.in_flight": 0.0, "http.response.status_code": int64(200),
		}},
		{spans["GET"][0], time.Second, true, map[string]any{
			"http.request.method": "GET", "server.address": "files.example.com", "server.port": int64(8443),
			"http.response.status_code": int64(404), "spillway.received_bytes": int64(5), "error.type": "Not Found",
		}},
		{spans["GET"][1], 0, true, map[string]any{
			"http.request.method": "GET", "server.address": "files.example.com", "spillway.received_bytes": int64(0), "error.type": "connection refused",
		}},
	} {
		s := c.span
		if s.Parent != root.ID || s.Trace != root.Trace || s.Kind != "CLIENT" || s.Failed != c.failed || s.Took != c.took || !maps.Equal(s.Attributes, c.want) {
			t.Errorf("%+v, want %v", s, c.want)
		}
	}
	for name, want := range map[string]any{
		"S3.PutObject.count": int64(1), "S3.PutObject.failed": int64(1), "S3.PutObject.seconds": 3.0, "GET.count": int64(2), "GET.failed": int64(2), "S3.UploadPart.failed": nil,
	} {
		if got := root.Attributes["spillway.requests."+name]; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// An upload of 20,000 files has a span for the first requests, those that failed, and the
// slowest. The others are counted.
func TestSpansAreBounded(t *testing.T) {
	const files = 20_000
	x := trace(t, nil)
	began, slow := time.Now(), map[int]bool{}
	x.upload(nil, ended(outcome.Stored, outcome.NoReason), func(ctx context.Context) {
		for n := range files {
			head := s3event.Operation{Name: "HeadObject", Key: fmt.Sprint(n), Began: began, Took: time.Duration(n%1000) * time.Microsecond}
			if n%2000 == 1500 {
				head.Took, slow[n] = time.Second, true
			}
			put := s3event.Operation{Name: "PutObject", Key: fmt.Sprint(n)}
			if n >= 15_000 && n < 15_060 {
				put.Code = "SlowDown"
			}
			x.Operation(ctx, head)
			x.Operation(ctx, put)
		}
	})
	spans := x.flushed(t)
	attributes := spans[spanOfUpload][0].Attributes
	if heads := spans["S3.HeadObject"]; len(heads) != 110 {
		t.Errorf("%d spans of HeadObject, want 110", len(heads))
	}
	for _, s := range spans["S3.HeadObject"] {
		if s.Took == time.Second {
			delete(slow, number(t, s))
		}
	}
	if len(slow) != 0 {
		t.Errorf("the slowest requests %v have no span", slow)
	}
	failed := 0
	for _, s := range spans["S3.PutObject"] {
		if s.Failed {
			failed++
		}
	}
	// 50 for failing, and 10 in the place of slow ones, which all took the same.
	if n := len(spans["S3.PutObject"]); n != 160 || failed < 50 {
		t.Errorf("%d spans of PutObject, of which %d failed", n, failed)
	}
	for name, want := range map[string]int64{
		"HeadObject.count": files, "HeadObject.without_span": files - 110, "PutObject.count": files, "PutObject.failed": 60, "PutObject.without_span": files - 160,
	} {
		if got := attributes["spillway.requests.S3."+name]; got != want {
			t.Errorf("%s is %v, want %d", name, got, want)
		}
	}
}

// All uploads together keep a bounded number of requests for their spans.
func TestRequestsOfAllUploadsAreBounded(t *testing.T) {
	x := trace(t, nil)
	x.Answer(otlpserver.Hang)
	const most = 8192
	kept := 0
	for n := 0; kept < most; n++ {
		ctx := x.uploads.Begin(int64(n), observe.Sender{}, nil).Trace(t.Context(), nil, time.Now())
		for range 100 {
			x.Operation(ctx, s3event.Operation{Name: "HeadObject"})
			kept++
		}
	}
	x.Answer(nil)
	x.upload(nil, ended(outcome.Stored, outcome.NoReason), func(ctx context.Context) {
		x.Operation(ctx, s3event.Operation{Name: "HeadObject"})
	})
	spans := x.flushed(t)
	if len(x.Spans()) != 1 || spans[spanOfUpload][0].Attributes["spillway.requests.S3.HeadObject.without_span"] != int64(1) {
		t.Errorf("%+v", x.Spans())
	}
}

// A client's trace goes on in the upload's span. Its flag decides whether the span is
// exported, unless the sampler says otherwise.
func TestTracesOfClients(t *testing.T) {
	for _, c := range []struct {
		name, sampler, argument string
		traceparent, state      string
		exported, taken, keeps  bool
	}{
		{"sampled", "", "", parent + "01", "", true, true, false},
		{"with a state", "", "", parent + "01", "vendor=1", true, true, true},
		{"with a state that is long", "", "", parent + "01", "vendor=" + strings.Repeat("x", 200) + ",b=" + strings.Repeat("y", 200) + ",c=" + strings.Repeat("z", 200), true, true, false},
		{"not sampled", "", "", parent + "00", "", false, true, false},
		{"none", "", "", "", "", true, false, false},
		{"malformed", "", "", "00-xyz-01", "vendor=1", true, false, false},
		{"of zeros", "", "", "00-" + strings.Repeat("0", 32) + "-" + parentSpan + "-01", "", true, false, false},
		{"not sampled, always on", "always_on", "", parent + "00", "", true, true, false},
		{"sampled, always off", "always_off", "", parent + "01", "", false, true, false},
		{"sampled, off without a parent", "parentbased_always_off", "", parent + "01", "", true, true, false},
		{"none, off without a parent", "parentbased_always_off", "", "", "", false, false, false},
		{"none, a ratio of 0", "parentbased_traceidratio", "0", "", "", false, false, false},
		{"none, a ratio of 1", "traceidratio", "1.0", "", "", true, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := trace(t, map[string]string{"OTEL_TRACES_SAMPLER": c.sampler, "OTEL_TRACES_SAMPLER_ARG": c.argument})
			id := ""
			x.upload(http.Header{"Traceparent": {c.traceparent}, "Tracestate": {c.state}}, ended(outcome.Stored, outcome.NoReason), func(ctx context.Context) {
				id = x.TraceID(ctx)
				x.Operation(ctx, s3event.Operation{Name: "HeadObject"})
			})
			spans := x.flushed(t)
			logged, _ := x.log.FilterMessage("upload").All()[0].ContextMap()["trace_id"].(string)
			if (logged == parentTrace) != c.taken || (logged != "") != (c.taken || c.exported) {
				t.Errorf("the log has the trace %q", logged)
			}
			if !c.exported {
				if len(spans) != 0 || id != "" {
					t.Errorf("exported: %+v, trace %q", spans, id)
				}
				return
			}
			if len(spans) != 2 {
				t.Fatalf("exported: %+v", spans)
			}
			s := spans[spanOfUpload][0]
			if s.Trace != logged || id != logged || (s.Parent == parentSpan) != c.taken || (s.State == c.state) != (c.keeps || c.state == "") {
				t.Errorf("%+v, trace %q", s, id)
			}
		})
	}
}

// Uploads without a known token have no spans, whatever their flag says.
func TestNoSpansOfStrangers(t *testing.T) {
	x := trace(t, nil)
	e := ended(outcome.Refused, outcome.BadToken)
	e.Anonymous = true
	x.upload(http.Header{"Traceparent": {parent + "01"}}, e, nil)
	x.upload(nil, e, nil)
	if spans := x.flushed(t); len(spans) != 0 {
		t.Errorf("%+v", spans)
	}
}

// number returns the number that a span has as its key.
func number(t *testing.T, s otlpserver.Span) int {
	t.Helper()
	n, err := strconv.Atoi(fmt.Sprint(s.Attributes["aws.s3.key"]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
