package health_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"spillway/health"
)

// storageLevel returns the level of the check "storage", as metrics and the live page show it.
func (i *instance) storageLevel() health.Level { return i.Checks()[0].Level }

// The check "storage" follows the store within a minute though nobody asks for the heartbeat.
// It costs one probe a minute, and none where heartbeats bring more.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInstance()
		probes := 0
		var state error
		i.storage = func(context.Context) error { probes++; return state }
		if got := i.storageLevel(); got != health.Unknown {
			t.Errorf("before the first probe: %v, want unknown", got)
		}
		ctx, end := context.WithCancel(t.Context())
		go i.Watch(ctx)
		synctest.Wait()
		if got := i.storageLevel(); got != health.OK || probes != 1 {
			t.Errorf("at the start: %v after %d probes, want ok after 1", got, probes)
		}
		for _, s := range []struct {
			err  error
			want health.Level
		}{{errors.New("down"), health.Error}, {nil, health.OK}} {
			state = s.err
			pass(time.Minute)
			if got := i.storageLevel(); got != s.want {
				t.Errorf("a minute after %v: %v, want %v", s.err, got, s.want)
			}
		}
		pass(time.Hour)
		if probes != 63 {
			t.Errorf("%d probes, want one a minute: 63", probes)
		}

		pass(55 * time.Second)
		i.do(http.MethodGet, "/__heartbeat__", "")
		pass(5 * time.Second)
		if probes != 64 {
			t.Errorf("%d probes after a heartbeat five seconds before, want 64", probes)
		}
		end()
		synctest.Wait()
	})
}

// The end of Watch does not wait for a store that hangs. A probe that ends so says nothing.
func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInstance()
		i.storage = func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); i.Watch(ctx) }()
		pass(time.Second)
		began := time.Now()
		end()
		<-ended
		if took := time.Since(began); took != 0 || i.storageLevel() != health.Unknown {
			t.Errorf("it took %v to end, and storage is %v", took, i.storageLevel())
		}
	})
}
