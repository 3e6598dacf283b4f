package s3sink

import (
	"context"
	"math"
	"sync"
	"time"
)

const (
	// leastRequests is the lowest rate, in requests per second.
	leastRequests = 5

	// A refusal multiplies the rate by cutBy, at most once in cutPause, so that a
	// new rate has time to take effect.
	cutBy    = 0.7
	cutPause = 500 * time.Millisecond

	// Each second without a refusal multiplies the rate by catchUp below the rate that
	// the store is known to accept, and by growth above it. At that, undoing a cut takes
	// 7.3 s.
	catchUp = 2
	growth  = 1.05

	// searchFor is how long the rate grows slowly after a cut. If nothing was refused by
	// then, the store accepts far more, and the rate grows by catchUp again.
	searchFor = 8 * time.Second

	// calmAfter is how long after the last cut the bound is lifted.
	calmAfter = time.Minute

	// A store that refuses everything for as long as outage is down. Its refusals do not
	// show which rate it accepts when it is back.
	outage = 3 * time.Second

	// burst is the time for which unused requests are saved up.
	burst = 100 * time.Millisecond

	// throttlePoll is the longest wait before the rate, which may have risen, is read
	// again.
	throttlePoll = 50 * time.Millisecond
)

// throttle limits the rate of requests to one bucket once the store has answered 503 or
// 429. It lowers the rate while the store refuses requests, and raises it afterwards. The
// first answer after an outage lifts the limit.
type throttle struct {
	turn chan struct{} // holds a value while a request waits; the others wait for it, first come first served

	mu       sync.Mutex // guards the fields below
	limited  bool
	rate     float64   // requests per second, if limited
	accepted float64   // requests per second that the store is known to accept
	allowed  float64   // requests that may be sent now
	updated  time.Time // when allowed was computed
	cut      time.Time // when the rate was last lowered
	raised   time.Time // when the rate was last raised
	refused  time.Time // the first refusal since the last success; zero: none

	second time.Time // the start of the second that is counted
	count  int       // successes in it
	before int       // successes in the second before
}

func newThrottle() *throttle { return &throttle{turn: make(chan struct{}, 1)} }

// wait waits until a request may be sent. The error is the cause of ctx's end.
func (t *throttle) wait(ctx context.Context) error {
	if !t.isLimited() {
		return nil
	}
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for {
		pause := t.take(time.Now())
		if pause == 0 {
			return nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

func (t *throttle) isLimited() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.limited
}

// take counts a request and returns 0, or returns how long to wait before the next call.
func (t *throttle) take(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.limited {
		return 0
	}
	t.refill(now)
	if t.allowed >= 1 {
		t.allowed--
		return 0
	}
	missing := time.Duration((1 - t.allowed) / t.rate * float64(time.Second))
	return min(max(missing, time.Millisecond), throttlePoll)
}

// refill adds the requests that the rate allows since the last call, up to a burst. The
// caller holds t.mu.
func (t *throttle) refill(now time.Time) {
	t.allowed = min(t.allowed+t.rate*now.Sub(t.updated).Seconds(), max(t.rate*burst.Seconds(), 1))
	t.updated = now
}

// succeeded counts a request that the store has answered.
func (t *throttle) succeeded(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roll(now)
	t.count++
	refused := t.refused
	t.refused = time.Time{}
	switch {
	case !t.limited:
		return
	case now.Sub(t.cut) >= calmAfter, !refused.IsZero() && now.Sub(refused) >= outage:
		t.limited = false
		return
	}
	t.refill(now)
	by := growth
	if t.rate < t.accepted || now.Sub(t.cut) > searchFor {
		by = catchUp
	}
	t.rate *= math.Pow(by, min(now.Sub(t.raised).Seconds(), 1))
	t.raised = now
}

// throttled lowers the rate because the store has refused a request that was sent at that
// time.
func (t *throttle) throttled(sent, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roll(now)
	if t.refused.IsZero() {
		t.refused = now
	}
	if t.limited && (sent.Before(t.cut) || now.Sub(t.cut) < cutPause) {
		return
	}
	measured := float64(max(t.count, t.before))
	if !t.limited {
		t.limited, t.rate, t.allowed, t.updated = true, measured, 0, now
	}
	t.refill(now)
	if measured > 0 {
		t.rate = min(t.rate, measured)
		t.accepted = cutBy * measured
	}
	t.rate = max(cutBy*t.rate, leastRequests)
	t.cut, t.raised = now, now
}

// roll begins a new second if the present one is over. The caller holds t.mu.
func (t *throttle) roll(now time.Time) {
	switch passed := now.Sub(t.second); {
	case passed >= 2*time.Second:
		t.second, t.count, t.before = now, 0, 0
	case passed >= time.Second:
		t.second, t.count, t.before = t.second.Add(time.Second), 0, t.count
	}
}
