package tokens

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// probeWell and probeIll are the times between probes of an upstream that answers them,
	// and of one that does not.
	probeWell = 30 * time.Second
	probeIll  = 5 * time.Second

	// probeAgain is the least time between probes. The first failed one is repeated after it:
	// one failure is none.
	probeAgain = time.Second

	// failureShown is how long the last failed request about a token is shown, unless one
	// succeeds.
	failureShown = 5 * time.Minute
)

// upstreamHealth is what probes and requests say about an upstream. Clients can cause neither
// a failed probe nor a good one.
type upstreamHealth struct {
	probed  chan struct{} // closed after the first probe
	suspect chan struct{} // holds a value after a failed request

	mu       sync.Mutex // guards the fields below
	down     error      // why probes fail; nil while they do not
	since    time.Time  // when they began to
	good     time.Time  // the last good probe
	failure  error      // of the last request about a token; nil if it succeeded
	failedAt time.Time
}

func newUpstreamHealth() upstreamHealth {
	return upstreamHealth{probed: make(chan struct{}), suspect: make(chan struct{}, 1)}
}

// refuses returns why no token can be asked about; "" if it can. It waits for the first probe,
// at most the askTimeout.
func (h *upstreamHealth) refuses() string {
	timeout := time.NewTimer(askTimeout)
	defer timeout.Stop()
	select {
	case <-h.probed:
	case <-timeout.C:
		return "it has not been probed yet"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return reasonToAsk(h.down)
}

// failed notes a request that failed, and asks for a probe.
func (h *upstreamHealth) failed(err error) {
	h.mu.Lock()
	h.failure, h.failedAt = err, time.Now()
	h.mu.Unlock()
	select {
	case h.suspect <- struct{}{}:
	default: // already asked for
	}
}

// answered notes an answer about a token.
func (h *upstreamHealth) answered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failure = nil
}

// note notes the result of a probe, and reports whether that changes anything.
func (h *upstreamHealth) note(err error) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	changed = reasonToAsk(err) != reasonToAsk(h.down)
	if err != nil && h.down == nil {
		h.since = now
	}
	if err == nil {
		h.good = now
		if h.down != nil {
			h.failure = nil // it was part of the outage
		}
	}
	h.down = err
	return changed
}

// UpstreamStatus is the state of an [Upstream].
type UpstreamStatus struct {
	// Reason says why it cannot be asked, and Since when that began. Tokens that it has not
	// accepted within a day cannot be used then. Empty if it can be asked.
	Reason string
	Since  time.Time

	// Failure says why the last request about a token failed although probes succeed. Empty
	// if it did not fail, or long ago.
	Failure string

	// Accepted is how many tokens may be used although it cannot be asked.
	Accepted int

	// LastUse is when a token was last used that it has accepted; zero if none was.
	LastUse time.Time
}

// status returns the state. It waits for nothing but locks.
func (u *Upstream) status(now time.Time) *UpstreamStatus {
	s := &UpstreamStatus{Accepted: u.answers.inForce(now)}
	if used := u.used.Load(); used != 0 {
		s.LastUse = time.Unix(used, 0)
	}
	h := &u.health
	h.mu.Lock()
	defer h.mu.Unlock()
	s.Reason = reasonToAsk(h.down)
	switch {
	case h.down != nil:
		s.Since = h.since
	case h.failure != nil && now.Sub(h.failedAt) < failureShown:
		s.Failure = reasonToAsk(h.failure)
	}
	return s
}

// watch probes the upstream until ctx ends.
func (u *Upstream) watch(ctx context.Context) {
	for {
		err := u.Probe(ctx)
		if err != nil && !errors.Is(err, errAcceptsAny) && u.isUp() && wait(ctx, probeAgain, nil) {
			err = u.Probe(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		u.judge(err)
		next := probeWell
		if err != nil {
			next = probeIll
		}
		if !wait(ctx, probeAgain, nil) || !wait(ctx, next-probeAgain, u.health.suspect) {
			return
		}
	}
}

// judge takes the result of a probe into account.
func (u *Upstream) judge(err error) {
	u.health.mu.Lock()
	good := u.health.good
	u.health.mu.Unlock()
	if errors.Is(err, errAcceptsAny) {
		u.answers.distrust(good) // it may have accepted any token since then
	}
	changed := u.health.note(err)
	select {
	case <-u.health.probed:
	default:
		close(u.health.probed)
	}
	switch {
	case !changed:
	case err != nil:
		u.cfg.Log.Error("--tokens-upstream cannot be asked: only tokens that it has accepted before work", zap.String("reason", reasonToAsk(err)))
	default:
		u.cfg.Log.Info("--tokens-upstream can be asked again")
	}
}

// isUp reports whether the last probe was good.
func (u *Upstream) isUp() bool {
	u.health.mu.Lock()
	defer u.health.mu.Unlock()
	return u.health.down == nil && !u.health.good.IsZero()
}

// wait waits for d, or until early holds a value. It reports false if ctx ends.
func wait(ctx context.Context, d time.Duration, early <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-early:
	case <-timer.C:
	}
	return true
}

// reasonToAsk returns the reason of an [*AskError]; "" for nil.
func reasonToAsk(err error) string {
	if e, ok := errors.AsType[*AskError](err); ok {
		return e.Reason
	}
	return ""
}
