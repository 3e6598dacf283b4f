package observe

import (
	"slices"
	"time"

	"spillway/internal/outcome"
)

const (
	// mostRefusals is how many refusals the live page shows.
	mostRefusals = 50

	// mostDigests is how many different tokens a refusal shows.
	mostDigests = 4
)

// A refusal counts the uploads of one client that were refused for their token with the
// same message. The live page shows refusals apart from the recent uploads, because anybody
// can cause them.
type refusal struct {
	Message string    `json:"message"`
	Status  int       `json:"status"`
	Count   int       `json:"count"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	ID      int64     `json:"id"`      // of the last upload
	Sender  Sender    `json:"sender"`  // of the last upload
	Digests []string  `json:"digests"` // of the last tokens, the latest first

	network string // of the client
}

// refusals are the last ones, the oldest first.
type refusals []*refusal

// tokenRefused reports whether an upload was refused for its token.
func (e *Ended) tokenRefused() bool {
	return e.Anonymous || e.Outcome == outcome.Refused && e.Reason == outcome.BadToken
}

// add counts an upload that was refused for its token. If there are too many refusals, the
// oldest is dropped.
func (all *refusals) add(x *Upload, e *Ended, now time.Time) {
	message, network := clip(e.Message), x.sender.Network()
	i := slices.IndexFunc(*all, func(r *refusal) bool { return r.Message == message && r.network == network })
	r := &refusal{Message: message, Status: e.Status, First: now, network: network}
	switch {
	case i >= 0:
		r = (*all)[i]
		*all = slices.Delete(*all, i, i+1)
	case len(*all) == mostRefusals:
		*all = slices.Delete(*all, 0, 1)
	}
	*all = append(*all, r)
	r.Count++
	r.Last, r.ID, r.Sender = now, x.id, x.sender
	if digest := x.sender.TokenDigest; digest != "" {
		others := slices.DeleteFunc(slices.Clone(r.Digests), func(d string) bool { return d == digest })
		r.Digests = append([]string{digest}, others[:min(len(others), mostDigests-1)]...)
	}
}

// newest returns copies, the newest first.
func (all refusals) newest() []refusal {
	out := make([]refusal, 0, len(all))
	for _, r := range slices.Backward(all) {
		out = append(out, *r)
	}
	return out
}
