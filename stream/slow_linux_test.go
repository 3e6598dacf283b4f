package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream"
	"spillway/testdata/archive"
	"spillway/testdata/ziptest"
)

// budgetWithDisk is the least budget, for two uploads, and a disk that is larger.
func budgetWithDisk(t *testing.T) (*stream.Memory, *stream.Spill) {
	t.Helper()
	spill := ziptest.DiskCache(t, func(c *stream.SpillConfig) { c.Quota, c.UploadQuota = 64*mib, 64*mib })
	m, err := stream.NewMemory(30*mib, part, 2, 30*time.Second, spill)
	if err != nil {
		t.Fatal(err)
	}
	return m, spill
}

// leaseOfTheSlow leases a part whose memory has to be taken from a slow client.
func leaseOfTheSlow(t *testing.T, ctx context.Context, s *stream.Share) *stream.Buffer {
	t.Helper()
	begin := time.Now()
	b, err := s.Lease(ctx)
	if waited := time.Since(begin); err != nil || waited < 20*time.Second || waited > 25*time.Second {
		t.Fatalf("a part after %v: %v", waited, err)
	}
	return b
}

// TestSlowPartsMoveToTheDisk has a client that fills its parts slowly while
// another upload waits for one.
func TestSlowPartsMoveToTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, spill := budgetWithDisk(t)
		ctx, s := admit(t, m)
		slow := leaseAll(t, ctx, s)
		first, second := archive.Noise(1, 3*mib), archive.Noise(2, 2*mib)
		for _, b := range slow {
			_, _ = b.Write(first)
		}
		slow[0].Full() // only the store keeps others waiting for it

		otherCtx, other := admit(t, m)
		lease := leaseOfTheSlow(t, otherCtx, other)
		if ctx.Err() != nil {
			t.Errorf("the slow upload was ended: %v", context.Cause(ctx))
		}
		onDisk := 0
		for i, b := range slow {
			if b.Memory() > 0 {
				continue
			}
			onDisk++
			if i == 0 {
				t.Error("a full part moved")
			}
			if n, err := b.Write(second); n != 2*mib || err != nil {
				t.Errorf("the part that has moved took %d more bytes: %v", n, err)
			}
			if n, err := b.Write([]byte{1}); n != 0 || err != nil {
				t.Errorf("the part that has moved took %d bytes too many: %v", n, err)
			}
			b.Full()
			if !bytes.Equal(bytesOf(t, b), append(bytes.Clone(first), second...)) {
				t.Error("the part that has moved has other bytes")
			}
		}
		if onDisk != 1 {
			t.Errorf("%d parts moved to the disk, want 1", onDisk)
		}
		if n := s.PeakSpilled(); n < part {
			t.Errorf("%d bytes were on disk", n)
		}
		release(append(slow, lease)...)
		s.Close()
		other.Close()
		checkEmpty(t, m)
		ziptest.CheckNothingSpilled(t, spill)
	})
}

// TestSlowHeldBuffersMoveToTheDisk has a client that is slow with what was to be
// held, while another upload waits for a part.
func TestSlowHeldBuffersMoveToTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, spill := budgetWithDisk(t)
		ctx, s := admit(t, m)
		small, _ := s.Hold(1000)
		full, _ := s.Hold(mib)
		full.Full()
		slow, ok := s.Hold(part)
		if !ok {
			t.Fatal("there is no room")
		}
		first, second := archive.Noise(1, 3*mib), archive.Noise(2, 2*mib)
		_, _ = slow.Write(first)

		otherCtx, other := admit(t, m)
		all := leaseAll(t, otherCtx, other)
		for _, b := range all {
			b.Full()
		}
		lease := leaseOfTheSlow(t, otherCtx, other)
		if ctx.Err() != nil {
			t.Errorf("the slow upload was ended: %v", context.Cause(ctx))
		}
		if slow.Memory() != 0 || small.Memory() == 0 || full.Memory() == 0 {
			t.Errorf("in memory: %d bytes of the slow one, %d of a small one, %d of a full one", slow.Memory(), small.Memory(), full.Memory())
		}
		_, _ = slow.Write(second)
		slow.Full()
		if !slow.Held() || !bytes.Equal(bytesOf(t, slow), append(bytes.Clone(first), second...)) {
			t.Error("what has moved is not held, or has other bytes")
		}
		release(append(all, lease, small, full, slow)...)
		s.Close()
		other.Close()
		checkEmpty(t, m)
		ziptest.CheckNothingSpilled(t, spill)
	})
}

