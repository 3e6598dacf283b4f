package upload

import (
	"math/rand/v2"
	"sync"
	"time"
)

// An upload ID is the number of milliseconds since idEpoch, followed by the bits of a
// sequence number. IDs stay below 2^53, and so are exact in JavaScript, until 2094.
const idSequenceBits = 12

var idEpoch = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// ids returns IDs that are unique and ascend within the process. In each millisecond the
// sequence number begins at random in the lower half of its range, so that two instances
// hardly ever return the same ID.
type ids struct {
	mu   sync.Mutex
	last int64
}

func (g *ids) next(now time.Time) int64 {
	first := now.Sub(idEpoch).Milliseconds()<<idSequenceBits | rand.Int64N(1<<(idSequenceBits-1))
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last>>idSequenceBits >= first>>idSequenceBits {
		g.last++
	} else {
		g.last = first
	}
	return g.last
}
