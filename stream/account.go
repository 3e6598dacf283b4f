package stream

import (
	"sync"
	"time"
)

// Wait is what the goroutine that takes an upload is blocked on.
type Wait int

const (
	OnNothing Wait = iota // it works
	OnClient              // the client has not sent what is wanted next
	OnMemory              // room in the memory budget
	OnStore               // the store
	OnDisk                // the disk that spill files are on, and room there
	OnRemote              // the host that an archive is fetched from

	Waits int = iota // how many there are
)

// String is the name of a wait in logs.
func (w Wait) String() string {
	return [Waits]string{"working", "client", "memory", "store", "disk", "remote"}[w]
}

// Account says where the time of one upload goes: at any moment to one Wait. It
// begins with the upload; what it has adds up to the time since then exactly.
//
// Switch is for what the upload's own goroutine is blocked on; whoever calls it
// knows that it still is.
type Account struct {
	mu      sync.Mutex
	since   time.Time
	on      Wait
	spent   [Waits]time.Duration
	workers time.Duration
}

// NewAccount begins an account, with work.
func NewAccount() *Account { return &Account{since: time.Now()} }

// Switch says what the upload's goroutine is blocked on from now on, and returns
// what it was before, to switch back to. A nil Account ignores it.
func (a *Account) Switch(to Wait) (before Wait) {
	if a == nil {
		return OnNothing
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	before = a.on
	a.settle()
	a.on = to
	return before
}

// settle counts the time up to now. The caller holds a.mu.
func (a *Account) settle() {
	now := time.Now()
	a.spent[a.on] += now.Sub(a.since)
	a.since = now
}

// Worked counts what another goroutine has worked for the upload, beside its
// own. A nil Account ignores it.
func (a *Account) Worked(d time.Duration) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.workers += d
}

// Spent returns the time up to now by Wait, and how long other goroutines have
// worked meanwhile, which is not a part of it.
func (a *Account) Spent() (spent [Waits]time.Duration, workers time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle()
	return a.spent, a.workers
}