// TestSlowUploadsAreEndedOneByOne has two slow clients and two others that wait,
// for which what the first of them gives back is enough.
func TestSlowUploadsAreEndedOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 4)
		var parts [2][]*stream.Buffer
		var shares [2]*stream.Share
		var ended atomic.Int32
		var all sync.WaitGroup
		for i := range shares {
			var ctx context.Context
			ctx, shares[i] = admit(t, m)
			parts[i] = leaseAll(t, ctx, shares[i])
			if i == 0 {
				release(parts[0][:2]...)
			}
			all.Go(func() {
				<-ctx.Done()
				if _, ok := errors.AsType[*stream.NoRoomError](context.Cause(ctx)); ok {
					ended.Add(1)
				}
				release(parts[i]...)
			})
		}
		var others sync.WaitGroup
		for range 2 {
			ctx, s := admit(t, m)
			others.Go(func() {
				b := leaseOfTheSlow(t, ctx, s)
				time.Sleep(time.Minute)
				b.Release()
				s.Close()
			})
		}
		others.Wait()
		if n := ended.Load(); n != 1 {
			t.Errorf("%d slow uploads were ended, want 1", n)
		}
		release(append(parts[0], parts[1]...)...)
		for _, s := range shares {
			s.Close()
		}
		all.Wait()
		checkEmpty(t, m)
	})
}

// pausing gives what it has, says so, and then waits until it is let go.
type pausing struct {
	io.Reader
	stalled chan struct{} // closed once it waits
	once    sync.Once
	letGo   chan struct{}
	rest    io.Reader
}

func newPausing(data []byte, n int) *pausing {
	return &pausing{Reader: bytes.NewReader(data[:n]), stalled: make(chan struct{}), letGo: make(chan struct{}), rest: bytes.NewReader(data[n:])}
}

func (s *pausing) Read(p []byte) (int, error) {
	if n, err := s.Reader.Read(p); err == nil {
		return n, nil
	}
	s.once.Do(func() { close(s.stalled) })
	<-s.letGo
	return s.rest.Read(p)
}

func (s *pausing) Interrupt() {
	select {
	case <-s.letGo:
	default:
		s.rest = bytes.NewReader(nil)
		close(s.letGo)
	}
}

// outcome is how a reading in the background ended.
type outcome struct {
	at  time.Duration
	err error
}

// background reads an archive as an upload of its own.
func background(t *testing.T, m *stream.Memory, r io.Reader, size int) <-chan outcome {
	t.Helper()
	begin := time.Now()
	ended := make(chan outcome, 1)
	go func() {
		ctx, share, err := m.Admit(t.Context())
		if err != nil {
			ended <- outcome{time.Since(begin), err}
			return
		}
		rules := ziptest.Ordinary
		rules.Size = int64(size)
		s := ziptest.NewStore(t, m)
		_, err = ziptest.Read(ctx, r, share, s, rules)
		s.Close()
		share.Close() // what is kept is looked at once it has ended
		ended <- outcome{time.Since(begin), err}
	}()
	return ended
}

// TestSlowDecodersAreEnded has a client that stops in an entry whose decoder
// takes memory, while another upload waits for memory.
func TestSlowDecodersAreEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 4)
		data := archive.Build(archive.Entry{Name: "a.dll", Data: archive.Symbols(1, mib), Method: archive.Zstd})
		source := newPausing(data, len(data)/2)
		slow := background(t, m, source, 0)
		<-source.stalled

		ctx, s := admit(t, m)
		begin := time.Now()
		var got []func()
		for len(got) == 0 || time.Since(begin) == 0 {
			free, err := s.Reserve(ctx, mib)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, free)
		}
		if waited := time.Since(begin); waited < 15*time.Second || waited > 25*time.Second {
			t.Errorf("memory after %v", waited)
		}
		if _, ok := errors.AsType[*stream.NoRoomError]((<-slow).err); !ok {
			t.Error("the slow upload was not ended for want of room")
		}
		for _, free := range got {
			free()
		}
		s.Close()
		checkEmpty(t, m)
	})
}

