package upload

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Upload ids are milliseconds since idEpoch, shifted by the bits of a sequence
// number: they stay under 2^53, and so exact in JavaScript, until 2094.
const idSequenceBits = 12

var idEpoch = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// ids makes ids that are unique and ascend within the process. The sequence
// begins anywhere in the lower half of its range in each millisecond, so that
// several instances hardly ever make the same one.
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
