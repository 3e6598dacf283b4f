package s3sink

import (
	"context"
	"fmt"
	"net/http/httptrace"
	"sync"
	"time"
)

const (
	// leastRate is the lowest rate at which a body may be sent, in bytes per second. It
	// adds to the timeout of an attempt.
	leastRate = 1 << 20

	// joinRate is the lowest rate at which the store may join the parts of an object, in
	// bytes per second. partTime is the time that each part adds. S3 only lists the parts,
	// but other stores copy them.
	joinRate = 32 << 20
	partTime = 50 * time.Millisecond

	// attemptsTime is the time limit of an operation, in timeouts of an attempt. It
	// includes the pauses between attempts. CompleteMultipartUpload, whose attempts take
	// minutes, has completeTries.
	attemptsTime  = 3
	completeTries = 2

	// entryTime is what each entry adds to the time limit of publishing: the store has to
	// publish 20 entries of an upload per second.
	entryTime = 50 * time.Millisecond

	// publishSteps are the steps before the last that wait for other operations: those
	// that are under way when publishing begins, and those that send bodies on disk.
	publishSteps = 2
)

// timeouts are the time limits for the store.
type timeouts struct {
	request  time.Duration // of an attempt without a body
	complete time.Duration // of an attempt at CompleteMultipartUpload; parts and bytes add to it
}

// attempt returns the timeout of an attempt with a body of n bytes.
func (t timeouts) attempt(n int64) time.Duration {
	return t.request + bytesTime(n, leastRate)
}

// completion returns the timeout of an attempt to complete an upload of n bytes in all.
func (t timeouts) completion(parts int, n int64) time.Duration {
	return t.complete + time.Duration(parts)*partTime + bytesTime(n, joinRate)
}

// publishing returns the time limit of publishing. toSend bytes still have to be sent.
// toJoin bytes are at the store as parts.
func (t timeouts) publishing(entries int, toSend, toJoin int64) time.Duration {
	return publishSteps*attemptsTime*t.request + completeTries*t.complete +
		time.Duration(entries)*entryTime + bytesTime(toSend, leastRate) + bytesTime(toJoin, joinRate)
}

// bytesTime returns how long n bytes take at a rate, in bytes per second.
func bytesTime(n, rate int64) time.Duration {
	return time.Duration(float64(max(n, 0)) / float64(rate) * float64(time.Second))
}

// operation returns a context with the time limits of an operation whose requests have a
// body of n bytes. The caller calls done.
func (t timeouts) operation(ctx context.Context, n int64) (_ context.Context, done context.CancelFunc) {
	d := t.attempt(n)
	return withLimits(ctx, attemptLimits{attempt: d, head: min(headTimeout, d)}, attemptsTime*d)
}

// completing is operation for CompleteMultipartUpload. S3 may send the head of its answer
// early or late.
func (t timeouts) completing(ctx context.Context, parts int, n int64) (_ context.Context, done context.CancelFunc) {
	d := t.completion(parts, n)
	return withLimits(ctx, attemptLimits{attempt: d, head: d}, completeTries*d)
}

// attemptLimits bound each attempt of an operation.
type attemptLimits struct {
	attempt time.Duration // from the slot to the end of the answer
	head    time.Duration // from the end of the request to the head of the answer
}

type limitsKey struct{}

// withLimits returns a context that has the limits of attempts, and ends after total. It
// keeps the error of the last attempt.
func withLimits(ctx context.Context, l attemptLimits, total time.Duration) (context.Context, context.CancelFunc) {
	ctx = context.WithValue(ctx, lastErrorKey{}, &lastError{})
	return context.WithTimeoutCause(context.WithValue(ctx, limitsKey{}, l), total, &timeLimitError{total})
}

// limitsOf returns the limits of the operation that ctx belongs to.
func limitsOf(ctx context.Context) attemptLimits { return ctx.Value(limitsKey{}).(attemptLimits) }

// errNoHead ends an attempt whose answer does not begin in time. The SDK retries it,
// because it is a timeout.
var errNoHead error = noHeadError{}

type noHeadError struct{}

func (noHeadError) Error() string   { return "s3: no answer began in time after the request was sent" }
func (noHeadError) Timeout() bool   { return true }
func (noHeadError) Temporary() bool { return true }

// headWatch bounds the time between the end of a request and the head of its answer.
// ([http.Transport.ResponseHeaderTimeout] would be the same for all requests.)
type headWatch struct {
	limit  time.Duration
	cancel context.CancelCauseFunc

	mu      sync.Mutex // guards the fields below
	timer   *time.Timer
	arrived bool
}

// watchHead returns a context for one request. It ends with errNoHead if the head of the
// answer takes longer than limit. The caller calls stop when RoundTrip has returned, and
// cancel at the end.
func watchHead(ctx context.Context, limit time.Duration) (_ context.Context, stop func(), cancel context.CancelCauseFunc) {
	ctx, cancel = context.WithCancelCause(ctx)
	w := &headWatch{limit: limit, cancel: cancel}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: w.requestWritten}), w.stop, cancel
}

// requestWritten starts the timer. The transport calls it once for each connection that it
// tries, perhaps after the answer has begun.
func (w *headWatch) requestWritten(httptrace.WroteRequestInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.arrived:
	case w.timer == nil:
		w.timer = time.AfterFunc(w.limit, w.expire)
	default:
		w.timer.Reset(w.limit)
	}
}

func (w *headWatch) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.arrived {
		w.cancel(errNoHead)
	}
}

// stop ends the watch.
func (w *headWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrived = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// A timeLimitError says that the store took too long for an operation.
type timeLimitError struct {
	limit time.Duration
}

func (e *timeLimitError) Error() string {
	return fmt.Sprintf("it took longer than the limit of %v for all attempts", e.limit)
}

// A publishTimeError says that publishing took too long. Objects that are visible by then
// stay.
type publishTimeError struct {
	limit   time.Duration
	entries int
}

func (e *publishTimeError) Error() string {
	return fmt.Sprintf("publishing took longer than its limit of %v for %d entries and their bytes", e.limit.Round(time.Second), e.entries)
}
