package health

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

const (
	// probeTimeout bounds a probe of the store, so that a store that hangs does not
	// hang the heartbeat.
	probeTimeout = 5 * time.Second

	// probeLife is how long a result is reused by default, so that heartbeats do not
	// load the store.
	probeLife = 10 * time.Second

	// probeEvery is how often the store is probed though nobody asks for the heartbeat, so
	// that the metrics tell of an outage. In an hour without one, a bucket gets 240 requests.
	probeEvery = time.Minute
)

// probe runs an expensive check. A result is reused for life. Callers that come
// while the check runs wait for its result.
type probe struct {
	life  time.Duration
	check func(ctx context.Context) error

	turn chan struct{} // holds a value while a caller uses done and err
	done time.Time     // when the check last ended; zero before the first
	err  error         // its result

	last atomic.Pointer[error] // err, for callers that do not wait; nil before the first result
}

func newProbe(life time.Duration, check func(ctx context.Context) error) *probe {
	return &probe{life: life, check: check, turn: make(chan struct{}, 1)}
}

// ask returns a result that is at most life old.
func (p *probe) ask(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !p.done.IsZero() && time.Since(p.done) < p.life {
		return p.err
	}
	// The check goes on if this caller leaves: others may wait for its result.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	err := p.check(ctx)
	p.err, p.done = err, time.Now()
	p.last.Store(&err)
	return err
}

// refresh checks, unless a result is at most life old or somebody else checks. Unlike the check
// of ask, this one ends with ctx.
func (p *probe) refresh(ctx context.Context) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	default:
		return
	}
	if !p.done.IsZero() && time.Since(p.done) < p.life {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := p.check(ctx)
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return
	}
	p.err, p.done = err, time.Now()
	p.last.Store(&err)
}

// lastKnown returns the last result without waiting. known is false before the
// first.
func (p *probe) lastKnown() (known bool, result error) {
	last := p.last.Load()
	if last == nil {
		return false, nil
	}
	return true, *last
}
