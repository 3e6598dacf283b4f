package upload

import (
	"context"
	"sync"
)

// A lifetime is the one context of an upload. Everything that works for the upload
// runs under ctx, and everything that ends the upload ends ctx, with a cause. The
// first cause stays, and becomes the answer.
//
// What is outside of the store calls end: it stops an upload that arrives, but never
// one that is being published. Only the store calls fail.
type lifetime struct {
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu         sync.Mutex
	publishing bool // end does nothing
}

// newLifetime returns the lifetime of an upload that was requested under that
// context. It does not end with the request: the server ends a request's context
// when a read of the body fails, and the failed read says more. See when.
func newLifetime(requested context.Context) *lifetime {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(requested))
	return &lifetime{ctx: ctx, cancel: cancel}
}

// end ends the upload, unless it is being published. Published objects would stay
// without the rest of their archive, and a retry would have to send it all again.
func (l *lifetime) end(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.publishing {
		l.cancel(cause)
	}
}

// fail ends the upload, also while it is being published.
func (l *lifetime) fail(cause error) { l.cancel(cause) }

// publish makes end do nothing from now on. The error is the cause if the upload has
// ended already.
func (l *lifetime) publish() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() == nil {
		l.publishing = true
	}
	return context.Cause(l.ctx)
}

// when ends the upload with cause(other) when the context other ends, until stop is
// called. Once stop has returned, other has ended the upload or never will.
func (l *lifetime) when(other context.Context, cause func(other context.Context) error) (stop func()) {
	return follow(other, func() { l.end(cause(other)) })
}

// follow calls f in a goroutine when ctx ends, until stop is called. If f has been
// called by then, stop waits until it has returned.
func follow(ctx context.Context, f func()) (stop func()) {
	done := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(done)
		f()
	})
	return func() {
		if !unhook() {
			<-done
		}
	}
}
