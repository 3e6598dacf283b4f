package upload

import (
	"testing"
	"time"
)

func TestIDsAscend(t *testing.T) {
	var g ids
	now := time.Date(2026, 11, 23, 20, 11, 2, 0, time.UTC)
	last := int64(0)
	for i := range 20_000 { // more than the sequence numbers of a millisecond
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
	later := g.next(now.Add(time.Hour))
	if made := idEpoch.Add(time.Duration(later>>idSequenceBits) * time.Millisecond); !made.Equal(now.Add(time.Hour)) {
		t.Errorf("id %d says %v, made at %v", later, made, now.Add(time.Hour))
	}
	if id := g.next(time.Date(2094, 1, 1, 0, 0, 0, 0, time.UTC)); id >= 1<<53 {
		t.Errorf("id %d is not under 2^53 in 2094", id)
	}
}

func TestIDsOfInstancesDiffer(t *testing.T) {
	now := time.Date(2026, 11, 23, 20, 11, 2, 0, time.UTC)
	seen := make(map[int64]bool)
	for range 20 {
		seen[new(ids).next(now)] = true
	}
	if len(seen) < 10 {
		t.Errorf("20 instances made %d ids in the same millisecond", len(seen))
	}
}
