package stream_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream"
	"spillway/testdata/archive"
	"spillway/testdata/ziptest"
)

func TestHoldTakesFreeRoomOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 2)
		ctx, s := admit(t, m)
		var held []*stream.Buffer
		for {
			b, ok := s.Hold(mib)
			if !ok {
				break
			}
			if !b.Held() || b.Memory() != mib || b.Size() != 0 {
				t.Fatalf("a held buffer: held %t, %d bytes of memory, %d bytes", b.Held(), b.Memory(), b.Size())
			}
			held = append(held, b)
		}
		if len(held) < part/mib {
			t.Errorf("no more than %d MiB could be held", len(held))
		}
		leased := leaseAll(t, ctx, s)
		if len(leased) < 2 {
			t.Errorf("with all room held, %d parts could be leased, want 2", len(leased))
		}

		for _, b := range leased {
			b.Full()
		}
		for range 2 {
			release(held[len(held)-1])
			held = held[:len(held)-1]
		}
		if _, ok := s.Hold(mib); ok && m.Usage().Leased+m.Usage().Held+2*part > 30*mib {
			t.Error("held room that leases should have had")
		}
		if b, ok := s.Hold(0); !ok || b.Size() != 0 {
			t.Error("an empty entry could not be held")
		} else {
			b.Release()
		}
		release(held...)
		release(leased...)
		s.Close()
		checkEmpty(t, m)
	})
}

func TestHoldLetsThoseWhoWaitGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 2)
		ctx, s := admit(t, m)
		held, ok := s.Hold(1)
		if !ok {
			t.Fatal("nothing could be held")
		}
		otherCtx, other := admit(t, m)
		all := leaseAll(t, otherCtx, other)
		for _, b := range all {
			b.Full()
		}
		select {
		case <-s.Wanted(): // the probe by leaseAll
		default:
		}
		if s.Waited() {
			t.Error("somebody waits, and nobody does")
		}

		got := make(chan *stream.Buffer)
		go func() {
			b, err := other.Lease(otherCtx)
			if err != nil {
				t.Error(err)
			}
			got <- b
		}()
		synctest.Wait()
		select {
		case <-s.Wanted():
		default:
			t.Error("what it holds is not wanted although another upload waits")
		}
		if !s.Waited() || !other.Waited() {
			t.Error("nobody waits, and somebody does")
		}
		if _, ok := s.Hold(1); ok {
			t.Error("held room while another upload waits for it")
		}
		if ctx.Err() != nil {
			t.Errorf("ended: %v", context.Cause(ctx))
		}
		all[0].Release()
		all[0] = <-got
		held.Release()
		release(all...)
		s.Close()
		other.Close()
		checkEmpty(t, m)
	})
}

func TestHoldTakesNoRoomThatSomebodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 2)
		ctx, s := admit(t, m)
		all := leaseAll(t, ctx, s)
		for _, b := range all {
			b.Full()
		}
		for len(all) > 3 { // leaves room, but too little for what is asked for next
			all[0].Release()
			all = all[1:]
		}
		otherCtx, other := admit(t, m)
		first, err := other.Reserve(otherCtx, 2*mib)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			free, err := other.Reserve(otherCtx, 15*mib)
			if err != nil {
				t.Error(err)
				return
			}
			free()
		}()
		synctest.Wait()
		if b, ok := s.Hold(1); ok {
			t.Error("held room while another upload waits for it")
			b.Release()
		}
		all[0].Release()
		<-done
		if b, ok := s.Hold(1); !ok {
			t.Error("nothing could be held although nobody waits")
		} else {
			b.Release()
		}
		first()
		release(all...)
		s.Close()
		other.Close()
		checkEmpty(t, m)
	})
}

func TestHoldIsBounded(t *testing.T) {
	m, err := stream.NewMemory(1<<30, part, 4, time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, s := admit(t, m)
	var held []*stream.Buffer
	for {
		b, ok := s.Hold(4 * mib)
		if !ok {
			break
		}
		held = append(held, b)
	}
	if len(held) != 16 {
		t.Errorf("%d MiB could be held, want 64", 4*len(held))
	}
	if peak := s.Peak(); peak != 64*mib {
		t.Errorf("the peak is %d, want 64 MiB", peak)
	}
	_, other := admit(t, m)
	b, ok := other.Hold(4 * mib)
	if !ok {
		t.Error("one upload's bound is another's")
	}
	release(append(held, b)...)
	s.Close()
	other.Close()
	checkEmpty(t, m)
}

func TestReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 2)
		ctx, s := admit(t, m)
		free, err := s.Reserve(ctx, 4*mib)
		if err != nil {
			t.Fatal(err)
		}
		if u := m.Usage(); u.Leased != 4*mib {
			t.Errorf("reserved 4 MiB: %+v", u)
		}
		if _, err := s.Reserve(ctx, 64*mib); err == nil {
			t.Error("reserved more than there is")
		} else if _, ok := errors.AsType[*stream.NoRoomError](err); !ok {
			t.Error(err)
		}

		// However much is reserved, two parts can be leased.
		var more []func()
		for {
			free, err := s.Reserve(ctx, mib)
			if err != nil {
				break
			}
			more = append(more, free)
		}
		if cause := context.Cause(ctx); !errors.As(cause, new(*stream.NoRoomError)) {
			t.Errorf("an upload that waits for itself: %v", cause)
		}
		otherCtx, other := admit(t, m)
		leased := leaseAll(t, otherCtx, other)
		if len(leased) < 2 {
			t.Errorf("with all room reserved, %d parts could be leased, want 2", len(leased))
		}
		for _, b := range leased {
			b.Full()
		}

		free()
		free()
		for _, free := range more {
			free()
		}
		release(leased...)
		s.Close()
		other.Close()
		checkEmpty(t, m)
	})
}

func TestReserveWaitsLikeALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 2)
		ctx, s := admit(t, m)
		all := leaseAll(t, ctx, s)
		for _, b := range all {
			b.Full()
		}
		time.AfterFunc(7*time.Second, func() { all[0].Release() })
		otherCtx, other := admit(t, m)
		begin := time.Now()
		free, err := other.Reserve(otherCtx, 4*mib)
		if err != nil || time.Since(begin) != 7*time.Second {
			t.Fatalf("a reservation after %v: %v", time.Since(begin), err)
		}
		if _, err := s.Lease(ctx); err == nil {
			t.Error("a lease of reserved room")
		}
		free()
		release(all...)
		s.Close()
		other.Close()
		checkEmpty(t, m)
	})
}

func TestReserveGivesUpItsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 2)
		ctx, s := admit(t, m)
		all := leaseAll(t, ctx, s)
		for _, b := range all {
			b.Full()
		}
		for range 100 { // more than there is, were it not given back
			ended, cancel := context.WithTimeout(ctx, time.Second)
			if _, err := s.Reserve(ended, 4*mib); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			cancel()
		}
		release(all...)
		free, err := s.Reserve(ctx, 4*mib)
		if err != nil {
			t.Fatal(err)
		}
		free()
		s.Close()
		checkEmpty(t, m)
	})
}

func TestBuffer(t *testing.T) {
	m := ziptest.NewMemory(t)
	ctx, s := admit(t, m)
	leased, err := s.Lease(ctx)
	if err != nil {
		t.Fatal(err)
	}
	held, ok := s.Hold(part)
	if !ok {
		t.Fatal("nothing could be held")
	}
	for _, b := range []*stream.Buffer{leased, held} {
		if b.Memory() != part || b.Size() != 0 {
			t.Errorf("a new buffer has %d bytes and takes %d", b.Size(), b.Memory())
		}
		if n, err := b.Write([]byte("MODULE Linux")); n != 12 || err != nil {
			t.Errorf("wrote %d: %v", n, err)
		}
		if got := string(bytesOf(t, b)); got != "MODULE Linux" {
			t.Errorf("the buffer holds %q", got)
		}
		if n, err := b.Write(make([]byte, part)); n != part-12 || err != nil {
			t.Errorf("the buffer took %d more bytes, want %d: %v", n, part-12, err)
		}
		b.Full()
		b.Release()
		b.Release()
	}
	(*stream.Buffer)(nil).Release()
	s.Close()
	s.Close()
	checkEmpty(t, m)

	// The next part is empty, whoever had its bytes before.
	ctx, s = admit(t, m)
	defer s.Close()
	b, err := s.Lease(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	if b.Size() != 0 || b.Memory() != part {
		t.Errorf("a buffer leased again has %d bytes and takes %d", b.Size(), b.Memory())
	}
}

// TestSmallEntriesLeaseWhatTheyNeed: where nothing can be held, many small entries
// are on their way to the store at once all the same, in the room of two parts.
func TestSmallEntriesLeaseWhatTheyNeed(t *testing.T) {
	const atOnce = 40
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 2)
		_, other := admit(t, m)
		var held []*stream.Buffer
		for size := part; size > 0; {
			if b, ok := other.Hold(size); ok {
				held = append(held, b)
			} else {
				size /= 2
			}
		}
		var entries []archive.Entry
		for i := range 2 * atOnce {
			entries = append(entries, archive.Entry{Name: fmt.Sprintf("%d.dll", i), Data: archive.Noise(uint64(i), 20_000)})
		}
		s := ziptest.NewStore(t, m)
		var now atomic.Int64
		enough := make(chan struct{})
		s.OnCommit = func(context.Context, *ziptest.Object) error {
			if now.Add(1) == atOnce {
				close(enough)
			}
			<-enough
			return nil
		}
		_, _, err := ziptest.Reading{Data: archive.Build(entries...), Memory: m, Store: s, Shared: true}.Do(t)
		if err != nil {
			t.Errorf("%d at once: %v", now.Load(), err)
		}
		for _, o := range s.Kept() {
			if o.Held {
				t.Errorf("%s was held", o.Name)
			}
		}
		release(held...)
		other.Close()
		checkEmpty(t, m)
	})
}
