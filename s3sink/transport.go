package s3sink

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"spillway/internal/s3event"
)

// maxAnswer bounds the body of an answer, in bytes. The longest is a page of a listing: a
// thousand rows of up to 2 KB. Some stores list more, which is cut: see cutListing.
const maxAnswer = 4 << 20

var errLongAnswer = errors.New("s3: the body of the answer is too long")

// limitedClient is the HTTP client under the SDK. It limits and times attempts. Limits
// around the SDK's operations would count the pauses between attempts as well.
type limitedClient struct {
	transport   http.RoundTripper
	bucketSlots chan struct{} // one for each request in flight to the bucket
	allSlots    chan struct{} // one for each request in flight; taken after a bucket slot
	throttle    *throttle     // of the bucket; waited for between the two slots
	retries     *retryQuota   // of the bucket

	operation func(ctx context.Context) string // returns the operation that a context belongs to
	onAttempt func(context.Context, s3event.Attempt)
}

// Do sends one attempt and reads the whole answer, which is short. The SDK retries an
// attempt whose answer breaks off here; it would not do so later.
func (c *limitedClient) Do(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if err := acquire(ctx, c.bucketSlots); err != nil {
		return nil, err
	}
	defer func() { <-c.bucketSlots }()
	// A request that waits for one bucket's rate takes no slot from the other bucket.
	if err := c.throttle.wait(ctx); err != nil {
		return nil, err
	}
	if err := acquire(ctx, c.allSlots); err != nil {
		return nil, err
	}
	defer func() { <-c.allSlots }()
	a := s3event.Attempt{Operation: c.operation(ctx)}
	began := time.Now()
	resp, err := c.send(req, &a)
	noteError(ctx, err)
	a.Took, a.Err = time.Since(began), err
	c.record(began, a)
	noteAttempt(ctx, a)
	c.onAttempt(ctx, a)
	return resp, err
}

// acquire takes a slot. The error is the cause of ctx's end.
func acquire(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// record updates the throttle and the retry quota with an attempt that began at that
// time.
func (c *limitedClient) record(began time.Time, a s3event.Attempt) {
	timeout, isNet := errors.AsType[net.Error](a.Err)
	switch {
	case throttles(a.Status):
		c.throttle.throttled(began, time.Now())
	case a.Err == nil && a.Status < http.StatusInternalServerError:
		c.throttle.succeeded(time.Now())
		c.retries.succeeded()
	case isNet && timeout.Timeout():
		// The idle connections may lead to a server that is gone. Without them, the next
		// attempt looks the address up again and dials.
		if pool, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
			pool.CloseIdleConnections()
		}
	}
}

// send sends an attempt that has its slots, and notes its status and size in a.
func (c *limitedClient) send(req *http.Request, a *s3event.Attempt) (*http.Response, error) {
	ctx := req.Context()
	limits := limitsOf(ctx)
	timed, cancel := context.WithTimeout(context.WithoutCancel(ctx), limits.attempt)
	defer cancel()
	attempt, headArrived, end := watchHead(timed, limits.head)
	defer end(nil)
	attempt, stages := watchStage(attempt)
	req = req.WithContext(attempt)
	sent := countBody(req)
	defer func() { a.Sent = sent.count() }()
	stop := context.AfterFunc(ctx, func() {
		if !sent.cutUnlessSent() || !finishesSent(ctx) {
			cancel()
		}
	})
	defer stop()

	resp, err := c.transport.RoundTrip(req)
	headArrived()
	if err != nil {
		if late := context.Cause(attempt); errors.Is(late, errNoHead) {
			err = late
		}
		return nil, stages.failed(attempt, err)
	}
	a.Status = resp.StatusCode
	a.Date, _ = http.ParseTime(resp.Header.Get("Date"))
	received := resp.Body // replaced below
	defer func() { _ = received.Close() }()
	body, err := io.ReadAll(io.LimitReader(received, maxAnswer+1))
	if err != nil {
		return nil, stages.failed(attempt, err)
	}
	if len(body) > maxAnswer {
		if a.Operation != "ListMultipartUploads" {
			return nil, errLongAnswer
		}
		if body = cutListing(body[:maxAnswer]); body == nil {
			return nil, errLongAnswer
		}
	}
	noteRegion(resp, body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// regionHeader is where S3 says which region a bucket is in, if a request was for another.
const regionHeader = "X-Amz-Bucket-Region"

// noteRegion copies the region that the body of an error says to the header. The SDK reads
// neither.
func noteRegion(resp *http.Response, body []byte) {
	if resp.StatusCode < http.StatusMultipleChoices || resp.Header.Get(regionHeader) != "" {
		return
	}
	var refusal struct{ Region string }
	if xml.Unmarshal(body, &refusal) == nil && refusal.Region != "" {
		resp.Header.Set(regionHeader, refusal.Region)
	}
}

type finishSentKey struct{}

// finishSent returns a context under which a request ends in a different way with ctx: an
// attempt whose last byte has been sent goes on until it is answered, and is the last one.
// It is for what the store will do anyway then. An upload cannot be aborted if nobody has
// seen the answer that names it, and the store may keep a part that arrives after the
// abort of its upload.
func finishSent(ctx context.Context) context.Context {
	return context.WithValue(ctx, finishSentKey{}, true)
}

func finishesSent(ctx context.Context) bool { return ctx.Value(finishSentKey{}) != nil }

// countedBody counts the bytes of a request's body that are sent.
type countedBody struct {
	io.ReadCloser // nil if the request has no body

	mu   sync.Mutex
	read int64 // bytes
	left int64 // bytes that have not been read
	cut  bool  // reads fail
}

// countBody wraps req.Body to count its bytes.
func countBody(req *http.Request) *countedBody {
	s := &countedBody{}
	if req.Body != nil {
		s.ReadCloser = req.Body
		s.left = req.ContentLength
		req.Body = s
	}
	return s
}

func (s *countedBody) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut {
		return 0, errCut
	}
	n, err := s.ReadCloser.Read(p)
	s.read += int64(n)
	s.left -= int64(n)
	return n, err
}

// cutUnlessSent reports whether the last byte has been read. If not, no more bytes can be
// read from now on.
func (s *countedBody) cutUnlessSent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = s.left > 0
	return !s.cut
}

// count returns how many bytes have been read.
func (s *countedBody) count() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}
