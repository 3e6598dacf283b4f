// Package outcome names how uploads end and why. The names appear in the log, the
// metrics and on the live page.
package outcome

import (
	"slices"
	"strings"

	"spillway/internal/account"
)

// An Outcome is how an upload ended.
type Outcome string

const (
	Stored     Outcome = "stored"
	Refused    Outcome = "refused"     // for its content, for lack of room, or by another host
	Failed     Outcome = "failed"      // the store or the disk failed
	ClientGone Outcome = "client gone" // the connection broke
	TimedOut   Outcome = "timed out"
	ShutDown   Outcome = "shut down" // by this instance's shutdown
	Defect     Outcome = "defect"    // a bug in Spillway
)

// A Reason says why an upload ended as it did. Outcomes that need no reason have
// [NoReason].
type Reason string

const (
	NoReason Reason = ""

	// Reasons for Refused.
	BadToken   Reason = "token"       // missing, unknown, expired or without permission
	Unchecked  Reason = "token check" // the server that knows the token could not be asked
	BadForm    Reason = "form"        // not a form with one archive
	BadURL     Reason = "url"         // may not be fetched, or has no archive
	BadName    Reason = "name"        // an entry name that is not allowed
	BadArchive Reason = "archive"     // damaged or inconsistent
	TooLarge   Reason = "limit"       // over a limit; a retry cannot help
	NoRoom     Reason = "no room"     // memory budget used up, or no turn in time
	NoSpill    Reason = "no spill"    // spill quota used up by other uploads
	TokenBusy  Reason = "token limit" // the token has too much under way
	RemoteDown Reason = "remote"      // the host that the archive is fetched from failed
	OtherCause Reason = "other cause"

	// Reasons for Failed.
	StoreFailed Reason = "store"
	DiskFailing Reason = "disk"

	// Reasons for TimedOut.
	IdleTooLong  Reason = "idle"  // the client sent nothing
	TotalTooLong Reason = "total" // the whole upload took too long
)

// reasons lists the valid reasons of each outcome.
var reasons = map[Outcome][]Reason{
	Stored:     {NoReason},
	Refused:    {BadToken, Unchecked, BadForm, BadURL, BadName, BadArchive, TooLarge, NoRoom, NoSpill, TokenBusy, RemoteDown, OtherCause},
	Failed:     {StoreFailed, DiskFailing, OtherCause},
	ClientGone: {NoReason},
	TimedOut:   {IdleTooLong, TotalTooLong, OtherCause},
	ShutDown:   {NoReason},
	Defect:     {NoReason},
}

// All yields every outcome with each of its reasons.
func All(yield func(Outcome, Reason) bool) {
	for o, of := range reasons {
		for _, r := range of {
			if !yield(o, r) {
				return
			}
		}
	}
}

// Label returns name as a metric label: with underscores instead of spaces.
func Label[S ~string](name S) string {
	return strings.ReplaceAll(string(name), " ", "_")
}

// A Stage is how far an upload has got.
type Stage string

const (
	Waiting    Stage = "waiting"    // for its turn
	Receiving  Stage = "receiving"  // receives the archive and stages its entries
	Publishing Stage = "publishing" // makes the entries visible
)

// Stages returns all stages in order.
func Stages() []Stage { return []Stage{Waiting, Receiving, Publishing} }

// A Result is how one upload ended.
type Result struct {
	Outcome Outcome
	Reason  Reason
	Stage   Stage         // how far the upload had got
	Spent   account.Spent // where its time went

	// Detail names the store's failed operation and error code. It is empty if the
	// store did not fail.
	Detail string
}

// Normalize replaces unknown names, so that the metrics have a fixed set of labels. An
// unknown outcome becomes [Defect]. An unknown reason becomes [OtherCause], or the
// outcome's only reason.
func (r *Result) Normalize() {
	valid, ok := reasons[r.Outcome]
	switch {
	case !ok:
		r.Outcome, r.Reason = Defect, NoReason
	case slices.Contains(valid, r.Reason):
	case len(valid) == 1:
		r.Reason = valid[0]
	default:
		r.Reason = OtherCause
	}
}
