package fetch

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"spillway/internal/account"
)

// answer is the response to one request, whose body may be read.
type answer struct {
	status int
	header http.Header
	length int64 // of the body in bytes, as stated; -1 if it is not

	ctx    context.Context // of the request
	cancel context.CancelCauseFunc
	body   io.ReadCloser
}

// get sends a request for u. The error is the cause of the download's context, an
// [*AddressError], or a [*RemoteError]; a status is no error.
func (d *Download) get(u *url.URL, header http.Header) (*answer, error) {
	defer d.account.During(account.OnRemote)()
	ctx, cancel := context.WithCancelCause(d.ctx)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		cancel(nil)
		return nil, &InvalidError{}
	}
	if header != nil {
		r.Header = header
	}
	d.requests++
	r.Close = r.Header.Get("Range") == "" // nothing comes after a whole file
	r.Header.Set("Accept-Encoding", "identity")
	r.Header.Set("User-Agent", "Spillway")
	resp, err := d.fetcher.transport.RoundTrip(r) //nolint:bodyclose // by answer.close
	if err != nil {
		cancel(nil)
		if d.ctx.Err() != nil {
			return nil, context.Cause(d.ctx)
		}
		if e, ok := errors.AsType[*AddressError](err); ok {
			return nil, e
		}
		return nil, &RemoteError{URL: Shown(u), Reason: reason(err), Offset: d.offset}
	}
	return &answer{status: resp.StatusCode, header: resp.Header, length: resp.ContentLength, ctx: ctx, cancel: cancel, body: resp.Body}, nil
}

// read reads from the body. If nothing arrives for idle, the error is errStalled.
func (a *answer) read(p []byte, idle time.Duration) (int, error) {
	stalled := time.AfterFunc(idle, func() { a.cancel(errStalled) })
	n, err := a.body.Read(p)
	stalled.Stop()
	if cause := context.Cause(a.ctx); err != nil && err != io.EOF && cause != nil { //nolint:errorlint // a Reader returns io.EOF unwrapped
		err = cause
	}
	return n, err
}

// close ends the request. It may be called more than once.
func (a *answer) close() {
	a.cancel(context.Canceled)
	_ = a.body.Close() // nothing of it matters any more
}

// checkEncoding refuses a body that is not the file itself.
func (a *answer) checkEncoding(u *url.URL) error {
	for _, value := range a.header["Content-Encoding"] {
		for encoding := range strings.SplitSeq(value, ",") {
			if encoding = strings.TrimSpace(encoding); encoding != "" && !strings.EqualFold(encoding, "identity") {
				return &EncodingError{URL: Shown(u), Encoding: encoding}
			}
		}
	}
	return nil
}
