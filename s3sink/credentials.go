package s3sink

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// renewPause is the shortest time between two renewals of credentials.
const renewPause = 10 * time.Second

// renewingCredentials are fetched again when the store says that they have expired, which
// may be earlier than they were to. The answer to a HEAD has no body, so any status 400 may
// mean that. Since it may also mean something else, the source is asked at most once per
// renewPause. While the source fails, the last credentials are used.
type renewingCredentials struct {
	source aws.CredentialsProvider // a cache, or credentials that never change

	mu      sync.Mutex      // guards the fields below
	last    aws.Credentials // from source
	renewed time.Time       // when the cache was last invalidated
}

// Retrieve implements [aws.CredentialsProvider].
func (r *renewingCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	got, err := r.source.Retrieve(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.last = got
	case r.last.HasKeys() && !r.last.Expired():
		got = r.last
	default:
		return got, fmt.Errorf("%w: %w", errNoCredentials, err)
	}
	return got, nil
}

// mayHaveExpired invalidates the credentials and has the request retried, if err may say
// that the credentials have expired.
func (r *renewingCredentials) mayHaveExpired(err error) aws.Ternary {
	if !hasCode(err, "ExpiredToken") && !hasCode(err, "BadRequest") {
		return aws.UnknownTernary
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if cache, ok := r.source.(*aws.CredentialsCache); ok && time.Since(r.renewed) >= renewPause {
		r.renewed = time.Now()
		cache.Invalidate()
	}
	return aws.TrueTernary
}
