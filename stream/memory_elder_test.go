package stream_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream"
	"spillway/testdata/archive"
	"spillway/testdata/ziptest"
)

// TestAdmittedUploadsAreNotDropped has more uploads at once than their tables
// of entries leave room for: some wait for others, in turn, and all come to
// their end.
func TestAdmittedUploadsAreNotDropped(t *testing.T) {
	const uploads, step = 16, mib / 4
	synctest.Test(t, func(t *testing.T) {
		m, err := stream.NewMemory(32*mib, part, uploads, 30*time.Second, nil)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		begin := time.Now()
		for range uploads {
			all.Go(func() {
				ctx, s := admit(t, m)
				defer s.Close()
				for range 2 * mib / step { // together 32 MiB, of which there are 12
					time.Sleep(2 * time.Second)
					free, err := s.Reserve(ctx, step)
					if err != nil {
						t.Errorf("after %v: %v", time.Since(begin), err)
						return
					}
					defer free()
				}
			})
		}
		all.Wait()
		checkEmpty(t, m)
	})
}

// TestManyLongTablesAtOnce is the same with archives.
func TestManyLongTablesAtOnce(t *testing.T) {
	const uploads = 16
	var entries []archive.Entry
	for i := range 4000 {
		entries = append(entries, archive.Entry{Name: fmt.Sprintf("%040d.dll", i)})
	}
	data := archive.Build(entries...)
	m, err := stream.NewMemory(32*mib, part, uploads, 30*time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	rules := &stream.Rules{Form: ziptest.FormByName, MaxEntries: len(entries), MaxExpanded: mib}
	var all sync.WaitGroup
	for range uploads {
		all.Go(func() {
			// Byte by byte, more or less: none is done before the last has begun.
			_, report, err := ziptest.Reading{Source: &slowly{bytes.NewReader(data), 200}, Memory: m, Rules: rules, Store: ziptest.NewStore(t, m), Shared: true}.Do(t)
			if err != nil || report.Entries != len(entries) {
				t.Errorf("%d entries, error %v", report.Entries, err)
			}
		})
	}
	all.Wait()
	checkEmpty(t, m)
}

// slowly reads a few bytes at a time.
type slowly struct {
	*bytes.Reader
	n int
}

func (s *slowly) Read(p []byte) (int, error) { return s.Reader.Read(p[:min(len(p), s.n)]) }

// TestPatience: who has been admitted waits as long as others give room back,
// and no longer.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 2)
		otherCtx, other := admit(t, m)
		var kept []func()
		for range 16 { // of some 17 MiB
			free, err := other.Reserve(otherCtx, mib)
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, free)
		}
		ctx, s := admit(t, m)
		go func() {
			for _, free := range kept[:8] {
				time.Sleep(20 * time.Second)
				free()
			}
		}()
		began := time.Now()
		free, err := s.Reserve(ctx, 8*mib)
		if took := time.Since(began); err != nil || took != 2*time.Minute {
			t.Fatalf("after %v: %v", took, err)
		}
		time.Sleep(time.Minute) // all eight have been given back
		began = time.Now()
		_, err = s.Reserve(ctx, 8*mib)
		if _, ok := errors.AsType[*stream.NoRoomError](err); !ok || time.Since(began) != 30*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		free()
		for _, free := range kept[8:] {
			free()
		}
		s.Close()
		other.Close()
		checkEmpty(t, m)
	})
}

// TestNothingGivenBackIsNoProgress: empty bodies that come and go prolong
// nobody's patience.
func TestNothingGivenBackIsNoProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 2)
		otherCtx, other := admit(t, m)
		kept, err := other.Reserve(otherCtx, 16*mib)
		if err != nil {
			t.Fatal(err)
		}
		ctx, s := admit(t, m)
		go func() {
			for range 10 {
				time.Sleep(10 * time.Second)
				if empty, ok := other.Hold(0); ok {
					empty.Release()
				}
			}
			kept()
			other.Close()
		}()
		began := time.Now()
		_, err = s.Reserve(ctx, 8*mib)
		if _, ok := errors.AsType[*stream.NoRoomError](err); !ok || time.Since(began) != 30*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		s.Close()
		time.Sleep(2 * time.Minute)
		checkEmpty(t, m)
	})
}

// TestReservationThatNeverFits: who has the budget to itself and needs more of
// it than there is need not come back.
func TestReservationThatNeverFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 2)
		ctx, s := admit(t, m)
		began := time.Now()
		var err error
		var all []func()
		for err == nil {
			var free func()
			if free, err = s.Reserve(ctx, mib); err == nil {
				all = append(all, free)
			}
		}
		if e, ok := errors.AsType[*stream.NoRoomError](err); !ok || !e.Never || time.Since(began) != 0 {
			t.Errorf("%d MiB, after %v: %v", len(all), time.Since(began), err)
		}
		for _, free := range all {
			free()
		}
		s.Close()
		checkEmpty(t, m)
	})
}
