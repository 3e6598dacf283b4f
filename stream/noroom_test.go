package stream_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/ziptest"
)

// TestNoRoom reads an archive while another upload has all part buffers.
func TestNoRoom(t *testing.T) {
	for _, e := range ziptest.BigEntries() {
		t.Run(e.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := budgettest.New(t)
				ctx, other := admit(t, m)
				all := leaseAll(t, ctx, other)
				for _, b := range all {
					b.Full()
				}
				begin := time.Now()
				source := archive.Build(e)
				uploadCtx, share := budgettest.Admit(t, t.Context(), m)
				s := ziptest.NewStore(t, m)
				_, err := ziptest.Read(uploadCtx, bytes.NewReader(source), share, s, ziptest.Ordinary)
				s.Close()
				share.Close()
				if _, ok := errors.AsType[*budget.NoRoomError](err); !ok || time.Since(begin).Round(time.Second) != 30*time.Second {
					t.Errorf("after %v: %v", time.Since(begin), err)
				}
				release(all...)
				other.Close()
				budgettest.CheckUnused(t, m)
			})
		})
	}
}

// TestSlowClientIsEnded has a client that stalls in the middle of a part while another upload
// waits.
func TestSlowClientIsEnded(t *testing.T) {
	for _, e := range ziptest.BigEntries() {
		t.Run(e.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := budgettest.New(t)
				slow := ziptest.Stall(archive.Build(e)[:part+part/2])
				var wg sync.WaitGroup
				wg.Go(func() {
					uploadCtx, share := budgettest.Admit(t, t.Context(), m)
					s := ziptest.NewStore(t, m)
					_, err := ziptest.Read(uploadCtx, slow, share, s, ziptest.Ordinary)
					s.Close()
					share.Close()
					if _, ok := errors.AsType[*budget.NoRoomError](err); !ok {
						t.Errorf("the slow client's upload ended with %v", err)
					}
				})
				<-slow.Stalled
				begin := time.Now()
				ctx, other := admit(t, m)
				all := leaseAll(t, ctx, other)
				for _, b := range all {
					b.Full()
				}
				b, err := other.Lease(ctx, part)
				if err != nil {
					t.Error(err)
				}
				if took := time.Since(begin); took.Round(time.Second) != 20*time.Second {
					t.Errorf("the other upload waited for %v", took)
				}
				wg.Wait()
				release(append(all, b)...)
				other.Close()
				budgettest.CheckUnused(t, m)
			})
		})
	}
}
