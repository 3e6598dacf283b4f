package tokens

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"
)

// maxAnswers is how many tokens that were accepted are remembered, and how many that were
// refused. Refused ones, which anybody can make up, never replace accepted ones.
const maxAnswers = 4096

// digest is the SHA-256 of a token.
type digest [sha256.Size]byte

// answers remembers what an upstream answered about tokens, by their digests. Its methods are
// safe for concurrent use.
type answers struct {
	mu       sync.Mutex
	accepted map[digest]acceptance
	refused  map[digest]*list.Element // of refusals
	refusals list.List                // of refusal, the oldest first
}

type acceptance struct {
	token Token
	asOf  time.Time
}

// fresh reports whether the token need not be asked about.
func (a acceptance) fresh(now time.Time) bool { return now.Sub(a.asOf) < acceptedFor }

// inForce reports whether the token may be used while the upstream cannot be asked.
func (a acceptance) inForce(now time.Time) bool {
	return now.Sub(a.asOf) < staleFor && a.token.lifeAt(now) != expired
}

type refusal struct {
	digest digest
	err    error
	until  time.Time
}

func newAnswers() *answers {
	return &answers{accepted: make(map[digest]acceptance), refused: make(map[digest]*list.Element)}
}

// acceptance returns that of a token, if it is in force.
func (a *answers) acceptance(of digest, now time.Time) (acceptance, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found, ok := a.accepted[of]
	if ok && !found.inForce(now) {
		delete(a.accepted, of)
		return acceptance{}, false
	}
	return found, ok
}

// refusal returns why a token was refused, if that still holds; nil otherwise.
func (a *answers) refusal(of digest, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e, ok := a.refused[of]; ok {
		if r := e.Value.(refusal); now.Before(r.until) {
			return r.err
		}
	}
	return nil
}

// accept remembers a token that the upstream accepts. If there are too many, it forgets the
// one with the oldest answer.
func (a *answers) accept(of digest, token Token, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forget(of)
	if _, ok := a.accepted[of]; !ok && len(a.accepted) >= maxAnswers {
		oldest := of
		for d, other := range a.accepted {
			if oldest == of || other.asOf.Before(a.accepted[oldest].asOf) {
				oldest = d
			}
		}
		delete(a.accepted, oldest)
	}
	a.accepted[of] = acceptance{token, now}
}

// refuse remembers why the upstream refuses a token.
func (a *answers) refuse(of digest, err error, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.accepted, of)
	a.forget(of)
	a.refused[of] = a.refusals.PushBack(refusal{of, err, now.Add(refusedFor)})
	if a.refusals.Len() > maxAnswers {
		a.forget(a.refusals.Front().Value.(refusal).digest)
	}
}

// forget forgets the refusal of a token. The caller holds a.mu.
func (a *answers) forget(of digest) {
	if e, ok := a.refused[of]; ok {
		a.refusals.Remove(e)
		delete(a.refused, of)
	}
}

// distrust forgets the tokens that were accepted after a moment.
func (a *answers) distrust(after time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for d, found := range a.accepted {
		if found.asOf.After(after) {
			delete(a.accepted, d)
		}
	}
}

// inForce returns how many accepted tokens may be used while the upstream cannot be asked.
func (a *answers) inForce(now time.Time) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, found := range a.accepted {
		if found.inForce(now) {
			n++
		}
	}
	return n
}
