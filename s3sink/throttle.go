package s3sink

import (
	"context"
	"math"
	"sync"
	"time"
)

const (
	// leastRequests is the lowest rate, in requests a second: what a store gets that
	// refuses everything.
	leastRequests = 5

	// A refusal multiplies the rate by cutBy, at most once in cutPause, so that a
	// new rate has time to take effect.
	cutBy    = 0.7
	cutPause = 500 * time.Millisecond

	// Each second without a refusal multiplies the rate by catchUp, and by growth
	// above what the store is known to accept. That takes 7.3 s to undo a cut.
	catchUp = 2
	growth  = 1.05

	// searchFor is how long growth looks for what the store accepts now. Without a
	// refusal by then, the store accepts far more, and the rate catches up again.
	searchFor = 8 * time.Second

	// calmAfter is how long after the last cut the bound is lifted.
	calmAfter = time.Minute

	// A store that refuses everything for as long as outage is down. Its refusals say
	// nothing about the rate that it accepts once it is back.
	outage = 3 * time.Second

	// burst is how long unused requests are saved up.
	burst = 100 * time.Millisecond

	// throttlePoll is the longest pause between two looks at the rate, which may
	// have risen.
	throttlePoll = 50 * time.Millisecond
)

// throttle bounds the rate of requests to one bucket once the store has asked for
// fewer (503 or 429). It lowers the rate while refusals go on and raises it again
// afterwards. An outage leaves no bound behind: the first answer after it ends it.
type throttle struct {
	turn chan struct{} // holds a value while a request waits for the rate: first come, first served

	mu       sync.Mutex // guards what follows
	bounded  bool
	rate     float64   // requests a second, if bounded
	accepted float64   // requests a second that the store is known to accept
	allowed  float64   // requests that may go at once
	updated  time.Time // when allowed was
	cut      time.Time // when the rate was last lowered
	raised   time.Time // when the rate was last raised
	refused  time.Time // of the first refusal since the last success; zero: there was none

	second time.Time // when the present second of the counts began
	count  int       // successes in it
	before int       // successes in the second before
}

func newThrottle() *throttle { return &throttle{turn: make(chan struct{}, 1)} }

// wait returns when a request may be sent. The error is the cause of ctx's end.
func (t *throttle) wait(ctx context.Context) error {
	if !t.isBounded() {
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

func (t *throttle) isBounded() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bounded
}

// take counts a request. If it may not go yet, take returns how long to wait
// before it is called again.
func (t *throttle) take(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.bounded {
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

// refill allows what the rate has allowed since the last call, at most a burst.
// The caller holds t.mu.
func (t *throttle) refill(now time.Time) {
	t.allowed = min(t.allowed+t.rate*now.Sub(t.updated).Seconds(), max(t.rate*burst.Seconds(), 1))
	t.updated = now
}

// succeeded says that the store has answered a request.
func (t *throttle) succeeded(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roll(now)
	t.count++
	refused := t.refused
	t.refused = time.Time{}
	switch {
	case !t.bounded:
		return
	case now.Sub(t.cut) >= calmAfter, !refused.IsZero() && now.Sub(refused) >= outage:
		t.bounded = false
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

// throttled says that the store has asked for fewer requests, in its answer to one
// that was sent at that time.
func (t *throttle) throttled(sent, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roll(now)
	if t.refused.IsZero() {
		t.refused = now
	}
	if t.bounded && (sent.Before(t.cut) || now.Sub(t.cut) < cutPause) {
		return
	}
	measured := float64(max(t.count, t.before))
	if !t.bounded {
		t.bounded, t.rate, t.allowed, t.updated = true, measured, 0, now
	}
	t.refill(now)
	if measured > 0 {
		t.rate = min(t.rate, measured)
		t.accepted = cutBy * measured
	}
	t.rate = max(cutBy*t.rate, leastRequests)
	t.cut, t.raised = now, now
}

// roll begins a new second if it is time. The caller holds t.mu.
func (t *throttle) roll(now time.Time) {
	switch passed := now.Sub(t.second); {
	case passed >= 2*time.Second:
		t.second, t.count, t.before = now, 0, 0
	case passed >= time.Second:
		t.second, t.count, t.before = t.second.Add(time.Second), 0, t.count
	}
}
