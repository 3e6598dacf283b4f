package upload

import (
	"context"
	"errors"
	"testing"
)

// TestLifetime checks which cause ends an upload, and when it may.
func TestLifetime(t *testing.T) {
	first, second := errors.New("first"), errors.New("second")
	for _, test := range []struct {
		name  string
		steps func(l *lifetime)
		cause error // nil: the upload goes on
	}{
		{"nothing ends it", func(*lifetime) {}, nil},
		{"end", func(l *lifetime) { l.end(first) }, first},
		{"fail", func(l *lifetime) { l.fail(first) }, first},
		{"the first cause stays", func(l *lifetime) { l.end(first); l.fail(second); l.end(second) }, first},
		{"end while it is published", func(l *lifetime) { _ = l.publish(); l.end(first) }, nil},
		{"fail while it is published", func(l *lifetime) { _ = l.publish(); l.end(first); l.fail(second) }, second},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLifetime(t.Context())
			test.steps(l)
			if got := context.Cause(l.ctx); !errors.Is(got, test.cause) {
				t.Errorf("the cause is %v, want %v", got, test.cause)
			}
			if err := l.publish(); !errors.Is(err, test.cause) {
				t.Errorf("publishing after that: %v, want %v", err, test.cause)
			}
		})
	}
}

// TestLifetimeFollowsAnotherContext checks that the end of another context ends an
// upload with a cause of its own, until the upload no longer follows it.
func TestLifetimeFollowsAnotherContext(t *testing.T) {
	reason, cause := errors.New("reason"), errors.New("cause")
	requested, leave := context.WithCancelCause(t.Context())
	explain := func(other context.Context) error { return errors.Join(cause, context.Cause(other)) }

	unrelated, stopped, following := newLifetime(requested), newLifetime(requested), newLifetime(requested)
	stopped.when(requested, explain)()
	stop := following.when(requested, explain)
	leave(reason)
	<-following.ctx.Done()
	stop()
	if got := context.Cause(following.ctx); !errors.Is(got, cause) || !errors.Is(got, reason) {
		t.Errorf("the cause is %v", got)
	}
	for name, l := range map[string]*lifetime{"never followed": unrelated, "no longer follows": stopped} {
		if l.ctx.Err() != nil {
			t.Errorf("%s: ended by %v", name, context.Cause(l.ctx))
		}
	}
}
