// Package budget shares out what all uploads of the process have in common: memory,
// disk and processors.
//
// An upload takes room in one order only, so uploads cannot wait for one another in
// a circle:
//
//  1. a floor, once, at admission;
//  2. the large ticket, once, if the upload needs more than its floor;
//  3. space on the disk, if the archive has to be held there;
//  4. leases: part buffers.
//
// An upload that waits for one of these holds nothing of a later one, except part
// buffers that are on their way to the store. Those come back by themselves: every
// operation of the store ends.
package budget

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

const (
	// MinMemory is the smallest memory budget, in bytes: a part of S3's minimum size
	// is a sixth of it.
	MinMemory = 6 * minPartSize

	// minPartSize is the smallest size of a part other than the last, in bytes (S3
	// User Guide, "Amazon S3 multipart upload limits").
	minPartSize = 5 << 20

	// maxHeld is the most that one upload holds until it is published, in bytes.
	maxHeld = 64 << 20

	// maxAdmitting is how many uploads may wait for a floor. Each takes some memory
	// outside the budget: its connection and its request's header.
	maxAdmitting = 256
)

// Needs is the memory that one upload needs, in bytes.
type Needs struct {
	Floor    int64 // every upload, from admission to its end
	Table    int64 // the part of Floor that is for the entry table
	Ticket   int64 // the most that an upload needs beside its floor: a longer table, decoders
	Verifier int64 // each entry that is verified beside the one that is being read
}

// Config is what there is to share.
type Config struct {
	Memory  int64 // bytes, at least MinMemory
	MaxPart int64 // bytes; parts are never larger
	Uploads int   // at once, at most
	Needs   Needs

	// Wait is how long an upload waits for a floor. An upload that has one waits
	// for more room as long as others give some back or make progress. It gives up
	// when there was none of that for as long as Wait.
	Wait time.Duration

	Spill SpillConfig // without a quota, nothing goes to the disk
}

// A Budget is the room that all uploads of the process share.
//
// A quarter of its memory is floors: they limit the uploads at once. The rest is
// for tickets, leases and held buffers.
//
// A part buffer is either being filled or on its way to the store. If filling takes
// longer than 20 s while others wait for memory, the buffer moves to the disk. If
// the disk has no room, its upload ends. An upload that has a ticket, or space on
// the disk, ends if others wait for that while its client sends less than a part
// in 20 s. Held buffers take only room that nobody waits for, and are given up
// when [Share.Wanted] says so.
type Budget struct {
	total      int64
	partSize   int
	ticketSize int64
	needs      Needs
	wait       time.Duration
	verifiers  *slots // one for each entry that is verified beside its upload's own
	processors *slots // one for each goroutine that decodes
	spill      Spill

	mu       sync.Mutex // guards all below, and the fields of Share and Spill that say so
	free     [resources]int64
	queues   [resources]queue
	shares   map[*Share]struct{}
	watching bool      // the watchdog's timer runs
	evicted  time.Time // when something was last taken from a slow client
	idle     idle
}

// New makes a budget. It is an error if cfg.Memory is too small.
func New(cfg Config) (*Budget, error) {
	if cfg.Memory < MinMemory {
		return nil, fmt.Errorf("a memory budget of %d bytes is too small: the least is %d MiB", cfg.Memory, MinMemory>>20)
	}
	part := min(max(cfg.Memory/6, minPartSize), max(cfg.MaxPart, minPartSize))
	uploads := min(int64(cfg.Uploads), cfg.Memory/4/cfg.Needs.Floor)
	verifiers := max(1, min(4*int64(runtime.GOMAXPROCS(0)), cfg.Memory/32/cfg.Needs.Verifier))
	free := cfg.Memory - uploads*cfg.Needs.Floor - verifiers*cfg.Needs.Verifier

	// While all tickets are taken, two parts can still be leased; one part if
	// otherwise there were no ticket at all.
	ticket := min(cfg.Needs.Ticket, free-part)
	b := &Budget{
		total:      cfg.Memory,
		partSize:   int(part),
		ticketSize: ticket,
		needs:      cfg.Needs,
		wait:       cfg.Wait,
		// Long entries are not interrupted, so one owner leaves some to others.
		verifiers:  newSlots(int(verifiers), max(1, int(verifiers)*3/4)),
		processors: newSlots(runtime.GOMAXPROCS(0), runtime.GOMAXPROCS(0)),
		free:       [resources]int64{floors: uploads, tickets: max(1, (free-2*part)/ticket), disk: cfg.Spill.Quota, parts: free},
		shares:     make(map[*Share]struct{}),
		idle:       idle{tools: make(map[*Tool][]any)},
	}
	b.spill = Spill{budget: b, cfg: cfg.Spill, calls: newDiskCalls(cfg.Spill.HangAfter), files: make(map[*File]struct{})}
	return b, nil
}

// PartSize is the size of a full part in bytes.
func (b *Budget) PartSize() int { return b.partSize }

// Spill is the disk of the budget.
func (b *Budget) Spill() *Spill { return &b.spill }

// Usage says how much of a budget's memory is in use, in bytes.
type Usage struct {
	Total   int64
	Uploads int   // shares that are open
	Floors  int64 // of uploads under way
	Leased  int64 // part buffers, tickets, and what answers keep
	Held    int64 // entries that wait to be published
	Waiting int   // calls that wait for memory
}

// Used is the sum of what is in use.
func (u *Usage) Used() int64 { return u.Floors + u.Leased + u.Held }

// Usage returns a snapshot.
func (b *Budget) Usage() Usage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.usage()
}

// usage is Usage. The caller holds b.mu.
func (b *Budget) usage() Usage {
	u := Usage{Total: b.total, Uploads: len(b.shares)}
	for r := range resources {
		if r != disk {
			u.Waiting += len(b.queues[r].waiters)
		}
	}
	for s := range b.shares {
		if s.floor {
			u.Floors += b.needs.Floor
		}
		u.Leased += s.leased
		u.Held += s.held
	}
	return u
}

// noRoom is the error of a call that waited in vain. The caller holds b.mu.
func (b *Budget) noRoom(what string) *NoRoomError {
	u := b.usage()
	return &NoRoomError{What: what, Limit: b.total, InUse: u.Used()}
}
