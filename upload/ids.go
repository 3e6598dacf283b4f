package upload

import (
	"sync"
	"time"
)

// An upload ID is the number of ticks since idEpoch. IDs stay below 2^32 until 2043, because
// the official client refuses an answer with a larger one.
const idTick = time.Second / 8

var idEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// ids returns IDs that are unique and ascend within the process. After more uploads than
// ticks they run ahead of the clock. Two instances return the same ID for uploads that
// begin in the same tick.
type ids struct {
	mu   sync.Mutex
	last int64
}

func (g *ids) next(now time.Time) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = max(g.last+1, int64(now.Sub(idEpoch)/idTick))
	return g.last
}
