// Package s3fault lets an S3 server fail, at one chosen call of a test.
package s3fault

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Kind is the way in which a call fails.
type Kind int

const (
	InternalError Kind = iota // answered with status 500
	Timeout                   // not answered until the attempt's deadline
	Reset                     // the connection is reset
)

func (k Kind) String() string {
	return [...]string{"internal error", "timeout", "reset"}[k]
}

// Fault is what is to fail.
type Fault struct {
	Call    string // as [Call] has it
	Kind    Kind
	Applied bool // the request reaches the server, and only its answer is lost
	Always  bool // every attempt fails, and not only the first one
}

func (f Fault) String() string {
	applied, times := "not applied", "once"
	if f.Applied {
		applied = "applied"
	}
	if f.Always {
		times = "always"
	}
	return fmt.Sprintf("%s, %s, %s, %s", f.Call, f.Kind, applied, times)
}

// Call names the call that a path-style request is an attempt at, by its
// operation, key, and part number, e.g. "UploadPart v1/a/b 2".
func Call(req *http.Request) string {
	_, key, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	query := req.URL.Query()
	if query.Has("partNumber") {
		return "UploadPart " + key + " " + query.Get("partNumber")
	}
	operation := req.Method
	switch {
	case req.Method == http.MethodPost && query.Has("uploads"):
		operation = "CreateMultipartUpload"
	case req.Method == http.MethodPost && query.Has("uploadId"):
		operation = "CompleteMultipartUpload"
	case req.Method == http.MethodDelete && query.Has("uploadId"):
		operation = "AbortMultipartUpload"
	case req.Method == http.MethodPut:
		operation = "PutObject"
	case req.Method == http.MethodGet && query.Has("uploads"):
		return "ListMultipartUploads " + query.Get("prefix")
	case req.Method == http.MethodHead:
		operation = "HeadObject"
	}
	return operation + " " + key
}

// Transport passes requests on, counts them, and fails some.
type Transport struct {
	Next http.RoundTripper

	mu       sync.Mutex
	fault    *Fault
	left     int // attempts still to fail; -1: all
	failed   int
	attempts map[string]int
	requests int
	watch    func(n int)
	sent     atomic.Int64
}

// Inject sets the fault, or with nil takes it away.
func (t *Transport) Inject(f *Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fault, t.left = f, 1
	if f != nil && f.Always {
		t.left = -1
	}
}

// Failed is how many attempts have been failed.
func (t *Transport) Failed() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

// Calls returns the calls so far, sorted.
func (t *Transport) Calls() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	calls := make([]string, 0, len(t.attempts))
	for call := range t.attempts {
		calls = append(calls, call)
	}
	slices.Sort(calls)
	return calls
}

// Attempts returns how many requests there were, by operation.
func (t *Transport) Attempts() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	by := make(map[string]int)
	for call, n := range t.attempts {
		operation, _, _ := strings.Cut(call, " ")
		by[operation] += n
	}
	return by
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
	t.mu.Lock()
	defer t.mu.Unlock()
	t.attempts = nil
	t.failed = 0
	t.sent.Store(0)
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.Method == http.MethodPut {
		counted := req.Clone(req.Context())
		counted.Body = &countedBody{req.Body, &t.sent}
		req = counted
	}
	f := t.next(Call(req))
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
	case Reset:
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	default:
		return internalError(req), nil
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

// next counts an attempt at a call and returns the fault if it is to fail.
func (t *Transport) next(call string) *Fault {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.attempts == nil {
		t.attempts = make(map[string]int)
	}
	t.attempts[call]++
	if t.fault == nil || t.fault.Call != call || t.left == 0 {
		return nil
	}
	if t.left > 0 {
		t.left--
	}
	t.failed++
	return t.fault
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

func internalError(req *http.Request) *http.Response {
	body := `<?xml version="1.0" encoding="UTF-8"?><Error><Code>InternalError</Code><Message>We encountered an internal error. Please try again.</Message></Error>`
	if req.Method == http.MethodHead {
		body = ""
	}
	return &http.Response{
		Status:        "500 Internal Server Error",
		StatusCode:    http.StatusInternalServerError,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        http.Header{"Content-Type": {"application/xml"}},
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
