package s3sink

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// TestGoroutines runs functions one after the other, at the same time, and after the end.
// A function never waits for another one, and no goroutine is left.
func TestGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails if a goroutine does not end
		g, ran, before := newGoroutines(), 0, runtime.NumGoroutine()
		for range 3 {
			g.run(func() { ran++ })
			synctest.Wait()
		}
		if n := runtime.NumGoroutine() - before; n != 1 {
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
