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
	t := p.target(p.absent)
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

// findings are the errors of checks, in the order of the checks. They are an error, too: that
// of a check that found several.
type findings []error

// findingsOf returns the errors that are not nil. It splits those that are findings.
func findingsOf(errs ...error) findings {
	var found findings
	for _, err := range errs {
		if several, ok := errors.AsType[findings](err); ok {
			found = append(found, several...)
		} else if err != nil {
			found = append(found, err)
		}
	}
	return found
}

// Error implements [error].
func (f findings) Error() string { return errors.Join(f...).Error() }

// Unwrap returns the errors.
func (f findings) Unwrap() []error { return f }

// err returns the only error, or all of them as one; nil if there is none.
func (f findings) err() error {
	switch len(f) {
	case 0:
		return nil
	case 1:
		return f[0]
	}
	return f
}

// worst returns the most severe error, of several the first; nil if there is none.
func (f findings) worst() error {
	var worst error
	for _, err := range f {
		if worst == nil || severity(err) > severity(worst) {
			worst = err
		}
	}
	return worst
}

// severity orders the errors of checks. A request that failed says more than an answer that
// does not prove enough. What a store loses later says nothing of the others.
func severity(err error) int {
	switch {
	case errors.Is(err, errNotStored):
		return 0
	case errors.Is(err, errUnchecked), errors.Is(err, errOtherChecksum):
		return 1
	}
	return 2
}
