package tokens

import (
	"slices"
	"time"
)

// Status is the state of a tokens file.
type Status struct {
	// Err says why the file cannot be used; nil if it can. Reason says the same
	// without paths and content, so that it may be public.
	Err    error
	Reason string

	// AsOf is when the file last matched the tokens in force: about now if it can be
	// used.
	AsOf time.Time

	// Usable is how many of the tokens in force may upload now.
	Usable int

	// Expiring are the usable tokens that expire within [ExpiresSoon], the first to expire
	// first.
	Expiring []Expiry

	// Uses has each token in force, in the order of the file.
	Uses []Use

	Upstream *UpstreamStatus // nil if there is none
}

// Expiry is when a token expires.
type Expiry struct {
	Digest string // its first digits
	At     time.Time
}

// Use is when a token last authenticated a request to this instance; zero if it has not yet.
type Use struct {
	Digest string // its first digits
	Last   time.Time
}

// Status returns the state of the tokens file. A set without a file has no errors.
func (t *Set) Status() Status {
	now := time.Now()
	t.mu.Lock()
	s := Status{Err: t.failed, Reason: reasonOf(t.failed), AsOf: t.asOf}
	t.mu.Unlock()
	if t.path == "" {
		s.AsOf = now
	}
	for _, entry := range *t.entries.Load() {
		use := Use{Digest: entry.ShortDigest()}
		if last := entry.used.Load(); last != 0 {
			use.Last = time.Unix(last, 0)
		}
		s.Uses = append(s.Uses, use)
		if entry.usable(now) != nil {
			continue
		}
		s.Usable++
		if entry.lifeAt(now) == expiringSoon {
			s.Expiring = append(s.Expiring, Expiry{entry.ShortDigest(), entry.ExpiresAt})
		}
	}
	if t.upstream != nil {
		s.Upstream = t.upstream.status(now)
	}
	slices.SortStableFunc(s.Expiring, func(a, b Expiry) int { return a.At.Compare(b.At) })
	return s
}
