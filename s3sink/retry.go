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

	"spillway/stream"
)

// maxAttempts is how often an operation is tried. The pauses between the
// attempts are up to 2, 4, 8 and 16 s, or longer where the store throttles.
const maxAttempts = 5

const (
	// retryBudget is how many retries all operations on a bucket may make while
	// nothing succeeds. Each success and each second pay some of it back: the second
	// is for an instance that has been idle since an outage.
	retryBudget       = 100
	retriesPerSuccess = 10
	retriesPerSecond  = 1.0

	// budgetWait is how long an operation waits for a retry when there is none.
	budgetWait = time.Second
)

// errNoRetries says that an operation is not tried again because the budget of
// retries is spent.
var errNoRetries = errors.New("s3: no further attempt: the store fails nearly all of them")

// budget bounds the retries of all operations on a bucket, so that a store that is
// down does not get five times the requests. It is spent only if more than nine in
// ten requests fail, and the first successes after that refill it. (The
// SDK's own quota takes five hundred successes to do so, and its adaptive mode
// never fills it: aws-sdk-go-v2, issue 3550.)
type budget struct {
	mu    sync.Mutex // guards what follows
	spent float64    // retries, at most retryBudget
	at    time.Time  // when spent was brought up to date
}

// take takes a retry out of the budget. It reports false if there is none.
func (b *budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.spent = max(0, b.spent-retriesPerSecond*now.Sub(b.at).Seconds())
	b.at = now
	if b.spent+1 > retryBudget {
		return false
	}
	b.spent++
	return true
}

// succeeded says that the store has answered a request.
func (b *budget) succeeded() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent = max(0, b.spent-retriesPerSuccess)
}

// retryer decides about another attempt as the SDK's standard mode does, within a
// budget of our own.
type retryer struct {
	*retry.Standard
	budget *budget
}

// retryConfig is how often an operation is tried, and the longest pause between two
// attempts; 0: the SDK's 20 s.
type retryConfig struct {
	attempts   int
	maxBackoff time.Duration
}

func newRetryer(cfg retryConfig, keys *renewingCredentials, retries *budget) aws.Retryer {
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
	}), retries}
}

// GetRetryToken implements [aws.Retryer]. If the budget is spent, it waits for a
// moment: the first requests after an outage go out together, and one that fails
// among others that succeed is paid for by them.
func (r retryer) GetRetryToken(ctx context.Context, _ error) (release func(error) error, err error) {
	if !r.budget.take() {
		timer := time.NewTimer(budgetWait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if !r.budget.take() {
			return nil, errNoRetries
		}
	}
	return func(error) error { return nil }, nil
}

// noRetryForDisk keeps a request whose body cannot be read from being tried
// again: the SDK takes that for a failure of the connection.
func noRetryForDisk(err error) aws.Ternary {
	if _, ok := errors.AsType[*stream.DiskError](err); ok {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}

// isThrottled has a request tried again if the store has asked for fewer. The SDK
// goes by the error's code (SlowDown), but the answer to a HEAD has no body for a
// code, and neither have those of some servers and proxies.
func isThrottled(err error) aws.Ternary {
	if answered, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && throttles(answered.HTTPStatusCode()) {
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

// throttles reports whether an answer of that status asks for fewer requests.
func throttles(status int) bool {
	return status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests
}
