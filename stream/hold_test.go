package stream

import (
	"runtime"
	"testing"
	"time"
)

// TestHoldAllocatesWithoutTheLock: while an upload allocates what it holds, others
// get at the budget.
func TestHoldAllocatesWithoutTheLock(t *testing.T) {
	const size = 64 << 20
	m, err := NewMemory(512<<20, size, 1, time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, s, err := m.Admit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			b, ok := s.Hold(size)
			if !ok {
				t.Error("there is no room")
				return
			}
			b.Release()
		}
	}()
	looks, locked := 0, 0
	for running := true; running; runtime.Gosched() {
		select {
		case <-done:
			running = false
		default:
		}
		looks++
		if m.mu.TryLock() {
			m.mu.Unlock()
		} else {
			locked++
		}
	}
	if locked > looks/4 {
		t.Errorf("the budget was locked at %d of %d looks", locked, looks)
	}
}
