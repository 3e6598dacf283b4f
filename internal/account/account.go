// Package account records where the time of an upload goes.
package account

import (
	"slices"
	"sync"
	"time"
)

// A Label is what the goroutine of an upload is blocked on. At any moment there is
// exactly one label: a goroutine that is not blocked is on the CPU.
type Label int

const (
	OnClient Label = iota // the next bytes of the request
	OnMemory              // room in the memory budget, or the upload's turn
	OnStore               // requests to the store
	OnDisk                // the spill folder, or room there
	OnRemote              // the host that an archive is fetched from
	OnCPU                 // nothing: it works

	Labels int = iota // the number of labels
)

var names = [Labels]string{"client", "memory", "s3", "disk", "remote", "cpu"}

// String returns the label's name in logs, metrics and on the live page.
func (l Label) String() string { return names[l] }

// Names returns the names of all labels, in order.
func Names() []string { return slices.Clone(names[:]) }

// Spent is where the time of an upload went. The times in By add up to the upload's
// wall time exactly.
type Spent struct {
	By [Labels]time.Duration // by Label

	// Workers is how long other goroutines worked for the upload: verifying,
	// compressing. It is not part of the wall time.
	Workers time.Duration
}

// Wall returns the upload's wall time.
func (s *Spent) Wall() (d time.Duration) {
	for _, spent := range s.By {
		d += spent
	}
	return d
}

// Longest returns the label with the most time; of several, the first.
func (s *Spent) Longest() Label {
	longest := OnClient
	for l := range Label(Labels) {
		if s.By[l] > s.By[longest] {
			longest = l
		}
	}
	return longest
}

// An Account records where the time of one upload goes. A nil Account records
// nothing. Only the upload's goroutine calls Switch, or one that knows that it is
// blocked.
type Account struct {
	mu    sync.Mutex // guards all below
	since time.Time
	on    Label
	spent Spent
}

// New starts an account on the CPU.
func New() *Account { return &Account{since: time.Now(), on: OnCPU} }

// Switch records what the upload's goroutine is blocked on from now on. It returns
// the previous label, to switch back to.
func (a *Account) Switch(to Label) (before Label) {
	if a == nil {
		return OnCPU
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	before = a.on
	a.settle()
	a.on = to
	return before
}

// During records what the upload's goroutine is blocked on until it calls done.
func (a *Account) During(to Label) (done func()) {
	before := a.Switch(to)
	return func() { a.Switch(before) }
}

// settle adds the time since the last change. The caller holds a.mu.
func (a *Account) settle() {
	now := time.Now()
	a.spent.By[a.on] += now.Sub(a.since)
	a.since = now
}

// Worked adds time that another goroutine worked for the upload.
func (a *Account) Worked(d time.Duration) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.spent.Workers += d
}

// Spent returns the time up to now.
func (a *Account) Spent() Spent {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle()
	return a.spent
}
