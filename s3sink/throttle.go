package s3sink

import (
	"context"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
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

	// highestRate, in requests per second, is beyond what any process sends.
	highestRate = 1e6
)

// throttle limits the rate of requests to one bucket once the store has answered 503 or
// 429. It lowers the rate while the store refuses requests, and raises it afterwards. The
// first answer after an outage lifts the limit.
type throttle struct {
	// turn holds a value while a request waits for limiter. The others wait for turn, so
	// that a rate that rises holds for them, too.
	turn    chan struct{}
	limiter *rate.Limiter // [rate.Inf] while nothing is limited

	mu       sync.Mutex // guards the fields below, and changes of the limiter
	accepted float64    // requests per second that the store is known to accept
	cut      time.Time  // when the rate was last lowered
	raised   time.Time  // when the rate was last raised
	refused  time.Time  // the first refusal since the last success; zero: none

	second time.Time // the start of the second that is counted
	count  int       // successes in it
	before int       // successes in the second before
}

func newThrottle() *throttle {
	return &throttle{turn: make(chan struct{}, 1), limiter: rate.NewLimiter(rate.Inf, 1)}
}

// wait waits until a request may be sent. The error is the cause of ctx's end.
func (t *throttle) wait(ctx context.Context) error {
	if !t.limited() {
		return nil
	}
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	reserved := t.limiter.Reserve()
	timer := time.NewTimer(reserved.Delay())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		reserved.Cancel()
		return context.Cause(ctx)
	}
}

func (t *throttle) limited() bool { return t.limiter.Limit() != rate.Inf }

// limit sets the rate, in requests per second. The caller holds t.mu.
func (t *throttle) limit(now time.Time, perSecond float64) {
	perSecond = min(max(perSecond, leastRequests), highestRate)
	t.limiter.SetLimitAt(now, rate.Limit(perSecond))
	t.limiter.SetBurstAt(now, max(1, int(perSecond*burst.Seconds())))
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
	case !t.limited():
		return
	case now.Sub(t.cut) >= calmAfter, !refused.IsZero() && now.Sub(refused) >= outage:
		t.limiter.SetLimitAt(now, rate.Inf)
		return
	}
	by, perSecond := growth, float64(t.limiter.Limit())
	if perSecond < t.accepted || now.Sub(t.cut) > searchFor {
		by = catchUp
	}
	t.limit(now, perSecond*math.Pow(by, min(now.Sub(t.raised).Seconds(), 1)))
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
	if t.limited() && (sent.Before(t.cut) || now.Sub(t.cut) < cutPause) {
		return
	}
	measured := float64(max(t.count, t.before))
	perSecond := float64(t.limiter.Limit())
	if !t.limited() {
		perSecond = measured
	}
	if measured > 0 {
		perSecond = min(perSecond, measured)
		t.accepted = cutBy * measured
	}
	t.limit(now, cutBy*perSecond)
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
