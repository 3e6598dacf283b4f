package fetch

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// A Request is one request of a download. It has no part of the URL but the host.
type Request struct {
	Host     string // with its port, if the URL has one
	Began    time.Time
	Took     time.Duration // to the end of the body, or until it was closed
	Status   int           // of the answer; 0 if there was none
	Received int64         // bytes of the answer's body
	Failure  string        // what happened, e.g. "connection refused"; empty if nothing failed
}

// watchedTransport calls ended at the end of each request, with its context.
type watchedTransport struct {
	http.RoundTripper
	ended func(context.Context, Request)
}

// RoundTrip implements [http.RoundTripper].
func (t *watchedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &watchedBody{ctx: r.Context(), ended: t.ended, request: Request{Host: r.URL.Host, Began: time.Now()}}
	resp, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		w.end(err)
		return resp, err
	}
	w.request.Status = resp.StatusCode
	w.ReadCloser, resp.Body = resp.Body, w
	return resp, nil
}

// watchedBody is the body of an answer. One goroutine uses it.
type watchedBody struct {
	io.ReadCloser
	ctx     context.Context                // of the request
	ended   func(context.Context, Request) // nil once it has been called
	request Request
}

func (w *watchedBody) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	w.request.Received += int64(n)
	if err != nil {
		w.end(err)
	}
	return n, err
}

func (w *watchedBody) Close() error {
	w.end(nil)
	return w.ReadCloser.Close()
}

// end tells of the request, unless that was done before.
func (w *watchedBody) end(err error) {
	if w.ended == nil {
		return
	}
	w.request.Took = time.Since(w.request.Began)
	if err != nil && err != io.EOF { //nolint:errorlint // a Reader returns io.EOF unwrapped
		w.request.Failure = w.failure(err)
	}
	w.ended(w.ctx, w.request)
	w.ended = nil
}

// failure puts an error into words, without the URL.
func (w *watchedBody) failure(err error) string {
	if _, ok := errors.AsType[*AddressError](err); ok {
		return "the address is not public"
	}
	cause := context.Cause(w.ctx)
	switch {
	case errors.Is(cause, errStalled):
		return reason(cause)
	case cause != nil:
		return "canceled"
	}
	return reason(err)
}
