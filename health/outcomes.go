package health

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"spillway/internal/account"
	"spillway/internal/outcome"
)

const (
	// defaultOutcomeWindow is how long a result counts. The official client retries
	// after 60 s, so that several of its failures are within the window.
	defaultOutcomeWindow = 5 * time.Minute

	// outcomeSlots is how many slots the window has. Each is counted separately.
	outcomeSlots = 30

	// manyFailures are a warning although some uploads are stored, if at least as many
	// failed as were stored.
	manyFailures = 3

	// namedHolders is how many uploads a message names.
	namedHolders = 3
)

// OutcomeConfig configures [Outcomes].
type OutcomeConfig struct {
	// Window is how long a result counts; 0: 5 minutes. Refusals for lack of room that
	// go on for a fifth of it are a warning, for all of it an error.
	Window time.Duration

	// RoomWait is how long an upload waits for its turn before it is refused.
	RoomWait time.Duration
}

// A cause is why an upload failed through no fault of its client.
type cause int

const (
	byStore cause = iota
	byDisk
	byDefect
	slowStore // timed out; most of the time went to the store
	slowRoom  // timed out; to waiting for memory
	slowDisk
	slowWork
	byOther
	causes int = iota
)

var causeWords = [causes]string{
	"S3 failed", "the spill disk failed", "of a bug in Spillway", "S3 was too slow for --upload-timeout", "they waited for memory until --upload-timeout",
	"the spill disk was too slow for --upload-timeout", "they had too little CPU for --upload-timeout", "of something else",
}

// causeRemedies say what to do about each cause.
var causeRemedies = [causes]string{
	"See the check storage, and the store.", "See the check spill.", "The log has the stack. Report it.", "See the check storage, and the store.",
	"Raise --memory, or add instances.", "See the check spill.", "Add instances, or CPUs.", "The log says more.",
}

// causeOf returns why an upload failed. ok is false if its client is the cause, or
// if it did not fail.
func causeOf(r *outcome.Result) (c cause, ok bool) {
	switch r.Outcome {
	case outcome.Failed:
		switch r.Reason {
		case outcome.StoreFailed:
			return byStore, true
		case outcome.DiskFailing:
			return byDisk, true
		}
		return byOther, true
	case outcome.Defect:
		return byDefect, true
	case outcome.TimedOut:
		if r.Reason != outcome.TotalTooLong {
			return 0, false
		}
		c, ok := map[account.Label]cause{account.OnStore: slowStore, account.OnMemory: slowRoom, account.OnDisk: slowDisk, account.OnCPU: slowWork}[r.Spent.Longest()]
		return c, ok
	}
	return 0, false
}

// A shortage is what an upload was refused for.
type shortage int

const (
	ofTurns shortage = iota
	ofMemory
	ofDisk
	shortages int = iota
)

// shortageRemedies say what to do about each shortage.
var shortageRemedies = [shortages]string{
	"Raise --max-uploads and --memory, limit the uploads of one token with --max-token-uploads, or add instances.",
	"Raise --memory, or add instances.",
	"Raise --spill-quota, or add instances.",
}

var shortageWords = [shortages]string{"every turn was taken", "memory was used up", "the spill quota was used up"}

// shortageOf returns what was short. ok is false if the upload was not refused for
// lack of room.
func shortageOf(r *outcome.Result) (s shortage, ok bool) {
	switch {
	case r.Outcome != outcome.Refused:
		return 0, false
	case r.Reason == outcome.NoSpill:
		return ofDisk, true
	case r.Reason == outcome.NoRoom && r.Stage == outcome.Waiting:
		return ofTurns, true
	case r.Reason == outcome.NoRoom:
		return ofMemory, true
	}
	return 0, false
}

// outcomeCounts are the results of one slot. Those that clients cause are not
// counted.
type outcomeCounts struct{ stored, failed, refused int }

// Outcomes counts the results of recent uploads, for the check "uploads". Its size
// is fixed.
type Outcomes struct {
	window time.Duration
	gap    time.Duration // a refusal that comes later than this after another one begins a new series

	mu       sync.Mutex                  // guards all below
	slots    [outcomeSlots]outcomeCounts // a ring
	slot     int64                       // number of the last slot that was written
	began    time.Time                   // of slot 0
	stored   time.Time                   // when an upload was last stored; zero if none was
	failing  failing
	refusing refusing
}

// failing are the failures since an upload was last stored.
type failing struct {
	first, last time.Time
	count       int
	by          [causes]int
	detail      string // outcome.Result.Detail of the last failure
}