// TestSlowTablesAreInNobodysWay has a client that stops in an archive of many
// entries, while another upload waits for parts, which that would not give back.
func TestSlowTablesAreInNobodysWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 4)
		data := archive.Build(manyEntries(500)...)
		source := newPausing(data, len(data)/2)
		slow := background(t, m, source, 0)
		<-source.stalled
		if m.Usage().Leased == 0 {
			t.Error("it has reserved nothing")
		}

		ctx, other := admit(t, m)
		all := leaseAll(t, ctx, other)
		for _, b := range all {
			b.Full()
		}
		time.AfterFunc(25*time.Second, all[0].Release) // the store has got it
		b, err := other.Lease(ctx)
		if err != nil {
			t.Error(err)
		}
		close(source.letGo)
		if end := <-slow; end.err != nil {
			t.Errorf("the slow upload: %v", end.err)
		}
		release(append(all[1:], b)...)
		other.Close()
		checkEmpty(t, m)
	})
}

// TestTablesAreKeptUntilTheEnd: what the store keeps of many entries is reserved
// until the upload's end. Whoever waits for it meanwhile waits for as long as that
// takes, and ends nobody for having been slow before.
func TestTablesAreKeptUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 4)
		ctx, first := admit(t, m)
		data := archive.Build(manyEntries(900)...)
		source := newPausing(data, len(data)/2)
		time.AfterFunc(time.Minute, func() { close(source.letGo) })
		if _, err := ziptest.Read(ctx, source, first, ziptest.NewStore(t, m), ziptest.Ordinary); err != nil {
			t.Fatal(err)
		}
		table := m.Usage().Leased
		if table < 400<<10 {
			t.Errorf("%d bytes are reserved for 900 entries", table)
		}

		begin := time.Now()
		time.AfterFunc(2*time.Minute, func() { // all has been published
			if ctx.Err() != nil {
				t.Errorf("the first upload was ended: %v", context.Cause(ctx))
			}
			first.Close()
		})
		otherCtx, other := admit(t, m)
		var got []func()
		for time.Since(begin) == 0 {
			free, err := other.Reserve(otherCtx, table)
			if err != nil {
				t.Fatalf("after %v: %v", time.Since(begin), err)
			}
			got = append(got, free)
		}
		if waited := time.Since(begin); waited != 2*time.Minute {
			t.Errorf("the last of the memory after %v", waited)
		}
		for _, free := range got {
			free()
		}
		other.Close()
		checkEmpty(t, m)
	})
}

// TestSlowUploadDoesNotEndItself has a client that is slow while nobody waits for
// memory, and then is the only one that does.
func TestSlowUploadDoesNotEndItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 4)
		ctx, elder := admit(t, m)
		var got []func()
		reserve := func(impatient context.Context) bool {
			free, err := elder.Reserve(impatient, mib/8)
			if err == nil {
				got = append(got, free)
			}
			return err == nil
		}
		reserve(ctx)
		data := archive.Build(manyEntries(900)...)
		source := newPausing(data, len(data)/4)
		slow := background(t, m, source, 0)
		<-source.stalled
		impatient, cancel := context.WithCancel(ctx)
		time.AfterFunc(time.Second, cancel)
		for reserve(impatient) {
		}

		time.Sleep(25 * time.Second)
		close(source.letGo)
		synctest.Wait()
		if m.Usage().Waiting == 0 {
			t.Error("the slow upload does not wait for memory")
		}
		time.Sleep(5 * time.Second)
		for _, free := range got {
			free()
		}
		if end := <-slow; end.err != nil {
			t.Errorf("the slow upload ended after %v: %v", end.at, end.err)
		}
		elder.Close()
		checkEmpty(t, m)
	})
}

// manyEntries have names so long that each takes half a KiB of the entry table.
func manyEntries(n int) (entries []archive.Entry) {
	for i := range n {
		entries = append(entries, archive.Entry{Name: fmt.Sprintf("%0400d.dll", i)})
	}
	return entries
}

// steady gives a MiB in three seconds, which is not slow.
type steady struct{ io.Reader }

func (s steady) Read(p []byte) (int, error) {
	p = p[:min(len(p), mib/32)]
	time.Sleep(3 * time.Second / 32)
	return s.Reader.Read(p)
}

