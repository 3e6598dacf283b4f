package health

import (
	"fmt"
	"strings"
	"time"

	"spillway/internal/account"
)

const (
	// defaultOutcomeWindow is how long the outcome of an upload counts. The official
	// client comes back after 60 s: its failures are well within it.
	defaultOutcomeWindow = 5 * time.Minute

	// outcomeSlots is how many parts of the window are counted for themselves.
	outcomeSlots = 30

	// manyFailures among stored uploads are a warning, if at least as many failed as
	// were stored.
	manyFailures = 3

	// namedHolders is how many uploads a message names.
	namedHolders = 3
)

// OutcomeConfig is how the outcomes of uploads make the check "uploads".
type OutcomeConfig struct {
	// Window is how long an outcome counts; 0: 5 minutes. Refusals for want of room
	// that go on for a fifth of it are a warning, for all of it an error.
	Window time.Duration

	// RoomWait is how long an upload waits for its turn before it is refused.
	RoomWait time.Duration
}

// cause is why an upload failed through no fault of its client.
type cause int

const (
	byStore cause = iota
	byDisk
	byDefect
	slowStore // it took too long, most of it for the store
	slowRoom  // for room in the memory budget
	slowDisk
	slowWork
	byOther
	causes int = iota
)

var causeWords = [causes]string{
	"S3 failed", "the spill disk failed", "of a defect", "S3 was too slow for --upload-timeout", "they waited for memory until --upload-timeout",
	"the spill disk was too slow for --upload-timeout", "they had too little CPU for --upload-timeout", "of something else",
}

// causeRemedies are what to do.
var causeRemedies = [causes]string{
	"See the check storage, and the store.", "See the check spill.", "The log has the stack: report it.", "See the check storage, and the store.",
	"Raise --memory, or add instances.", "See the check spill.", "Add instances, or CPUs.", "The log says more.",
}

// causeOf is why an upload failed. It is false if that was its client's doing.
func causeOf(e *Ended) (cause, bool) {
	switch e.Outcome {
	case Failed:
		switch e.Reason {
		case StoreFailed:
			return byStore, true
		case DiskFailing:
			return byDisk, true
		}
		return byOther, true
	case Defect:
		return byDefect, true
	case TimedOut:
		if e.Reason != TotalTooLong {
			return 0, false
		}
		c, ok := map[account.Label]cause{account.OnStore: slowStore, account.OnMemory: slowRoom, account.OnDisk: slowDisk, account.OnCPU: slowWork}[e.Spent.Longest()]
		return c, ok
	}
	return 0, false
}

// want is what was short when an upload was refused for want of room.
type want int

const (
	wantTurn want = iota
	wantMemory
	wantDisk
	wants int = iota
)

var wantRemedies = [wants]string{
	"Raise --max-uploads and --memory, bound what one token has under way with --max-token-uploads, or add instances.",
	"Raise --memory, or add instances.",
	"Raise --spill-quota, or add instances.",
}

var wantWords = [wants]string{"every turn was taken", "memory was used up", "the spill quota was used up"}

// wantOf is what was short, for an upload that had got to that stage. It is false
// if the upload was not refused for want of room.
func wantOf(e *Ended, stage Stage) (want, bool) {
	switch {
	case e.Outcome != Refused:
		return 0, false
	case e.Reason == NoSpill:
		return wantDisk, true
	case e.Reason == NoRoom && stage == Waiting:
		return wantTurn, true
	case e.Reason == NoRoom:
		return wantMemory, true
	}
	return 0, false
}

// outcomeCounts are counts of outcomes. What a client causes is not among them.
type outcomeCounts struct{ stored, failed, refused int }

// outcomes are what the uploads of late came to. Its owner guards it.
type outcomes struct {
	window time.Duration
	gap    time.Duration // refusals this far apart do not go on

	slots    [outcomeSlots]outcomeCounts // a ring
	slot     int64                       // the number of the last slot that was written
	began    time.Time                   // when slot 0 did
	stored   time.Time                   // when an upload last was; zero: never
	failing  failing
	refusing refusing
}

// failing are the failures since an upload was last stored.
type failing struct {
	first, last time.Time
	count       int
	by          [causes]int
	detail      string // what failed last, by the store's own words for it
}

// refusing are refusals for want of room that go on.
type refusing struct {
	first, last time.Time
	count       int
	by          [wants]int
}

// newOutcomes returns outcomes of which there are none. A client that is refused
// comes back after 60 s and may wait for its turn before it is refused again:
// refusals of the same client go on, though they are that far apart.
func newOutcomes(cfg OutcomeConfig) outcomes {
	if cfg.Window == 0 {
		cfg.Window = defaultOutcomeWindow
	}
	return outcomes{window: cfg.Window, gap: cfg.Window*3/10 + cfg.RoomWait, began: time.Now()}
}