// refusing is a series of refusals for lack of room.
type refusing struct {
	first, last time.Time
	count       int
	by          [shortages]int
}

// NewOutcomes returns Outcomes without results. A refused client retries after 60 s
// and may wait for its turn before it is refused again: refusals that are that far
// apart belong to one series.
func NewOutcomes(cfg OutcomeConfig) *Outcomes {
	if cfg.Window == 0 {
		cfg.Window = defaultOutcomeWindow
	}
	return &Outcomes{window: cfg.Window, gap: cfg.Window*3/10 + cfg.RoomWait, began: time.Now()}
}

// Add counts an upload that ended now.
func (o *Outcomes) Add(result *outcome.Result) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	counts := o.current(now)
	if result.Outcome == outcome.Stored {
		counts.stored++
		o.stored, o.failing = now, failing{}
		return
	}
	if c, ok := causeOf(result); ok {
		counts.failed++
		f := &o.failing
		if now.Sub(f.last) >= o.window {
			*f = failing{first: now}
		}
		f.last, f.detail = now, result.Detail
		f.count++
		f.by[c]++
	}
	if s, ok := shortageOf(result); ok {
		counts.refused++
		r := &o.refusing
		if now.Sub(r.last) > o.gap {
			*r = refusing{first: now}
		}
		r.last = now
		r.count++
		r.by[s]++
	}
}

// LastStored returns when an upload was last stored; zero if none was.
func (o *Outcomes) LastStored() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stored
}

// current returns the slot of now, and clears those since the last one. The caller
// holds o.mu.
func (o *Outcomes) current(now time.Time) *outcomeCounts {
	slot := int64(now.Sub(o.began) / (o.window / outcomeSlots))
	for n := max(o.slot+1, slot-outcomeSlots+1); n <= slot; n++ {
		o.slots[n%outcomeSlots] = outcomeCounts{}
	}
	o.slot = max(o.slot, slot)
	return &o.slots[o.slot%outcomeSlots]
}

// sum adds up the window. The caller holds o.mu.
func (o *Outcomes) sum(now time.Time) (all outcomeCounts) {
	o.current(now)
	for _, s := range o.slots {
		all.stored += s.stored
		all.failed += s.failed
		all.refused += s.refused
	}
	return all
}

// check is the check "uploads". holders are the IDs of the uploads that have a turn,
// the oldest first.
func (o *Outcomes) check(holders []int64) Check {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	failures, why := o.checkFailures(now)
	refusals, what := o.checkRefusals(now, holders)
	return Check{"uploads", max(failures, refusals), strings.TrimSpace(why + " " + what)}
}

// checkFailures is a warning after one failure since an upload was last stored, and
// an error after two. Many failures are a warning although some uploads are stored.
// The caller holds o.mu.
func (o *Outcomes) checkFailures(now time.Time) (Level, string) {
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

// checkRefusals is a warning when a series of refusals goes on for a fifth of the
// window, and an error when it goes on for all of it and most uploads are refused.
// The caller holds o.mu.
func (o *Outcomes) checkRefusals(now time.Time, holders []int64) (Level, string) {
	r := &o.refusing
	lasts := r.last.Sub(r.first)
	if r.count == 0 || now.Sub(r.last) > o.gap || lasts < o.window/5 {
		return OK, ""
	}
	level := Warning
	if all := o.sum(now); lasts >= o.window && all.refused >= all.stored {
		level = Error
	}
	message := fmt.Sprintf("Uploads have been refused for lack of room for %v: %s; the last %v ago.",
		lasts.Round(time.Second), because(r.by[:], shortageWords[:]), now.Sub(r.last).Round(time.Second))
	if n := len(holders); n > 0 {
		var named []string
		for _, id := range holders[:min(n, namedHolders)] {
			named = append(named, fmt.Sprint(id))
		}
		message += fmt.Sprintf(" %d uploads have a turn; the oldest are %s. The live page shows what they wait for.", n, strings.Join(named, ", "))
	}
	return level, message + " " + shortageRemedies[most(r.by[:])]
}

// clock formats a time of day.
func clock(t time.Time) string { return t.UTC().Format("15:04:05 UTC") }

// because lists the counts that are not zero, with their words.
func because(counts []int, words []string) string {
	var parts []string
	for i, n := range counts {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d because %s", n, words[i]))
		}
	}
	return strings.Join(parts, ", ")
}

// most returns the index of the largest count; of several, the first.
func most(counts []int) int {
	largest := 0
	for i, n := range counts {
		if n > counts[largest] {
			largest = i
		}
	}
	return largest
}
