package health_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
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
		var probes atomic.Int64
		var down atomic.Bool
		i.storage = func(context.Context) error {
			probes.Add(1)
			if down.Load() {
				return errors.New("down")
			}
			return nil
		}
		if got := i.storageLevel(); got != health.Unknown {
			t.Errorf("before the first probe: %v, want unknown", got)
		}
		ctx, end := context.WithCancel(t.Context())
		go i.Watch(ctx)
		synctest.Wait()
		if got := i.storageLevel(); got != health.OK || probes.Load() != 1 {
			t.Errorf("at the start: %v after %d probes, want ok after 1", got, probes.Load())
		}
		for _, s := range []struct {
			down bool
			want health.Level
		}{{true, health.Error}, {false, health.OK}} {
			down.Store(s.down)
			pass(time.Minute)
			if got := i.storageLevel(); got != s.want {
				t.Errorf("a minute after down is %v: %v, want %v", s.down, got, s.want)
			}
		}
		pass(time.Hour)
		if got := probes.Load(); got != 63 {
			t.Errorf("%d probes, want one a minute: 63", got)
		}

		pass(55 * time.Second)
		i.do(http.MethodGet, "/__heartbeat__", "")
		pass(5 * time.Second)
		if got := probes.Load(); got != 64 {
			t.Errorf("%d probes after a heartbeat five seconds before, want 64", got)
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
