package budget_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream/budget"
	"spillway/testdata/budgettest"
)

// TestNoCircles has many uploads at once that take everything there is, in little
// memory and on a small disk. Their clients are fast. So none is dropped, however
// long it takes, and the sums are right at every moment.
func TestNoCircles(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			b := newBudget(t, 12, withDisk(t, 9*mib), func(c *budget.Config) { c.Wait = time.Minute })
			var all sync.WaitGroup
			for i := range uint64(12) {
				u := begin(t, b)
				all.Go(func() {
					r := rand.New(rand.NewPCG(seed, i))
					if err := u.work(b, r); err != nil {
						t.Errorf("seed %d, upload %d: %v", seed, i, err)
					}
					u.Close()
				})
			}
			all.Wait()
			budgettest.CheckUnused(t, b)
		})
	}
}

// work does with a share what an upload might, at random.
func (u upload) work(b *budget.Budget, r *rand.Rand) error {
	upTo := func(d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }
	receive := func() {
		arrived := u.AwaitClient()
		time.Sleep(upTo(time.Second))
		arrived(part)
	}
	var (
		held    []*budget.Buffer
		file    *budget.File
		storing sync.WaitGroup // parts on their way to the store
	)
	defer func() {
		storing.Wait()
		release(held...)
		if file != nil {
			file.Close()
		}
	}()
	for range 30 {
		if use := b.Usage(); use.Used() > use.Total || min(use.Floors, use.Leased, use.Held) < 0 {
			return fmt.Errorf("out of bounds: %+v", use)
		}
		if u.Waited() {
			release(held...)
			held = nil
		}
		switch r.IntN(10) {
		case 0, 1:
			if buffer, ok := u.Hold(r.IntN(mib)); ok {
				receive()
				buffer.Full()
				held = append(held, buffer)
			}
		case 2:
			if err := u.Grow(u.ctx, 20<<10); err != nil {
				return fmt.Errorf("growing: %w", err)
			}
		case 3:
			tools, err := u.Tools(u.ctx, decoder)
			if err != nil {
				return fmt.Errorf("tools: %w", err)
			}
			receive()
			tools.Release()
		case 4:
			if file != nil {
				continue
			}
			var err error
			if file, err = u.SpillFile(u.ctx, int64(mib+r.IntN(6*mib))); err != nil {
				return fmt.Errorf("holding on disk: %w", err)
			}
		default:
			buffer, err := u.Lease(u.ctx, part)
			if err != nil {
				return fmt.Errorf("leasing: %w", err)
			}
			receive()
			buffer.Full()
			storing.Add(1)
			time.AfterFunc(upTo(time.Second), func() {
				buffer.Release()
				storing.Done()
			})
		}
	}
	u.AllArrived()
	return nil
}
