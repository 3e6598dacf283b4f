package health

import (
	"slices"
	"strings"
)

// An Outcome is how an upload ended.
type Outcome string

const (
	Stored     Outcome = "stored"
	Refused    Outcome = "refused"     // for what it is, or for want of room
	Failed     Outcome = "failed"      // the store did, or the disk
	ClientGone Outcome = "client gone" // in the middle of it
	TimedOut   Outcome = "timed out"
	ShutDown   Outcome = "shut down" // this instance did
	Defect     Outcome = "defect"    // ours
)

// A Reason says why an upload ended as it did, where its outcome leaves that
// open.
type Reason string

const (
	NoReason Reason = ""

	// of Refused
	BadToken   Reason = "token"       // none, or one that may not
	BadForm    Reason = "form"        // not a form with one archive
	BadName    Reason = "name"        // an entry that must not be called so
	BadArchive Reason = "archive"     // damaged, or not what it says
	TooLarge   Reason = "limit"       // over a limit that no retry changes
	NoRoom     Reason = "no room"     // in the memory budget, or no turn in time
	NoSpill    Reason = "no spill"    // a spill quota is used up by others
	TokenBusy  Reason = "token limit" // as much is under way with its token as may be
	OtherCause Reason = "other cause" // none of these

	// of Failed
	StoreFailed Reason = "store"
	DiskFailing Reason = "disk"

	// of TimedOut
	IdleTooLong  Reason = "idle"  // the client sent nothing
	TotalTooLong Reason = "total" // the upload went on and on
)

// reasons are all that there are. What is none of its outcome's counts as
// OtherCause, so that nobody can make the metrics grow.
var reasons = map[Outcome][]Reason{
	Stored:     {NoReason},
	Refused:    {BadToken, BadForm, BadName, BadArchive, TooLarge, NoRoom, NoSpill, TokenBusy, OtherCause},
	Failed:     {StoreFailed, DiskFailing, OtherCause},
	ClientGone: {NoReason},
	TimedOut:   {IdleTooLong, TotalTooLong, OtherCause},
	ShutDown:   {NoReason},
	Defect:     {NoReason},
}

// known returns o and r as they are counted.
func known(o Outcome, r Reason) (Outcome, Reason) {
	valid, ok := reasons[o]
	switch {
	case !ok: // whoever reports it has to be mended
		return Defect, NoReason
	case slices.Contains(valid, r):
		return o, r
	case len(valid) == 1:
		return o, valid[0]
	}
	return o, OtherCause
}

// labelValue is how a name of more than one word is written in a metric.
func labelValue[S ~string](name S) string {
	return strings.ReplaceAll(string(name), " ", "_")
}
