package stream_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream"
)

// TestMemoryUnderStress lets more uploads than there is room for lease, hold
// and reserve at random. Nobody waits forever, and the sums are right at every
// moment.
func TestMemoryUnderStress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := stream.NewMemory(30*mib, part, 8, 30*time.Second, nil)
		if err != nil {
			t.Fatal(err)
		}
		check := func() {
			u := m.Usage()
			if sum := u.Floors + u.Leased + u.Held; sum > u.Total || min(u.Floors, u.Leased, u.Held) < 0 {
				t.Errorf("out of bounds: %+v", u)
			}
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		ends := make(map[string]int)
		for seed := range uint64(24) {
			wg.Go(func() {
				end := "done"
				if err := upload(t, m, rand.New(rand.NewPCG(1, seed)), check); err != nil {
					if _, ok := errors.AsType[*stream.NoRoomError](err); !ok {
						t.Error(err)
					}
					end = "no room"
				}
				mu.Lock()
				defer mu.Unlock()
				ends[end]++
			})
		}
		wg.Wait()
		if ends["done"] == 0 {
			t.Errorf("no upload came to its end: %v", ends)
		}
		checkEmpty(t, m)
	})
}

// upload does with its share what an upload might.
func upload(t *testing.T, m *stream.Memory, r *rand.Rand, check func()) (err error) {
	ctx, s, err := m.Admit(t.Context())
	if err != nil {
		return err
	}
	defer s.Close()
	upTo := func(d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }
	var held []*stream.Buffer
	defer func() { release(held...) }()
	var storing sync.WaitGroup // parts on their way to the store
	defer storing.Wait()
	for range 40 {
		check()
		select {
		case <-s.Wanted():
			release(held...)
			held = nil
		default:
		}
		switch r.IntN(4) {
		case 0:
			if b, ok := s.Hold(r.IntN(mib)); ok {
				held = append(held, b)
			}
		case 1:
			free, err := s.Reserve(ctx, int64(r.IntN(4*mib)))
			if err != nil {
				return fmt.Errorf("reserving: %w", err)
			}
			time.Sleep(upTo(time.Second))
			free()
		default:
			b, err := s.Lease(ctx)
			if err != nil {
				return fmt.Errorf("leasing: %w", err)
			}
			select {
			case <-ctx.Done():
				b.Release()
				return context.Cause(ctx)
			case <-time.After(upTo(2 * time.Second)):
			}
			b.Full()
			stored := upTo(time.Second)
			storing.Go(func() {
				time.Sleep(stored)
				check()
				b.Release()
			})
		}
	}
	return nil
}
