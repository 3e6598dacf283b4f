package upload

import (
	"math"
	"testing"
	"time"
)

func TestIDsAscend(t *testing.T) {
	var g ids
	now := time.Date(2026, 11, 23, 20, 11, 2, 0, time.UTC)
	last := int64(0)
	for i := range 20_000 { // more than there are ticks
		switch {
		case i%9_000 == 8_999:
			now = now.Add(-time.Second) // the clock is set back
		case i%5_000 == 4_999:
			now = now.Add(time.Millisecond)
		}
		id := g.next(now)
		if id <= last {
			t.Fatalf("id %d follows %d", id, last)
		}
		last = id
	}
	later := g.next(now.Add(24 * time.Hour))
	if made := idEpoch.Add(time.Duration(later) * idTick); !made.Equal(now.Add(24 * time.Hour).Truncate(idTick)) {
		t.Errorf("id %d says %v, made at %v", later, made, now.Add(24*time.Hour))
	}
	if id := g.next(time.Date(2043, 1, 1, 0, 0, 0, 0, time.UTC)); id > math.MaxUint32 {
		t.Errorf("id %d in 2043 is too large for the official client", id)
	}
}
