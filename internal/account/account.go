// Package account says where the time of an upload goes.
package account

import (
	"slices"
	"sync"
	"time"
)

// A Label is what the goroutine that takes an upload is blocked on. At any moment
// it is one of them: whatever does not wait works.
type Label int

const (
	OnClient Label = iota // the client has not sent what is wanted next
	OnMemory              // room in the memory budget, and the upload's turn
	OnStore               // requests to the store
	OnDisk                // the spill folder, and room there
	OnRemote              // the host that an archive is fetched from
	OnCPU                 // nothing: it works

	Labels int = iota // how many there are
)

var names = [Labels]string{"client", "memory", "s3", "disk", "remote", "cpu"}

// String is the label's name in logs, metrics and on the live page.
func (l Label) String() string { return names[l] }

// Names are the names of all labels, in their order.
func Names() []string { return slices.Clone(names[:]) }

// Spent is where the time of an upload has gone. What By has adds up to the
// upload's wall time exactly: there is no other record of that.
type Spent struct {
	By [Labels]time.Duration // by Label

	// Workers is how long other goroutines worked for the upload: verifying,
	// compressing. It is no part of the wall time.
	Workers time.Duration
}

// Wall is the upload's wall time.
func (s *Spent) Wall() (d time.Duration) {
	for _, spent := range s.By {
		d += spent
	}
	return d
}

// Longest is the label that has most of the time; of several, the first.
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
// nothing.
//
// Only the goroutine that takes the upload calls Switch, or one that knows that
// this goroutine is blocked.
type Account struct {
	mu    sync.Mutex // guards all below
	since time.Time
	on    Label
	spent Spent
}

// New begins an account, with work.
func New() *Account { return &Account{since: time.Now(), on: OnCPU} }

// Switch says what the upload's goroutine is blocked on from now on. It returns
// what that was before, to switch back to.
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

// settle adds the time up to now. The caller holds a.mu.
func (a *Account) settle() {
	now := time.Now()
	a.spent.By[a.on] += now.Sub(a.since)
	a.since = now
}

// Worked adds the time that another goroutine has worked for the upload.
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
