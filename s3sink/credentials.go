package s3sink

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// renewPause is how long credentials are kept that have been fetched because
// the store seemed not to take those before them.
const renewPause = 10 * time.Second

// renewable are credentials that are fetched again when the store says that they
// have expired, which may be earlier than they said themselves. A HEAD's answer
// has no body to say that in: any status 400 may mean it. As it may as well mean
// something that no credentials cure, the source is asked once in renewPause at
// most, and the last ones are used while it fails.
type renewable struct {
	source aws.CredentialsProvider // a cache; or what never changes

	mu      sync.Mutex      // guards what follows
	last    aws.Credentials // that the source had
	renewed time.Time       // when the cache was emptied
}

// Retrieve implements [aws.CredentialsProvider].
func (r *renewable) Retrieve(ctx context.Context) (aws.Credentials, error) {
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

// mayHaveExpired has credentials fetched again, and the request tried again, if
// err may say that they have expired.
func (r *renewable) mayHaveExpired(err error) aws.Ternary {
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
