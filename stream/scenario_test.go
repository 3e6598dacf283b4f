package stream_test

import (
	"context"
	"testing"
	"testing/synctest"

	"spillway/stream/budget"
	"spillway/testdata/budgettest"
)

const (
	mib  = 1 << 20
	part = budgettest.Part
)

// admit admits an upload that ends with the test.
func admit(t testing.TB, b *budget.Budget) (context.Context, *budget.Share) {
	t.Helper()
	return budgettest.Admit(t, t.Context(), b)
}

// leaseAll takes all free part buffers, and fills them.
func leaseAll(t testing.TB, ctx context.Context, s *budget.Share) (all []*budget.Buffer) {
	t.Helper()
	impatient, giveUp := context.WithCancel(ctx)
	defer giveUp()
	for {
		got := make(chan *budget.Buffer, 1)
		go func() {
			b, _ := s.Lease(impatient, part)
			got <- b
		}()
		synctest.Wait()
		select {
		case b := <-got:
			b.Full()
			all = append(all, b)
		default:
			giveUp()
			<-got
			return all
		}
	}
}

func release(all ...*budget.Buffer) {
	for _, b := range all {
		b.Release()
	}
}
