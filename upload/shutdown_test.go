package upload

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// drain begins a shutdown with a drain timeout of d. It checks that the shutdown ends that
// many uploads.
func drain(t *testing.T, s *site, d time.Duration, ends int) (wait func() (took time.Duration)) {
	t.Helper()
	done := make(chan time.Duration, 1)
	began := time.Now()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		err := s.api.Drain(ctx)
		unfinished, _ := errors.AsType[*UnfinishedError](err)
		if ends == 0 && err != nil || ends > 0 && (unfinished == nil || *unfinished != UnfinishedError{Ended: ends}) {
			t.Errorf("Drain: %v, want %d uploads to be ended", err, ends)
		}
		done <- time.Since(began)
	}()
	synctest.Wait()
	return func() time.Duration { return <-done }
}

func TestDrainWithNothingToDo(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		if took := drain(t, s, time.Minute, 0)(); took != 0 {
			t.Errorf("took %v", took)
		}
		c := connect()
		c.send(request(0, asDev, "Connection: close"))
		if r := c.reply(); r.StatusCode != 503 {
			t.Errorf("an upload after that: status %d: %s", r.StatusCode, r.body)
		}
		if e := s.event(); e["outcome"] != "shut down" {
			t.Errorf("event %v", e)
		}
		c.leave()
	})
}

func TestDrainWaitsForUploads(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		finish := fill(t, s, connect, 1)
		wait := drain(t, s, time.Minute, 0)
		late := connect()
		began := time.Now()
		late.send(request(5000, asDev))
		late.expect(began, 0, 503)
		late.leave()
		time.Sleep(5 * time.Second)
		if r := finish[0](); r.StatusCode != 201 {
			t.Errorf("status %d: %s", r.StatusCode, r.body)
		}
		if took := wait(); took != 5*time.Second {
			t.Errorf("took %v, want 5s", took)
		}
	})
}

// TestDrainEndsWhatWaits checks that a shutdown refuses the uploads that wait for their
// turn.
func TestDrainEndsWhatWaits(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		finish := fill(t, s, connect, 2)
		waiting := connect()
		waiting.send(request(5000, asDev))
		synctest.Wait()
		began := time.Now()
		wait := drain(t, s, time.Minute, 0)
		waiting.expect(began, 0, 503)
		waiting.leave()
		for _, f := range finish {
			f()
		}
		wait()
	})
}

func TestDrainEndsUploadsInTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		c := connect()
		f := symbolForm()
		began := time.Now()
		c.send(request(len(f), asDev), string(f[:len(f)/2]))
		wait := drain(t, s, 5*time.Second, 1)
		c.expect(began, 5*time.Second, 503)
		if took := wait(); took != 5*time.Second {
			t.Errorf("took %v, want 5s", took)
		}
		if e := s.event(); e["outcome"] != "shut down" || len(s.store.keys()) != 0 {
			t.Errorf("event %v, stored %q", e, s.store.keys())
		}
		c.leave()
	})
}

func TestDrainLetsPublishingEnd(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		s.store.onPublish = func() error {
			time.Sleep(9 * time.Second)
			return nil
		}
		c := connect()
		f := symbolForm()
		began := time.Now()
		c.send(request(len(f), asDev, "Connection: close"), string(f))
		wait := drain(t, s, 5*time.Second, 0)
		c.expect(began, 9*time.Second, 201)
		if took := wait(); took != 9*time.Second {
			t.Errorf("took %v, want 9s", took)
		}
		c.leave()
	})
}

// TestDrainHasAnEnd checks that a shutdown ends even if an upload does not.
func TestDrainHasAnEnd(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		s.store.onPublish = func() error {
			time.Sleep(time.Hour)
			return nil
		}
		c := connect()
		f := symbolForm()
		c.send(request(len(f), asDev, "Connection: close"), string(f))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		err := s.api.Drain(ctx)
		if e, ok := errors.AsType[*UnfinishedError](err); !ok || *e != (UnfinishedError{Left: 1}) || time.Since(began) != 5*time.Second+endWait {
			t.Errorf("Drain: %v after %v", err, time.Since(began))
		}
		c.patience(2 * time.Hour)
		c.reply()
		c.leave()
	})
}