// TestWhatGetsOnIsWaitedFor has uploads that give nothing back for longer than
// anybody waits for nothing, because their archives are long.
func TestWhatGetsOnIsWaitedFor(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		// What is ignored takes no memory that would be given back.
		long := archive.Entry{Name: "a-symbols.txt", Data: archive.Noise(1, 14*mib)}
		data := archive.Build(append(manyEntries(900), long)...)
		synctest.Test(t, func(t *testing.T) {
			m := budget(t, 4)
			long := background(t, m, steady{bytes.NewReader(data)}, 0)
			time.Sleep(5 * time.Second)
			ctx, s := admit(t, m)
			begin := time.Now()
			free, err := s.Reserve(ctx, 10*mib)
			if waited := time.Since(begin); err != nil || waited < 35*time.Second {
				t.Fatalf("memory after %v: %v", waited, err)
			}
			free()
			if end := <-long; end.err != nil {
				t.Error(end.err)
			}
			s.Close()
			checkEmpty(t, m)
		})
	})
	t.Run("disk", func(t *testing.T) {
		data := archive.Archive{Prefix: []byte{0}, Entries: []archive.Entry{{Name: "a.dll", Data: archive.Noise(1, 14*mib)}}}.Bytes()
		synctest.Test(t, func(t *testing.T) {
			spill := ziptest.DiskCache(t, func(c *stream.SpillConfig) { c.Quota, c.UploadQuota = 20*mib, 20*mib })
			m := ziptest.WithDisk(t, spill)
			long := background(t, m, steady{bytes.NewReader(data)}, len(data))
			time.Sleep(5 * time.Second)
			second := <-background(t, m, bytes.NewReader(data), len(data))
			if second.err != nil || second.at < 35*time.Second {
				t.Errorf("the second ended after %v: %v", second.at, second.err)
			}
			if end := <-long; end.err != nil {
				t.Error(end.err)
			}
			ziptest.CheckNothingSpilled(t, spill)
			checkEmpty(t, m)
		})
	})
}

// TestReservationsThatWaitForEachOther has two uploads that each have half of
// what they need.
func TestReservationsThatWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budget(t, 4)
		olderCtx, older := admit(t, m)
		youngerCtx, younger := admit(t, m)
		freeOlder, err := older.Reserve(olderCtx, 8*mib)
		if err != nil {
			t.Fatal(err)
		}
		freeYounger, err := younger.Reserve(youngerCtx, 8*mib)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, err := younger.Reserve(youngerCtx, 8*mib)
			if _, ok := errors.AsType[*stream.NoRoomError](err); !ok {
				t.Errorf("the younger: %v", err)
			}
			freeYounger()
			younger.Close()
		}()
		synctest.Wait()
		begin := time.Now()
		more, err := older.Reserve(olderCtx, 8*mib)
		if err != nil || time.Since(begin) > 0 {
			t.Errorf("the older, after %v: %v", time.Since(begin), err)
		} else {
			more()
		}
		<-ended
		freeOlder()
		older.Close()
		checkEmpty(t, m)
	})
}

// TestTheDiskIsTakenInTurn has uploads that need the disk, which has room for
// two, and no more than that.
func TestTheDiskIsTakenInTurn(t *testing.T) {
	data := ziptest.HeldKinds()["gaps between entries"]
	half := len(data) / 2
	synctest.Test(t, func(t *testing.T) {
		spill := ziptest.DiskCache(t, func(c *stream.SpillConfig) { c.Quota = 3 * mib })
		m := ziptest.WithDisk(t, spill)
		var sources []*pausing
		var uploads []<-chan outcome
		for range 2 {
			s := newPausing(data, half)
			sources = append(sources, s)
			uploads = append(uploads, background(t, m, s, len(data)))
			<-s.stalled
		}
		third := background(t, m, bytes.NewReader(data), len(data))
		synctest.Wait()
		if u := spill.Usage(); u.Waiting != 1 || u.Files < 2 {
			t.Errorf("while the disk is taken: %+v", u)
		}
		time.AfterFunc(7*time.Second, func() { close(sources[0].letGo) })
		if got := <-third; got.err != nil || got.at != 7*time.Second {
			t.Errorf("the third ended after %v: %v", got.at, got.err)
		}
		close(sources[1].letGo)
		for _, u := range uploads {
			if got := <-u; got.err != nil {
				t.Error(got.err)
			}
		}
		ziptest.CheckNothingSpilled(t, spill)
		checkEmpty(t, m)
	})
}

