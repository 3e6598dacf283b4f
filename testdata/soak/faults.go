package main

import (
	"math/rand/v2"
	"sync"
	"time"

	"spillway/testdata/s3fault"
)

const (
	// faultRate is how many of the requests fail in a way that passes, and
	// refusalRate how many in one that does not, which ends their upload.
	faultRate   = 0.05
	refusalRate = 0.00002

	// silentRate is how many of the requests are not answered at all: each keeps
	// an operation waiting for a minute.
	silentRate = 0.0002

	// In each spellEvery there is a time of spell in which the store throttles
	// spellRate of all requests.
	spellEvery = 3 * time.Minute
	spell      = 4 * time.Second
	spellRate  = 0.3
)

// faults are how the store fails, by chance.
type faults struct {
	mu     sync.Mutex
	random *rand.Rand
	began  time.Time
}

func newFaults(seed uint64) *faults {
	return &faults{random: rand.New(rand.NewPCG(seed, 'F')), began: time.Now()}
}

// The ways in which requests fail.
var (
	passing = []s3fault.Kind{
		s3fault.InternalError, s3fault.BadGateway, s3fault.ExpiredToken, s3fault.CutAnswer, s3fault.Reset, s3fault.ResetInBody,
	}
	lasting = []s3fault.Kind{s3fault.AccessDenied, s3fault.NoSuchBucket, s3fault.NotFound, s3fault.Garbage, s3fault.ErrorInside}
)

// choose says how an attempt at a call fails.
func (f *faults) choose(call string) *s3fault.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault := &s3fault.Fault{Call: call, Applied: f.random.IntN(2) == 0}
	throttled := time.Since(f.began)%spellEvery > spellEvery-spell
	switch x := f.random.Float64(); {
	case throttled && x < spellRate:
		fault.Kind = s3fault.SlowDown
	case x < refusalRate:
		fault.Kind = lasting[f.random.IntN(len(lasting))]
	case x < refusalRate+silentRate:
		fault.Kind = s3fault.Timeout
	case x < faultRate:
		fault.Kind = passing[f.random.IntN(len(passing))]
	default:
		return nil
	}
	if fault.Kind == s3fault.ResetInBody {
		fault.Applied = false
	}
	if !fault.Possible() {
		fault.Kind = s3fault.Reset
	}
	return fault
}
