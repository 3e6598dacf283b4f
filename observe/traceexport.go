package observe

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// traceQueue is a queue of at most limit spans. Those that do not fit are dropped and
// counted. The queue of the SDK, which follows, is as long and so never full.
type traceQueue struct {
	sdktrace.SpanProcessor
	limit  int64
	counts *traceCounts
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
	counts *traceCounts
	report func(error)
}

// ExportSpans implements [sdktrace.SpanExporter].
func (e *countedExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	n, failed := int64(len(spans)), int64(0)
	if err != nil {
		failed = n
		if partial, ok := errors.AsType[*rejectedError](err); ok {
			failed = min(n, partial.spans)
		}
		e.report(err)
	}
	e.counts.waiting.Add(-n)
	e.counts.exported.Add(n - failed)
	e.counts.failed.Add(failed)
	return nil
}

// A rejectedError says that the endpoint took a batch without some of its spans.
type rejectedError struct{ spans int64 }

func (e *rejectedError) Error() string { return fmt.Sprintf("the endpoint rejected %d spans", e.spans) }

// traceClient sends spans to an OTLP endpoint (OTLP/HTTP, binary protobuf). It is an
// otlptrace.Client. The one in otlptracehttp links all of gRPC, which is 4 MB, and its errors
// quote settings that may be secrets.
type traceClient struct {
	settings *traceSettings
	client   *http.Client
	stopped  context.Context // requests end with it
	stop     context.CancelFunc
}

const (
	// maxTraceAnswer bounds the answer of an endpoint, in bytes.
	maxTraceAnswer = 64 << 10

	// The pauses between attempts double from firstTracePause on, up to longestTracePause.
	firstTracePause   = time.Second
	longestTracePause = 15 * time.Second
)

func newTraceClient(s *traceSettings) *traceClient {
	c := &traceClient{settings: s, client: &http.Client{
		Timeout: s.timeout,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: s.timeout}).DialContext,
			TLSClientConfig:        s.tls,
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: maxTraceAnswer,
			MaxIdleConns:           1,
			IdleConnTimeout:        90 * time.Second,
		},
		// Another host must not get the header.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	c.stopped, c.stop = context.WithCancel(context.Background())
	return c
}

// Start implements otlptrace.Client.
func (c *traceClient) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *traceClient) Stop(context.Context) error {
	c.client.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. It repeats a request that failed for a moment,
// until ctx ends.
func (c *traceClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.stopped, cancel)() //nolint:contextcheck // a request ends with both contexts
	// On the wire, this is an ExportTraceServiceRequest, whose package links gRPC.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err == nil && c.settings.gzip {
		body, err = zipped(body)
	}
	if err != nil {
		return err
	}
	for pause := firstTracePause; ; pause = min(2*pause, longestTracePause) {
		wait, err := c.send(ctx, body)
		if err == nil || wait < 0 {
			return err
		}
		select {
		case <-time.After(max(wait, pause/2+rand.N(pause/2))):
		case <-ctx.Done():
			return err
		}
	}
}

func zipped(body []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// send makes one attempt. If it fails, wait is the least time until the next one; negative
// if there should be none. No error contains the URL, or what the endpoint answered.
func (c *traceClient) send(ctx context.Context, body []byte) (wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.settings.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return -1, errors.New("the endpoint is not a URL")
	}
	req.Header = c.settings.header.Clone()
	req.Header.Set("Content-Type", "application/x-protobuf")
	if c.settings.gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := c.client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the URL
		}
		return 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxTraceAnswer))
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return time.Duration(max(0, min(seconds, 600))) * time.Second, fmt.Errorf("the endpoint answered with status %d", resp.StatusCode)
	}
	switch {
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return -1, fmt.Errorf("the endpoint answered with status %d", resp.StatusCode)
	case err != nil:
		return -1, nil // it has taken them
	}
	if n := rejected(answer); n > 0 {
		return -1, &rejectedError{n}
	}
	return 0, nil
}

// rejected returns how many spans an answer says were rejected: the field
// partial_success.rejected_spans of an ExportTraceServiceResponse.
func rejected(answer []byte) int64 {
	const partialSuccess, rejectedSpans = 1, 1
	partial, _ := protowire.ConsumeBytes(field(answer, partialSuccess, protowire.BytesType))
	n, _ := protowire.ConsumeVarint(field(partial, rejectedSpans, protowire.VarintType))
	return int64(n)
}

// field returns message from the value of its first field with that number and type on; nil
// if there is none.
func field(message []byte, number protowire.Number, kind protowire.Type) []byte {
	for len(message) > 0 {
		at, is, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil
		}
		message = message[n:]
		if at == number && is == kind {
			return message
		}
		if n = protowire.ConsumeFieldValue(at, is, message); n < 0 {
			return nil
		}
		message = message[n:]
	}
	return nil
}
