package upload

import (
	"errors"
	"net/http"
	"time"

	"spillway/internal/outcome"
)

const (
	// shortDrain and shortDrainTime bound the drain after an upload that this server ended:
	// it took too long, or the server shuts down.
	shortDrain     = 64 << 20
	shortDrainTime = 30 * time.Second

	// strangerDrainTime bounds the drain of clients without a token that may upload. Many
	// clients read no answer before they have sent everything. If the server closes the
	// connection before, they report a broken connection, or a TLS error, and not the 403.
	strangerDrainTime = 5 * time.Minute

	// continueWait is the time after the refusal of a client that expects a 100 (Continue) in
	// which its body may begin. Clients need not wait for the 100 (RFC 9110, section 10.1.1).
	// Most notice the refusal and close the connection. Mono sends the body all the same, some
	// of its classes only once they have gathered it in memory.
	continueWait = 10 * time.Second
)

// drainFactor times --max-upload-size bounds the drain after any other refusal, in bytes.
// With a factor of 1, a client that sends more than --max-upload-size would not get the 413
// that says so.
const drainFactor = 2

// bodyRest is the rest of a body after the answer, and how much of it is drained. It keeps
// nothing of the upload.
type bodyRest struct {
	api     *API
	body    *body
	drains  chan struct{} // a slot for each body that is drained
	limit   int64         // bytes
	d       time.Duration
	leave   bool // drain nothing
	unasked bool // the client expected a 100 (Continue), and got none
}

// newBodyRest decides how to read the rest of the body after an answer with verdict v.
func newBodyRest(u *upload, v verdict) *bodyRest {
	most := u.api.cfg.MaxUploadSize + formOverhead
	rest := &bodyRest{api: u.api, body: u.body, drains: u.api.drains, limit: drainFactor * most, d: u.api.cfg.UploadTimeout}
	switch {
	case u.body.complete() || v.outcome == outcome.ClientGone:
		rest.leave = true
	case u.r.Header.Get("Expect") != "" && !u.body.started:
		rest.unasked = true
	}
	switch {
	case v.outcome == outcome.TimedOut || v.outcome == outcome.ShutDown:
		rest.limit, rest.d = shortDrain, shortDrainTime
	case v.status == http.StatusForbidden || v.reason == outcome.Unchecked:
		rest.drains, rest.limit, rest.d = u.api.strangerDrains, most, min(strangerDrainTime, rest.d)
	}
	return rest
}

// read drains the rest within its limits.
func (r *bodyRest) read() {
	if r.leave {
		return
	}
	if r.unasked {
		// A client that waits for the 100 sees at once that the connection ends.
		conn, err := r.body.hijackUnread()
		if err != nil {
			return
		}
		defer conn.Close()
		if !r.body.comes(r.api.closing, continueWait) {
			return
		}
	}
	select {
	case r.drains <- struct{}{}:
		defer func() { <-r.drains }()
	default:
		r.wait()
		return
	}
	if !r.unasked && r.body.unreadable() {
		conn, err := r.body.hijack()
		if err != nil {
			r.wait()
			return
		}
		defer conn.Close()
	}
	err := r.body.drain(r.api.closing, r.limit, r.d)
	if _, gone := errors.AsType[*goneError](err); err != nil && !gone {
		r.wait()
	}
}

// wait gives the client time to read its answer.
func (r *bodyRest) wait() {
	timer := time.NewTimer(closeGrace)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.api.closing.Done():
	}
}
