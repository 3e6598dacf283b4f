package s3sink

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"spillway/internal/s3event"
)

// maxAnswer bounds the body of an answer, in bytes. The longest that is asked
// for is a page of a listing: a thousand rows of some 2 KB.
const maxAnswer = 4 << 20

var errLongAnswer = errors.New("s3: the body of the answer is too long")

// bounded is the HTTP client under the SDK. Here, and not around the SDK's
// operations, requests are counted and timed, so that the pause between two
// attempts neither holds a slot nor uses up a deadline.
type bounded struct {
	transport http.RoundTripper
	share     chan struct{} // one for each request that may be in flight to the bucket
	slots     chan struct{} // and to all buckets; taken after share
	throttle  *throttle     // of the bucket; waited for between share and slots
	retries   *budget       // of the bucket

	operation func(ctx context.Context) string // that a request's context belongs to
	told      func(s3event.Attempt)            // of each attempt
}

// Do sends one attempt. The answer's body has been read when it returns: all
// answers are short, and one that is cut off is an error here, where the SDK
// tries again, and not later, where it would not.
func (c *bounded) Do(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if err := enter(ctx, c.share); err != nil {
		return nil, err
	}
	defer func() { <-c.share }()
	// Before taking one of the slots for all buckets: while one bucket throttles,
	// requests to the other go on.
	if err := c.throttle.wait(ctx); err != nil {
		return nil, err
	}
	if err := enter(ctx, c.slots); err != nil {
		return nil, err
	}
	defer func() { <-c.slots }()
	a := s3event.Attempt{Operation: c.operation(ctx)}
	began := time.Now()
	resp, err := c.send(req, &a)
	a.Took, a.Err = time.Since(began), err
	c.learn(began, a)
	c.told(a)
	return resp, err
}

// enter takes one of the places. The error is the cause of ctx's end.
func enter(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// learn takes from an attempt that began at that time how the store is doing.
func (c *bounded) learn(began time.Time, a s3event.Attempt) {
	timeout, isNet := errors.AsType[net.Error](a.Err)
	switch {
	case throttles(a.Status):
		c.throttle.throttled(began, time.Now())
	case a.Err == nil && a.Status < http.StatusInternalServerError:
		c.throttle.succeeded(time.Now())
		c.retries.succeeded()
	case isNet && timeout.Timeout():
		// The server may be gone, and the idle connections with it. The next attempt
		// dials, and looks the server's address up again.
		if pool, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
			pool.CloseIdleConnections()
		}
	}
}

// send sends an attempt that has its slot, and takes note of it.
func (c *bounded) send(req *http.Request, a *s3event.Attempt) (*http.Response, error) {
	ctx := req.Context()
	limits := limitsOf(ctx)
	timed, cancel := context.WithTimeout(context.WithoutCancel(ctx), limits.attempt)
	defer cancel()
	attempt, headArrived, end := watchHead(timed, limits.head)
	defer end(nil)
	req = req.WithContext(attempt)
	sent := watch(req)
	defer func() { a.Sent = sent.count() }()
	stop := context.AfterFunc(ctx, func() {
		if !sent.keep() || !isLasting(ctx) {
			cancel()
		}
	})
	defer stop()

	resp, err := c.transport.RoundTrip(req)
	headArrived()
	if err != nil {
		if late := context.Cause(attempt); errors.Is(late, errNoHead) {
			return nil, late
		}
		return nil, err
	}
	a.Status = resp.StatusCode
	received := resp.Body // resp gets another below
	defer func() { _ = received.Close() }()
	body, err := io.ReadAll(io.LimitReader(received, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswer {
		return nil, errLongAnswer
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

type lastingKey struct{}

// lasting returns a context whose end keeps requests from being tried again,
// and does not cut off an attempt that has been sent to its last byte: for what
// the store will do anyway then, so that its answer must not be missed. An
// upload whose answer nobody has seen cannot be aborted, and a part that
// arrives after the abort of its upload may be kept.
func lasting(ctx context.Context) context.Context {
	return context.WithValue(ctx, lastingKey{}, true)
}

func isLasting(ctx context.Context) bool { return ctx.Value(lastingKey{}) != nil }

// sending is the body of a request on its way.
type sending struct {
	io.ReadCloser // nil if the request has no body

	mu   sync.Mutex
	read int64 // bytes that have been read
	left int64 // bytes that have not been
	cut  bool  // no more are read
}

// watch puts a sending in the place of the request's body.
func watch(req *http.Request) *sending {
	s := &sending{}
	if req.Body != nil {
		s.ReadCloser = req.Body
		s.left = req.ContentLength
		req.Body = s
	}
	return s
}

func (s *sending) Read(p []byte) (int, error) {
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

// keep reports whether the last byte has been read, to be sent. If not, it will
// not be.
func (s *sending) keep() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = s.left > 0
	return !s.cut
}

// count is how many bytes have been read, to be sent.
func (s *sending) count() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}
