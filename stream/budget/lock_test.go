package budget

import (
	"context"
	"runtime"
	"testing"
	"time"
)

// TestHoldAllocatesWithoutTheLock: while an upload allocates what it holds, others
// use the budget.
func TestHoldAllocatesWithoutTheLock(t *testing.T) {
	const size = 64 << 20
	b, err := New(Config{Memory: 512 << 20, MaxPart: size, Uploads: 1, Wait: time.Second, Needs: Needs{Floor: 1 << 20, Ticket: 1 << 20, Verifier: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := b.Admit(t.Context(), Upload{End: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, done := context.WithCancel(t.Context())
	go func() {
		defer done()
		for range 20 {
			buffer, ok := s.Hold(size)
			if !ok {
				t.Error("there is no room")
				return
			}
			buffer.Release()
		}
	}()
	looks, locked := 0, 0
	for ctx.Err() == nil {
		looks++
		if b.mu.TryLock() {
			b.mu.Unlock()
		} else {
			locked++
		}
		runtime.Gosched()
	}
	if locked > looks/4 {
		t.Errorf("the budget was locked at %d of %d looks", locked, looks)
	}
}