// add counts an upload that ended now. stage is how far it had got.
func (o *outcomes) add(e *Ended, stage Stage) {
	now := time.Now()
	counts := o.now(now)
	if e.Outcome == Stored {
		counts.stored++
		o.stored, o.failing = now, failing{}
		return
	}
	if c, ok := causeOf(e); ok {
		counts.failed++
		f := &o.failing
		if now.Sub(f.last) >= o.window {
			*f = failing{first: now}
		}
		f.last, f.detail = now, e.Detail
		f.count++
		f.by[c]++
	}
	if w, ok := wantOf(e, stage); ok {
		counts.refused++
		r := &o.refusing
		if now.Sub(r.last) > o.gap {
			*r = refusing{first: now}
		}
		r.last = now
		r.count++
		r.by[w]++
	}
}

// now returns the slot of the present, and empties those that have been skipped.
func (o *outcomes) now(now time.Time) *outcomeCounts {
	slot := int64(now.Sub(o.began) / (o.window / outcomeSlots))
	for n := max(o.slot+1, slot-outcomeSlots+1); n <= slot; n++ {
		o.slots[n%outcomeSlots] = outcomeCounts{}
	}
	o.slot = max(o.slot, slot)
	return &o.slots[o.slot%outcomeSlots]
}

// sum is what counts now.
func (o *outcomes) sum(now time.Time) (all outcomeCounts) {
	o.now(now)
	for _, s := range o.slots {
		all.stored += s.stored
		all.failed += s.failed
		all.refused += s.refused
	}
	return all
}

// checkFailures is a warning after one failure since an upload was last stored,
// and an error after more. Where some are stored, many failures are a warning.
func (o *outcomes) checkFailures(now time.Time) (Level, string) {
	all, f := o.sum(now), &o.failing
	if f.count == 0 || now.Sub(f.last) >= o.window {
		if all.failed >= manyFailures && all.failed >= all.stored {
			return Warning, fmt.Sprintf("Of %d uploads in the last %v, %d failed, through no fault of their clients. The log and spillway_uploads_total say why.", all.failed+all.stored, o.window, all.failed)
		}
		return OK, ""
	}
	level := Warning
	if f.count > 1 {
		level = Error
	}
	since := "the start"
	if !o.stored.IsZero() {
		since = clock(o.stored)
	}
	message := fmt.Sprintf("No upload has been stored since %s. %d failed since %s, through no fault of their clients: %s.", since, f.count, clock(f.first), because(f.by[:], causeWords[:]))
	if f.detail != "" {
		message += " The last failed at " + f.detail + "."
	}
	return level, message + " " + causeRemedies[most(f.by[:])]
}

// checkRefusals is a warning when refusals for want of room go on, and an error
// when they have for as long as the window and most uploads are refused.
// holders are the uploads that have a turn, the oldest first.
func (o *outcomes) checkRefusals(now time.Time, holders []int64) (Level, string) {
	r := &o.refusing
	goOn := r.last.Sub(r.first)
	if r.count == 0 || now.Sub(r.last) > o.gap || goOn < o.window/5 {
		return OK, ""
	}
	level := Warning
	if all := o.sum(now); goOn >= o.window && all.refused >= all.stored {
		level = Error
	}
	message := fmt.Sprintf("Uploads have been refused for want of room for %v: %s; the last %v ago.",
		goOn.Round(time.Second), because(r.by[:], wantWords[:]), now.Sub(r.last).Round(time.Second))
	if n := len(holders); n > 0 {
		var named []string
		for _, id := range holders[:min(n, namedHolders)] {
			named = append(named, fmt.Sprint(id))
		}
		message += fmt.Sprintf(" Uploads with a turn: %d, the oldest are %s. The live page says what they wait for.", n, strings.Join(named, ", "))
	}
	return level, message + " " + wantRemedies[most(r.by[:])]
}

// clock is a time of day for people.
func clock(t time.Time) string { return t.UTC().Format("15:04:05 UTC") }

// because puts counts of something into words, leaving out what there was none of.
func because(counts []int, words []string) string {
	var parts []string
	for i, n := range counts {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d because %s", n, words[i]))
		}
	}
	return strings.Join(parts, ", ")
}

// most is the index of the largest count; of several, the first.
func most(counts []int) int {
	largest := 0
	for i, n := range counts {
		if n > counts[largest] {
			largest = i
		}
	}
	return largest
}
