package budget_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream/budget"
	"spillway/testdata/budgettest"
)

const (
	mib  = 1 << 20
	part = budgettest.Part // the part size of all budgets here

	// A budget of 30 MiB has 29 MiB beside one floor and one verifier.
	floor  = 512 << 10
	table  = 64 << 10
	ticket = 8 * mib
)

// newBudget makes a budget of 30 MiB, the smallest, which waits for half a minute. It
// has one ticket, and no disk.
func newBudget(t testing.TB, uploads int, change ...func(*budget.Config)) *budget.Budget {
	t.Helper()
	smallest := func(c *budget.Config) {
		c.Memory, c.Uploads = 30*mib, uploads
		c.Needs = budget.Needs{Floor: floor, Table: table, Ticket: ticket, Verifier: floor}
	}
	return budgettest.New(t, append([]func(*budget.Config){smallest}, change...)...)
}

// withDisk gives a budget a disk with that quota, in bytes.
func withDisk(t testing.TB, quota int64) func(*budget.Config) {
	t.Helper()
	return budgettest.Disk(t, func(c *budget.SpillConfig) { c.Quota, c.UploadQuota = quota, quota })
}

// An upload is a share with the context of its upload.
type upload struct {
	*budget.Share
	ctx context.Context
}

// begin admits an upload.
func begin(t testing.TB, b *budget.Budget) upload {
	t.Helper()
	ctx, s := budgettest.Admit(t, t.Context(), b)
	return upload{s, ctx}
}

// takeTicket has the upload take its ticket.
func (u upload) takeTicket() error { return u.Grow(u.ctx, table+1) }

// lease leases a part, which must be there by and by.
func (u upload) lease(t testing.TB) *budget.Buffer {
	t.Helper()
	b, err := u.Lease(u.ctx, part)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// leaseAll takes all part buffers that are free at once, and fills them.
func (u upload) leaseAll(t testing.TB) (all []*budget.Buffer) {
	t.Helper()
	for {
		ctx, giveUp := context.WithCancel(u.ctx)
		got := inBackground(func() (*budget.Buffer, error) { return u.Lease(ctx, part) })
		synctest.Wait()
		giveUp()
		r := <-got
		if r.err != nil {
			return all
		}
		r.value.Full()
		all = append(all, r.value)
	}
}

// stall has the upload wait for its client, which sends nothing.
func (u upload) stall() { u.AwaitClient() }

// checkEnded checks that the budget has ended the upload, for want of memory or disk.
func (u upload) checkEnded(t testing.TB, want bool) {
	t.Helper()
	cause := context.Cause(u.ctx)
	_, memory := errors.AsType[*budget.NoRoomError](cause)
	_, disk := errors.AsType[*budget.QuotaError](cause)
	if ended := memory || disk; ended != want {
		t.Errorf("the upload was ended: %t, with %v; want %t", ended, cause, want)
	}
}

type result[T any] struct {
	value T
	err   error
	after time.Duration
}

// inBackground has f called beside the test.
func inBackground[T any](f func() (T, error)) <-chan result[T] {
	done := make(chan result[T], 1)
	began := time.Now()
	go func() {
		value, err := f()
		done <- result[T]{value, err, time.Since(began)}
	}()
	return done
}

// wait has an error-only call made beside the test.
func wait(f func() error) <-chan result[struct{}] {
	return inBackground(func() (struct{}, error) { return struct{}{}, f() })
}

func release(all ...*budget.Buffer) {
	for _, b := range all {
		b.Release()
	}
}

// checkNoRoom checks that err is a *NoRoomError.
func checkNoRoom(t testing.TB, err error) {
	t.Helper()
	if _, ok := errors.AsType[*budget.NoRoomError](err); !ok {
		t.Errorf("it fails with %v, want a *NoRoomError", err)
	}
}
