package s3sink

import (
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
)

// TestGoroutines runs functions one after the other, at the same time, and after the end.
// A function never waits for another one, and no goroutine is left.
func TestGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails if a goroutine does not end
		g, ran, before := newGoroutines(), 0, running()
		for range 3 {
			g.run(func() { ran++ })
			synctest.Wait()
		}
		if n := running() - before; n != 1 {
			t.Errorf("%d goroutines for functions that ran one after the other", n)
		}
		hold, both := make(chan struct{}), make(chan struct{})
		g.run(func() { <-hold })
		g.run(func() { close(both) })
		<-both
		close(hold)
		g.end()
		synctest.Wait()

		g.run(func() { ran++ })
		synctest.Wait()
		if ran != 4 {
			t.Errorf("%d functions ran, want 4", ran)
		}
	})
}

// TestIdleGoroutines runs many functions at the same time. Few of their goroutines are kept.
func TestIdleGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, hold := newGoroutines(), make(chan struct{})
		for range 1000 {
			g.run(func() { <-hold })
		}
		synctest.Wait()
		close(hold)
		synctest.Wait()
		if n := running(); n < 1 || n > maxIdle {
			t.Errorf("%d goroutines are idle, want 1 to %d", n, maxIdle)
		}
		g.end()
	})
}

// running counts the goroutines that goroutines.run has started. The runtime, and tests that
// ran before, have others, which may end at any time.
func running() int {
	stacks := make([]byte, 1<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "created by spillway/s3sink.(*goroutines).run ")
}
