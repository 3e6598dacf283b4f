package budget

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlotsIsFair has one owner with many calls and others with one each. In fake
// time each holds its slot for a second.
func TestSlotsIsFair(t *testing.T) {
	for _, c := range []struct {
		slots, most, others int
		within              time.Duration // that each of the others has had its slot
	}{
		{1, 1, 1, 3 * time.Second},
		{2, 2, 1, 2 * time.Second},
		{2, 2, 4, 4 * time.Second},
		{4, 3, 1, time.Second}, // one slot is left to others
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newSlots(c.slots, c.most)
				hold := func(owner string) {
					if err := g.enter(t.Context(), owner); err != nil {
						t.Error(err)
						return
					}
					time.Sleep(time.Second)
					g.leave(owner)
				}
				var all, others sync.WaitGroup
				for range 60 {
					all.Go(func() { hold("many") })
				}
				synctest.Wait()
				begun := time.Now()
				for i := range c.others {
					others.Go(func() { hold(fmt.Sprintf("other %d", i)) })
				}
				others.Wait()
				if took := time.Since(begun); took > c.within {
					t.Errorf("the others have waited and held for %v, want %v", took, c.within)
				}
				all.Wait()
				if took, want := time.Since(begun), time.Duration(60+c.others+c.slots)*time.Second/time.Duration(c.most); took > want {
					t.Errorf("all have taken %v, want at most %v: slots were left free", took, want)
				}
				if len(g.owners) != 0 || len(g.turns) != 0 || g.free != c.slots || g.waiting.Load() != 0 {
					t.Errorf("the slots afterwards: %+v", g)
				}
			})
		})
	}
}

// TestSlotsGivesUp: whoever's context ends while it waits has no slot, and keeps
// none from others.
func TestSlotsGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSlots(1, 1)
		if err := g.enter(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		cause := errors.New("over")
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 2)
		for _, owner := range []string{"a", "b"} {
			go func() { ended <- g.enter(ctx, owner) }()
		}
		synctest.Wait()
		cancel(cause)
		for range 2 {
			if err := <-ended; !errors.Is(err, cause) {
				t.Errorf("error %v, want the context's cause", err)
			}
		}
		g.leave("a")
		if err := g.enter(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		g.leave("b")
		if len(g.owners) != 0 || len(g.turns) != 0 || g.free != 1 || g.waiting.Load() != 0 {
			t.Errorf("the slots afterwards: %+v", g)
		}
	})
}

// TestTurnYields: a turn that has been long ends when others wait, and only then.
func TestTurnYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSlots(1, 1)
		mine := &Turn{slots: g, ctx: t.Context(), owner: "mine"}
		if err := mine.Begin(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * quantum)
		if err := mine.Yield(); err != nil || !mine.within {
			t.Fatalf("error %v", err)
		}
		got := make(chan struct{})
		go func() {
			if err := g.enter(t.Context(), "other"); err != nil {
				t.Error(err)
			}
			close(got)
			time.Sleep(time.Second)
			g.leave("other")
		}()
		synctest.Wait()
		if err := mine.Yield(); err != nil || mine.waited != time.Second {
			t.Errorf("error %v; it has waited %v, want a second", err, mine.waited)
		}
		<-got
		resume := mine.Pause()
		if g.free != 1 {
			t.Error("a pause keeps the slot")
		}
		resume()
		if g.free != 0 {
			t.Error("there is no slot after a pause")
		}
		mine.End()
		mine.End()
		if g.free != 1 {
			t.Errorf("%d slots afterwards", g.free)
		}
	})
}
