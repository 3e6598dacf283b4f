package s3sink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"spillway/internal/guard"
	"spillway/stream"
)

// probePause is the pause before a check is repeated.
const probePause = 250 * time.Millisecond

// runCheck makes a check. It makes it again if an upload would have retried the request that
// failed.
func runCheck(ctx context.Context, check func(context.Context) error) error {
	run := func() error { return guard.Do(func() error { return check(ctx) }) }
	first := run()
	if !isRetryable(first) {
		return first
	}
	select {
	case <-time.After(probePause):
	case <-ctx.Done():
		return first
	}
	second := run()
	if ctx.Err() != nil {
		return first // the second one only says that the time is over
	}
	return second
}

// checkAbsent looks up an object that does not exist. The answer to a HEAD has no body, and
// so no error code of S3. If S3 refuses the HEAD, checkAbsent sends a GET for the same
// object, which needs the same permissions, and returns the code of that answer.
func (p *prober) checkAbsent(ctx context.Context) error {
	t := p.target(absentName)
	_, err := p.api.head(ctx, t)
	if !isAnswer(err) {
		return err
	}
	_, _, why := p.api.get(ctx, t, checksum(p.store.dialect.checksum.Load()))
	if !isAnswer(why) {
		return err
	}
	head, _ := errors.AsType[*stream.StoreError](err)
	get, _ := errors.AsType[*stream.StoreError](why)
	return &stream.StoreError{Op: head.Op, Key: head.Key, Code: get.Code, Err: fmt.Errorf("a GET said %w; the HEAD: %w", get.Err, head.Err)}
}
