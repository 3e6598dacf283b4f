package s3sink

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

// lastError is the error of the last attempt at an operation. When a context ends, the SDK
// returns only the context's error.
type lastError struct {
	mu  sync.Mutex
	err error // nil: none, or the last attempt succeeded
}

type lastErrorKey struct{}

// noteError records the error of an attempt; nil if it succeeded. ctx is derived from the
// operation's.
func noteError(ctx context.Context, err error) {
	last := ctx.Value(lastErrorKey{}).(*lastError)
	last.mu.Lock()
	defer last.mu.Unlock()
	last.err = err
}

// noteErrors records the errors that S3 answers attempts with. limitedClient records those
// of attempts that got no answer.
func noteErrors(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("NoteErrors",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			out, metadata, err := next.HandleFinalize(ctx, in)
			if _, canceled := errors.AsType[*smithy.CanceledError](err); err != nil && !canceled {
				noteError(ctx, err)
			}
			return out, metadata, err
		}), "Retry", middleware.After)
}

// An endedError is the error of an operation whose context has ended.
type endedError struct {
	ctx  error
	last error // of the last attempt
}

func (e *endedError) Error() string   { return fmt.Sprintf("%s; the last attempt: %s", e.ctx, e.last) }
func (e *endedError) Unwrap() []error { return []error{e.ctx, e.last} }

// tooLong adds to the error of an operation whose context has ended the error of the last
// attempt, and that the operation exceeded its time limit, if it did. ctx is the
// operation's.
func tooLong(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	last := ctx.Value(lastErrorKey{}).(*lastError)
	last.mu.Lock()
	defer last.mu.Unlock()
	if last.err != nil && !errors.Is(err, last.err) {
		err = &endedError{err, last.err}
	}
	if slow, ok := errors.AsType[*timeLimitError](context.Cause(ctx)); ok {
		err = fmt.Errorf("%w: %w", slow, err)
	}
	return err
}
