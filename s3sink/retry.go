package s3sink

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"spillway/stream/budget"
)

// maxAttempts bounds the attempts at an operation. The pauses between them are up to 2, 4,
// 8 and 16 s, or longer while the store throttles.
const maxAttempts = 5

const (
	// maxRetries is the number of retries that all operations on a bucket may make while
	// none succeeds. Each success gives some of them back. So does each second, for an
	// instance that is idle after an outage.
	maxRetries        = 100
	retriesPerSuccess = 10
	retriesPerSecond  = 1.0

	// retryWait is how long an operation waits for a retry if there is none left.
	retryWait = time.Second
)

// errNoRetries says that an operation is not retried because the retry quota is used up.
var errNoRetries = errors.New("s3: no retry: nearly all requests to the store fail")

// retryQuota bounds the retries of all operations on a bucket, so that a store that is down
// does not get five times the requests. It is used up only if more than nine in ten requests
// fail, and is full again after ten successes. (The SDK's own quota takes five hundred
// successes, and is never refilled in adaptive mode: aws-sdk-go-v2, issue 3550.)
type retryQuota struct {
	mu   sync.Mutex // guards the fields below
	used float64    // retries, up to maxRetries
	at   time.Time  // when used was computed
}

// take takes a retry. It reports false if there is none left.
func (q *retryQuota) take() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.used = max(0, q.used-retriesPerSecond*now.Sub(q.at).Seconds())
	q.at = now
	if q.used+1 > maxRetries {
		return false
	}
	q.used++
	return true
}

// succeeded counts a request that the store has answered.
func (q *retryQuota) succeeded() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used = max(0, q.used-retriesPerSuccess)
}

// retryer retries as the SDK's standard mode does, but with our quota.
type retryer struct {
	*retry.Standard
	quota *retryQuota
}

type retryConfig struct {
	attempts   int           // per operation
	maxBackoff time.Duration // the longest pause between two attempts; 0: the SDK's 20 s
}

func newRetryer(cfg retryConfig, keys *renewingCredentials, quota *retryQuota) aws.Retryer {
	return retryer{retry.NewStandard(func(o *retry.StandardOptions) {
		o.RateLimiter = ratelimit.None
		o.MaxAttempts = cfg.attempts
		if cfg.maxBackoff > 0 {
			o.MaxBackoff = cfg.maxBackoff
		}
		o.Retryables = append([]retry.IsErrorRetryable{
			retry.IsErrorRetryableFunc(noRetryForDisk),
			retry.IsErrorRetryableFunc(isThrottled),
			retry.IsErrorRetryableFunc(keys.mayHaveExpired),
		}, o.Retryables...)
	}), quota}
}

// GetRetryToken implements [aws.Retryer]. If the quota is used up, it waits for a moment. The
// first requests after an outage are sent together: those that succeed refill the quota for
// one that fails.
func (r retryer) GetRetryToken(ctx context.Context, _ error) (release func(error) error, err error) {
	if !r.quota.take() {
		timer := time.NewTimer(retryWait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if !r.quota.take() {
			return nil, errNoRetries
		}
	}
	return func(error) error { return nil }, nil
}

// noRetryForDisk prevents retries of a request whose body cannot be read, which the SDK takes
// for a failure of the connection.
func noRetryForDisk(err error) aws.Ternary {
	if _, ok := errors.AsType[*budget.DiskError](err); ok {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}

// isThrottled has a request retried after a 429 or 503. The SDK looks only at the error's
// code (SlowDown), but the answer to a HEAD has no body with a code, and some servers and
// proxies send none.
func isThrottled(err error) aws.Ternary {
	if answered, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && throttles(answered.HTTPStatusCode()) {
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

// throttles reports whether status asks for fewer requests.
func throttles(status int) bool {
	return status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests
}

// isRetryable reports whether err is an error of a store that makes one attempt, and
// another store would have made more.
func isRetryable(err error) bool {
	_, ok := errors.AsType[*retry.MaxAttemptsError](err)
	return ok
}
