package s3sink

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"sync"
	"time"
)

const (
	// leastRate is how fast the body of a request has to go, in bytes a second:
	// it adds to the time of an attempt.
	leastRate = 1 << 20

	// joinRate is how fast a store has to join the parts of an object, in bytes a
	// second, and partTime what it may take for each of them besides. S3 only makes a
	// list of them, but other stores copy the bytes.
	joinRate = 32 << 20
	partTime = 50 * time.Millisecond

	// attemptsTime is the time of an operation, with its attempts and the pauses
	// between them, in attempts. Completing an upload gets completeTries: its attempts
	// take minutes.
	attemptsTime  = 3
	completeTries = 2

	// entryTime is what each entry adds to the time of publishing. A store that takes 20
	// entries of an upload a second keeps up with it.
	entryTime = 50 * time.Millisecond

	// publishSteps are the steps of publishing before its last that may each end with an
	// operation that takes all of its time: what is under way, and what is on disk.
	publishSteps = 2
)

// pace is how long the store may take.
type pace struct {
	timeout  time.Duration // of an attempt without a body
	complete time.Duration // of an attempt to complete an upload; its parts and bytes add to it
}

// attempt is the time of an attempt with a body of n bytes.
func (p pace) attempt(n int64) time.Duration {
	return p.timeout + bytesTime(n, leastRate)
}

// completion is the time of an attempt to complete an upload of so many parts,
// which have n bytes together.
func (p pace) completion(parts int, n int64) time.Duration {
	return p.complete + time.Duration(parts)*partTime + bytesTime(n, joinRate)
}

// publishing is the time of publishing so many entries, of whose objects toSend bytes
// are still to be sent, and toJoin bytes are at the store as parts.
func (p pace) publishing(entries int, toSend, toJoin int64) time.Duration {
	return publishSteps*attemptsTime*p.timeout + completeTries*p.complete +
		time.Duration(entries)*entryTime + bytesTime(toSend, leastRate) + bytesTime(toJoin, joinRate)
}

// bytesTime is how long n bytes take at a rate, in bytes a second.
func bytesTime(n, rate int64) time.Duration {
	return time.Duration(float64(max(n, 0)) / float64(rate) * float64(time.Second))
}

// operation returns the context of an operation, whose requests have a body of n
// bytes. The caller calls done.
func (p pace) operation(ctx context.Context, n int64) (_ context.Context, done context.CancelFunc) {
	d := p.attempt(n)
	return limited(ctx, limits{attempt: d, head: min(headTimeout, d)}, attemptsTime*d)
}

// completing returns the context of completing an upload, as operation does. S3 may
// send the head of its answer early or late.
func (p pace) completing(ctx context.Context, parts int, n int64) (_ context.Context, done context.CancelFunc) {
	d := p.completion(parts, n)
	return limited(ctx, limits{attempt: d, head: d}, completeTries*d)
}

// limits bound each attempt of an operation.
type limits struct {
	attempt time.Duration // from its slot to the end of its answer
	head    time.Duration // from its last byte to the head of its answer
}

type limitsKey struct{}

// limited returns a context with limits for attempts, which ends after total.
func limited(ctx context.Context, l limits, total time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.WithValue(ctx, limitsKey{}, l), total, &slowError{total})
}

// limitsOf are the limits of the operation that ctx belongs to.
func limitsOf(ctx context.Context) limits { return ctx.Value(limitsKey{}).(limits) }

// errNoHead ends an attempt whose answer does not begin in time. The SDK tries
// again after it, because it is a timeout.
var errNoHead error = noHeadError{}

type noHeadError struct{}

func (noHeadError) Error() string   { return "s3: the request was sent, and no answer began in time" }
func (noHeadError) Timeout() bool   { return true }
func (noHeadError) Temporary() bool { return true }

// headWatch bounds the time between the last byte of a request and the head of its
// answer. ([http.Transport.ResponseHeaderTimeout] would be the same for all requests.)
type headWatch struct {
	limit  time.Duration
	cancel context.CancelCauseFunc

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	arrived bool
}

// watchHead returns a context for one request, which ends with errNoHead as its
// cause if the head of the answer takes longer than limit. The caller calls stop
// once RoundTrip has returned, and cancel at the end.
func watchHead(ctx context.Context, limit time.Duration) (_ context.Context, stop func(), cancel context.CancelCauseFunc) {
	ctx, cancel = context.WithCancelCause(ctx)
	w := &headWatch{limit: limit, cancel: cancel}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: w.wrote}), w.stop, cancel
}

// wrote starts the time. The transport calls it once for each connection that it
// tries, and may do so after the answer has begun.
func (w *headWatch) wrote(httptrace.WroteRequestInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.arrived:
	case w.timer == nil:
		w.timer = time.AfterFunc(w.limit, w.late)
	default:
		w.timer.Reset(w.limit)
	}
}

func (w *headWatch) late() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.arrived {
		w.cancel(errNoHead)
	}
}

// stop ends the watch: the head has arrived, or never will.
func (w *headWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrived = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// tooLong adds to the error of an operation that it was out of time, if it was.
// ctx is what operation has returned.
func tooLong(ctx context.Context, err error) error {
	if slow, ok := errors.AsType[*slowError](context.Cause(ctx)); ok && err != nil {
		return fmt.Errorf("%w: %w", slow, err)
	}
	return err
}

// A slowError says that the store took too long for an operation.
type slowError struct {
	limit time.Duration
}

func (e *slowError) Error() string {
	return fmt.Sprintf("it took longer than %v, all attempts together", e.limit)
}

// A publishTimeError says that publishing took too long. What is visible by then stays.
type publishTimeError struct {
	limit   time.Duration
	entries int
}

func (e *publishTimeError) Error() string {
	return fmt.Sprintf("publishing took longer than the %v that it has for %d entries and their bytes", e.limit.Round(time.Second), e.entries)
}