// TestSlowArchivesLeaveTheDisk has clients that stop while their archives are
// held, and another upload that waits for the disk.
func TestSlowArchivesLeaveTheDisk(t *testing.T) {
	data := ziptest.HeldKinds()["gaps between entries"]
	synctest.Test(t, func(t *testing.T) {
		spill := ziptest.DiskCache(t, func(c *stream.SpillConfig) { c.Quota = 3 * mib })
		m := ziptest.WithDisk(t, spill)
		var slow []<-chan outcome
		for range 2 {
			s := newPausing(data, len(data)/2)
			slow = append(slow, background(t, m, s, len(data)))
			<-s.stalled
		}
		got := <-background(t, m, bytes.NewReader(data), len(data))
		if got.err != nil || got.at < 15*time.Second || got.at > 25*time.Second {
			t.Errorf("the third ended after %v: %v", got.at, got.err)
		}
		ended := 0
		for _, u := range slow {
			select {
			case got := <-u:
				ended++
				if q, ok := errors.AsType[*stream.QuotaError](got.err); !ok || q.Never {
					t.Errorf("a slow upload ended with %v", got.err)
				}
			case <-time.After(time.Minute):
			}
		}
		if ended != 1 {
			t.Errorf("%d slow uploads were ended, want 1", ended)
		}
	})
}

// TestSlowPartsLeaveTheDisk has a client that stops in a part, which moves to the
// disk and keeps another upload's archive from being held.
func TestSlowPartsLeaveTheDisk(t *testing.T) {
	held := archive.Archive{Prefix: []byte{0}, Entries: []archive.Entry{{Name: "a.dll", Data: archive.Noise(1, 4*mib)}}}.Bytes()
	synctest.Test(t, func(t *testing.T) {
		spill := ziptest.DiskCache(t, func(c *stream.SpillConfig) { c.Quota, c.UploadQuota = 8*mib, 8*mib })
		m, err := stream.NewMemory(30*mib, part, 3, time.Minute, spill)
		if err != nil {
			t.Fatal(err)
		}
		source := newPausing(archive.Build(archive.Entry{Name: "a.dll", Data: archive.Noise(1, 2*part)}), 3*mib)
		slow := background(t, m, source, 0)
		<-source.stalled
		ctx, other := admit(t, m)
		all := leaseAll(t, ctx, other)
		for _, b := range all {
			b.Full()
		}
		b := leaseOfTheSlow(t, ctx, other)
		release(append(all, b)...)
		if spill.Usage().Used < part {
			t.Fatal("the slow part is not on the disk")
		}

		if got := <-background(t, m, bytes.NewReader(held), len(held)); got.err != nil || got.at > 5*time.Second {
			t.Errorf("what has to be held ended after %v: %v", got.at, got.err)
		}
		got := <-slow
		if q, ok := errors.AsType[*stream.QuotaError](got.err); !ok || q.Never {
			t.Errorf("the slow upload ended with %v", got.err)
		}
		other.Close()
		ziptest.CheckNothingSpilled(t, spill)
		checkEmpty(t, m)
	})
}

// TestManyOnLittleDisk has many uploads at once that need the disk, which has
// room for four of them.
func TestManyOnLittleDisk(t *testing.T) {
	data := ziptest.HeldKinds()["gaps between entries"]
	for _, known := range []int{0, len(data)} {
		spill := ziptest.DiskCache(t, func(c *stream.SpillConfig) { c.Quota = 6 * mib })
		m := ziptest.WithDisk(t, spill)
		var uploads []<-chan outcome
		for range 64 {
			uploads = append(uploads, background(t, m, bytes.NewReader(data), known))
		}
		stored := 0
		for _, u := range uploads {
			got := <-u
			if got.err == nil {
				stored++
			} else if q, ok := errors.AsType[*stream.QuotaError](got.err); !ok || q.Never {
				t.Errorf("an upload ended with %v", got.err)
			}
		}
		// Those whose size is known wait for one another.
		if known > 0 && stored < 64 || stored == 0 {
			t.Errorf("%d of 64 were stored", stored)
		}
		ziptest.CheckNothingSpilled(t, spill)
		checkEmpty(t, m)
	}
}
