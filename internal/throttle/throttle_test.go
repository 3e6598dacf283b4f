package throttle_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"spillway/internal/throttle"
)

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttled := throttle.New(time.Minute)
		began := time.Now()
		type line struct {
			kind    string
			at      time.Duration
			event   int
			omitted int
		}
		var lines []line
		event := 0
		do := func(kind string) {
			event++
			n := event
			throttled.Do(kind, func(omitted int) { lines = append(lines, line{kind, time.Since(began), n, omitted}) })
		}
		for range 800 {
			do("a")
		}
		do("b")
		time.Sleep(2*time.Minute + time.Second) // a goes quiet in the second minute
		do("a")
		do("a")
		do("a")
		throttled.Flush()
		do("a")
		throttled.Flush()
		synctest.Wait()
		want := []line{
			{"a", 0, 1, 0},
			{"b", 0, 801, 0},
			{"a", time.Minute, 800, 798},
			{"a", 2*time.Minute + time.Second, 802, 0},
			{"a", 2*time.Minute + time.Second, 804, 1},
			{"a", 2*time.Minute + time.Second, 805, 0},
		}
		if !slices.Equal(lines, want) {
			t.Errorf("got  %v\nwant %v", lines, want)
		}
	})
}

// A source with many events does not hide those of another one. Sources beyond the hundredth
// share a kind, until an interval without an event of an earlier one has passed.
func TestThrottleOfSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttled := throttle.New(time.Minute)
		var mu sync.Mutex
		written := map[string]int{}
		do := func(kind, source string) {
			throttled.DoFrom(kind, source, func(int) {
				mu.Lock()
				defer mu.Unlock()
				written[source]++
			})
		}
		// take returns what was written since the last call.
		take := func() map[string]int {
			mu.Lock()
			defer mu.Unlock()
			last := written
			written = map[string]int{}
			return last
		}
		for range 800 {
			do("a", "loud")
		}
		do("a", "quiet")
		do("b", "loud")
		for n := range 200 {
			do("a", fmt.Sprint(n))
		}
		// With 97 more sources there are a hundred kinds. The next source is the first of
		// those that share one.
		if w := take(); len(w) != 2+98 || w["loud"] != 2 || w["quiet"] != 1 || w["97"] != 1 || w["98"] != 0 {
			t.Errorf("at once: %v", w)
		}
		time.Sleep(3 * time.Minute)
		if w := take(); len(w) != 2 || w["loud"] != 1 || w["199"] != 1 {
			t.Errorf("in three minutes: %v", w)
		}
		for n := range 200 {
			do("a", fmt.Sprint(n))
		}
		throttled.Flush()
		if w := take(); len(w) != 102 || w["100"] != 1 || w["199"] != 1 {
			t.Errorf("once more: %d sources, %v", len(w), w)
		}
	})
}

func TestNilThrottleWritesAll(t *testing.T) {
	var none *throttle.Throttle
	n := 0
	for range 3 {
		none.Do("a", func(omitted int) { n += 1 + omitted })
	}
	none.Flush()
	if n != 3 {
		t.Errorf("%d events were written, want 3", n)
	}
}
