package stream_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream"
	"spillway/testdata/ziptest"
)

const (
	mib  = 1 << 20
	part = 5 * mib // the part size of all budgets here
)

// budget makes one of 30 MiB, the smallest, which waits for half a minute. With
// its one floor it has five part buffers.
func budget(t testing.TB, uploads int) *stream.Memory {
	t.Helper()
	m, err := stream.NewMemory(30*mib, part, uploads, 30*time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func admit(t testing.TB, m *stream.Memory) (context.Context, *stream.Share) {
	t.Helper()
	ctx, s, err := m.Admit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ctx, s
}

// leaseAll takes every part buffer that is free at once.
func leaseAll(t testing.TB, ctx context.Context, s *stream.Share) []*stream.Buffer {
	t.Helper()
	impatient, cancel := context.WithCancel(ctx)
	defer cancel()
	var all []*stream.Buffer
	for {
		got := make(chan *stream.Buffer, 1)
		go func() {
			b, _ := s.Lease(impatient)
			got <- b
		}()
		synctest.Wait()
		select {
		case b := <-got:
			all = append(all, b)
		default:
			cancel()
			<-got
			return all
		}
	}
}

func release(all ...*stream.Buffer) {
	for _, b := range all {
		b.Release()
	}
}

func checkEmpty(t testing.TB, m *stream.Memory) {
	t.Helper()
	if u := m.Usage(); u != (stream.Usage{Total: m.Total()}) {
		t.Errorf("a budget that nobody uses: %+v", u)
	}
}

func TestNewMemory(t *testing.T) {
	tests := []struct {
		name     string
		total    int64
		maxPart  int64
		uploads  int
		partSize int // 0: refused
		floors   int
	}{
		{"one byte under the least", 30*mib - 1, 8 * mib, 64, 0, 0},
		{"the least", 30 * mib, 8 * mib, 64, 5 * mib, 15},
		{"a sixth", 36 * mib, 8 * mib, 4, 6 * mib, 4},
		{"parts as large as allowed", 256 * mib, 8 * mib, 64, 8 * mib, 64},
		{"no part under S3's least", 256 * mib, 1 * mib, 64, 5 * mib, 64},
		{"floors take a quarter at most", 64 * mib, 8 * mib, 64, 8 * mib, 32},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := stream.NewMemory(tt.total, tt.maxPart, tt.uploads, 0, nil)
			if tt.partSize == 0 {
				if err == nil {
					t.Fatal("no error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if m.PartSize() != tt.partSize || m.Total() != tt.total {
				t.Errorf("parts of %d bytes out of %d, want %d out of %d", m.PartSize(), m.Total(), tt.partSize, tt.total)
			}
			for range tt.floors {
				_, s, err := m.Admit(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
			}
			if u := m.Usage(); u.Floors > tt.total/4 || u.Uploads != tt.floors {
				t.Errorf("%d uploads have floors of %d bytes", u.Uploads, u.Floors)
			}
			if _, _, err := m.Admit(t.Context()); err == nil {
				t.Errorf("upload %d got a floor", tt.floors+1)
			}
		})
	}
}

func TestAdmitWaitsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 2)
		_, first := admit(t, m)
		_, second := admit(t, m)

		admitted := make(chan int, 3)
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				_, s, err := m.Admit(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				admitted <- i
				time.Sleep(time.Second)
				s.Close()
			})
			synctest.Wait()
		}
		if u := m.Usage(); u.Waiting != 3 || u.Uploads != 2 {
			t.Errorf("two uploads and three that wait: %+v", u)
		}
		time.Sleep(25 * time.Second)
		first.Close()
		wg.Wait()
		second.Close()
		for want := range 3 {
			if got := <-admitted; got != want {
				t.Errorf("upload %d was admitted as number %d", got, want)
			}
		}
		checkEmpty(t, m)
	})
}

func TestAdmitWaitsNoLongerThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 1)
		_, s := admit(t, m)

		begin := time.Now()
		_, _, err := m.Admit(t.Context())
		noRoom, ok := errors.AsType[*stream.NoRoomError](err)
		if !ok || time.Since(begin) != 30*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		if u := m.Usage(); ok && (noRoom.Limit != m.Total() || noRoom.InUse != u.Floors) {
			t.Errorf("%+v, want %d bytes in use of %d", noRoom, u.Floors, m.Total())
		}

		gone := errors.New("the client has gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		if _, _, err := m.Admit(ctx); !errors.Is(err, gone) {
			t.Errorf("a call whose context ended: %v", err)
		}

		s.Close()
		_, s = admit(t, m) // those that gave up left the queue
		s.Close()
		checkEmpty(t, m)
	})
}

func TestNobodysSecondLeaseBeforeEverybodysFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 4)
		greedyCtx, greedy := admit(t, m)
		all := leaseAll(t, greedyCtx, greedy)
		for _, b := range all {
			b.Full()
		}

		type lease struct {
			who int
			b   *stream.Buffer
		}
		leased := make(chan lease, 8)
		var wg sync.WaitGroup
		ask := func(who int, ctx context.Context, s *stream.Share) {
			wg.Go(func() {
				b, err := s.Lease(ctx)
				if err != nil {
					t.Errorf("upload %d: %v", who, err)
					return
				}
				b.Full()
				leased <- lease{who, b}
			})
			synctest.Wait()
		}
		var others []*stream.Share
		ask(0, greedyCtx, greedy) // was first, and has some already
		for who := 1; who <= 3; who++ {
			ctx, s := admit(t, m)
			others = append(others, s)
			ask(who, ctx, s)
			ask(who, ctx, s)
		}

		// Each buffer that comes back goes to the next in turn.
		want := []int{1, 2, 3, 0, 1, 2, 3}
		var order []int
		for range want {
			all[0].Release()
			l := <-leased
			order = append(order, l.who)
			all = append(all[1:], l.b)
		}
		if !slices.Equal(order, want) {
			t.Errorf("leases went to %v, want %v", order, want)
		}
		wg.Wait()
		release(all...)
		greedy.Close()
		for _, s := range others {
			s.Close()
		}
		checkEmpty(t, m)
	})
}

func TestLeaseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 2)
		ctx, s := admit(t, m)
		all := leaseAll(t, ctx, s)
		for _, b := range all {
			b.Full()
		}

		gone := errors.New("the client has gone")
		ended, cancel := context.WithCancelCause(ctx)
		time.AfterFunc(time.Second, func() { cancel(gone) })
		if _, err := s.Lease(ended); !errors.Is(err, gone) {
			t.Errorf("a lease whose context ended: %v", err)
		}
		begin := time.Now()
		_, err := s.Lease(ctx)
		if _, ok := errors.AsType[*stream.NoRoomError](err); !ok || time.Since(begin) != 30*time.Second {
			t.Errorf("a lease without room: %v after %v", err, time.Since(begin))
		}
		if ctx.Err() != nil {
			t.Errorf("the upload was ended: %v", context.Cause(ctx))
		}
		release(all...)
		s.Close()
		checkEmpty(t, m)
	})
}

func TestSlowFillerIsEndedWhenSomebodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 3)
		slowCtx, slow := admit(t, m)
		slowPart, err := slow.Lease(slowCtx)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // nobody waits
		if slowCtx.Err() != nil {
			t.Fatalf("ended while nobody waited: %v", context.Cause(slowCtx))
		}
		slowPart.Release()

		slowPart, err = slow.Lease(slowCtx)
		if err != nil {
			t.Fatal(err)
		}
		storingCtx, storing := admit(t, m)
		stored := leaseAll(t, storingCtx, storing)
		for _, b := range stored {
			b.Full() // waits for the store alone
		}

		begin := time.Now()
		context.AfterFunc(slowCtx, func() {
			if took := time.Since(begin); took != 20*time.Second {
				t.Errorf("the slow upload was ended after %v", took)
			}
			slowPart.Release()
		})
		ctx, s := admit(t, m)
		b, err := s.Lease(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := errors.AsType[*stream.NoRoomError](context.Cause(slowCtx)); !ok {
			t.Errorf("the slow upload's context ended with %v", context.Cause(slowCtx))
		}
		if storingCtx.Err() != nil {
			t.Errorf("the upload that waits for the store was ended: %v", context.Cause(storingCtx))
		}
		release(append(stored, b)...)
		slow.Close()
		storing.Close()
		s.Close()
		checkEmpty(t, m)
	})
}

func TestSlowestFillersAreEndedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 6)
		type filler struct {
			*stream.Share
			b *stream.Buffer
		}
		var fillers []filler
		ended := make(chan int, 5)
		for i := range 5 {
			ctx, s := admit(t, m)
			b, err := s.Lease(ctx)
			if err != nil {
				t.Fatal(err)
			}
			fillers = append(fillers, filler{s, b})
			context.AfterFunc(ctx, func() {
				ended <- i
				b.Release()
			})
			time.Sleep(time.Second)
		}

		ctx, s := admit(t, m)
		var all []*stream.Buffer
		for want := range 3 {
			b, err := s.Lease(ctx)
			if err != nil {
				t.Fatal(err)
			}
			b.Full()
			all = append(all, b)
			if got := <-ended; got != want {
				t.Errorf("upload %d was ended, want %d", got, want)
			}
		}
		if len(ended) > 0 {
			t.Errorf("more were ended than somebody waited for")
		}
		for _, f := range fillers[3:] {
			f.b.Release()
		}
		release(all...)
		for _, f := range fillers {
			f.Close()
		}
		s.Close()
		checkEmpty(t, m)
	})
}

func TestFullStopsTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 2)
		ctx, s := admit(t, m)
		b, err := s.Lease(ctx)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(19 * time.Second)
		b.Full()
		otherCtx, other := admit(t, m)
		all := leaseAll(t, otherCtx, other)
		for _, b := range all {
			b.Full()
		}
		if _, err := other.Lease(otherCtx); err == nil {
			t.Error("a lease without room")
		}
		if ctx.Err() != nil {
			t.Errorf("ended although its part was full: %v", context.Cause(ctx))
		}
		release(append(all, b)...)
		s.Close()
		other.Close()
		checkEmpty(t, m)
	})
}

func TestCloseFindsLeaks(t *testing.T) {
	tests := map[string]func(ctx context.Context, s *stream.Share) error{
		"a part": func(ctx context.Context, s *stream.Share) error {
			_, err := s.Lease(ctx)
			return err
		},
		"a held buffer": func(_ context.Context, s *stream.Share) error {
			if _, ok := s.Hold(1); !ok {
				return errors.New("nothing could be held")
			}
			return nil
		},
		"a reservation": func(ctx context.Context, s *stream.Share) error {
			_, err := s.Reserve(ctx, 1)
			return err
		},
	}
	for name, leak := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, s := admit(t, ziptest.NewMemory(t))
			if err := leak(ctx, s); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			s.Close()
		})
	}
}

func TestShareCloseEndsItsContext(t *testing.T) {
	ctx, s := admit(t, ziptest.NewMemory(t))
	s.Close()
	if !errors.Is(context.Cause(ctx), context.Canceled) {
		t.Errorf("the context's cause is %v", context.Cause(ctx))
	}
}
