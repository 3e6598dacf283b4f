package s3fault

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Transport passes requests on, counts them, and fails some.
type Transport struct {
	Injector

	Next http.RoundTripper

	mu       sync.Mutex
	requests int
	watch    func(n int)
	sent     atomic.Int64
}

// Sent is how many bytes of the bodies of PutObject and UploadPart have been
// read to be sent.
func (t *Transport) Sent() int64 { return t.sent.Load() }

// OnRequest has f called with the number of each request from now on, from 1,
// before it is sent.
func (t *Transport) OnRequest(f func(n int)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests, t.watch = 0, f
}

// Forget sets all counts to zero.
func (t *Transport) Forget() {
	t.Injector.Forget()
	t.sent.Store(0)
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.Method == http.MethodPut {
		counted := req.Clone(req.Context())
		counted.Body = &countedBody{req.Body, &t.sent}
		req = counted
	}
	call := Call(req)
	f := t.next(call)
	t.tell()
	if f == nil {
		return t.Next.RoundTrip(req)
	}
	if f.Applied {
		if err := t.lose(req); err != nil {
			return nil, err
		}
	} else if req.Body != nil {
		_ = req.Body.Close()
	}
	switch f.Kind {
	case Timeout:
		<-req.Context().Done()
		return nil, context.Cause(req.Context())
	case Reset, ResetInBody, CutAnswer:
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	default:
		return f.respond(req, call), nil
	}
}

// tell calls whom OnRequest has named.
func (t *Transport) tell() {
	t.mu.Lock()
	t.requests++
	n, watch := t.requests, t.watch
	t.mu.Unlock()
	if watch != nil {
		watch(n)
	}
}

// lose sends the request and throws its answer away.
func (t *Transport) lose(req *http.Request) error {
	resp, err := t.Next.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// respond is the answer to a request that fails.
func (f *Fault) respond(req *http.Request, call string) *http.Response {
	status, contentType, body := f.Kind.answer(call)
	if req.Method == http.MethodHead {
		body = ""
	}
	return &http.Response{
		StatusCode:    status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        http.Header{"Content-Type": {contentType}},
		ContentLength: int64(len(body)),
		Body:          io.NopCloser(strings.NewReader(body)),
		Request:       req,
	}
}

type countedBody struct {
	io.ReadCloser
	sent *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.sent.Add(int64(n))
	return n, err
}
