package s3sink

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

// newRetryer returns what decides about another attempt: what may pass is tried
// again, after pauses of at most maxBackoff (0: the SDK's 20 s). Of all
// operations together not too many are: while the store fails all the time, they
// fail with it. While it throttles, all send fewer requests.
func newRetryer(maxBackoff time.Duration, keys *renewable) aws.Retryer {
	quota := ratelimit.NewTokenRateLimit(retry.DefaultRetryRateTokens)
	return refilling{quota, retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
		o.Throttles = append(o.Throttles, retry.IsErrorThrottleFunc(throttled))
		o.StandardOptions = append(o.StandardOptions, func(o *retry.StandardOptions) {
			o.RateLimiter = quota
			o.MaxAttempts = maxAttempts
			if maxBackoff > 0 {
				o.MaxBackoff = maxBackoff
			}
			o.Retryables = append([]retry.IsErrorRetryable{
				retry.IsErrorRetryableFunc(noRetryForDisk),
				retry.IsErrorRetryableFunc(throttled),
				retry.IsErrorRetryableFunc(keys.mayHaveExpired),
			}, o.Retryables...)
		})
	})}
}

// refilling pays for attempts that succeed into the quota of retries, as the
// SDK's standard mode does. Its adaptive mode only ever takes out of it, so that
// in the end nothing would be tried again (aws-sdk-go-v2, issue 3550).
type refilling struct {
	quota *ratelimit.TokenRateLimit
	*retry.AdaptiveMode
}

// GetAttemptToken implements [aws.RetryerV2].
func (r refilling) GetAttemptToken(ctx context.Context) (release func(error) error, err error) {
	limited, err := r.AdaptiveMode.GetAttemptToken(ctx)
	if err != nil {
		return nil, err
	}
	return func(failed error) error {
		if failed == nil {
			if err := r.quota.AddTokens(retry.DefaultNoRetryIncrement); err != nil {
				return err
			}
		}
		return limited(failed)
	}, nil
}

// noRetryForDisk keeps a request whose body cannot be read from being tried
// again: the SDK takes that for a failure of the connection.
func noRetryForDisk(err error) aws.Ternary {
	if _, ok := errors.AsType[*stream.DiskError](err); ok {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}

// throttled says of an answer that asks for fewer requests that it does. It goes
// by the status, where the SDK goes by the code (SlowDown): the answer to a HEAD
// has no body to be one in, and neither have those of some servers and proxies.
func throttled(err error) aws.Ternary {
	answered, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok {
		return aws.UnknownTernary
	}
	switch answered.HTTPStatusCode() {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

const (
	// leastRate is how fast the body of a request has to go, in bytes a second:
	// it adds to the time of an attempt.
	leastRate = 1 << 20

	// attemptsTime is the time of an operation, with its attempts and the pauses
	// between them, in attempts.
	attemptsTime = 3
)

// pace is how long the store may take.
type pace struct {
	timeout time.Duration // of an attempt without a body
}

// attempt is the time of an attempt with a body of n bytes.
func (p pace) attempt(n int64) time.Duration {
	return p.timeout + time.Duration(max(n, 0))*time.Second/leastRate
}

// operation returns the context of an operation, whose requests have a body of n
// bytes. The caller calls done.
func (p pace) operation(ctx context.Context, n int64) (_ context.Context, done context.CancelFunc) {
	d := attemptsTime * p.attempt(n)
	return context.WithTimeoutCause(ctx, d, &slowError{d})
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
