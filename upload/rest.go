package upload

import (
	"errors"
	"net/http"
	"time"

	"spillway/internal/outcome"
)

const (
	// shortDrain and shortDrainTime bound what is read of a body after an
	// answer that the client gets for something else than its archive.
	shortDrain     = 64 << 20
	shortDrainTime = 30 * time.Second

	// continuePatience is how long a client may wait for a 100 (Continue)
	// before it sends its body all the same (RFC 9110, section 10.1.1). curl
	// waits a second.
	continuePatience = 900 * time.Millisecond
)

// bodyRest is what a client still sends after its answer, and how much of it is
// read. It keeps nothing of the upload.
type bodyRest struct {
	api    *API
	body   *body
	limit  int64 // bytes
	d      time.Duration
	leave  bool // the rest is left unread
	linger bool // and the client may be sending it
}

// newBodyRest decides about the rest of an upload that was answered with v.
func newBodyRest(u *upload, v verdict) *bodyRest {
	rest := &bodyRest{api: u.api, body: u.body, limit: shortDrain, d: shortDrainTime}
	switch {
	case u.body.complete() || v.outcome == outcome.ClientGone:
		rest.leave = true
	case u.r.Header.Get("Expect") != "" && !u.body.started:
		// The client was never asked for its body. If it has waited for long,
		// it may be sending all the same.
		rest.leave, rest.linger = true, time.Since(u.began) > continuePatience
	}
	ours := v.outcome == outcome.TimedOut || v.outcome == outcome.ShutDown
	if !ours && v.status != http.StatusForbidden && v.status != http.StatusUnauthorized {
		rest.limit, rest.d = u.api.cfg.MaxUploadSize+formRoom, u.api.cfg.UploadTimeout
	}
	return rest
}

// read reads what the client sends after its answer, within limits.
func (r *bodyRest) read() {
	if r.leave {
		if r.linger {
			r.wait()
		}
		return
	}
	select {
	case r.api.drains <- struct{}{}:
		defer func() { <-r.api.drains }()
	default:
		r.wait()
		return
	}
	if r.body.lost() {
		conn, err := r.body.takeOver()
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

// wait leaves the client time to read its answer.
func (r *bodyRest) wait() {
	timer := time.NewTimer(closeGrace)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.api.closing.Done():
	}
}
