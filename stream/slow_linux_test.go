package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/nightly"
	"spillway/testdata/ziptest"
)

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
func background(t *testing.T, m *budget.Budget, r io.Reader, size int) <-chan outcome {
	t.Helper()
	begin := time.Now()
	ended := make(chan outcome, 1)
	go func() {
		ctx, end := context.WithCancelCause(t.Context())
		share, err := m.Admit(ctx, budget.Upload{End: end})
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

// oneTicket leaves a budget with one ticket.
func oneTicket(c *budget.Config) { c.Needs.Ticket = 30 * mib }

// TestSlowDecodersAreEnded has a client that stops in an entry whose decoder needs a
// ticket, while another upload waits for one.
func TestSlowDecodersAreEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budgettest.New(t, oneTicket)
		data := archive.Build(archive.Entry{Name: "a.dll", Data: archive.Symbols(1, mib), Method: archive.Zstd})
		source := newPausing(data, len(data)/2)
		slow := background(t, m, source, 0)
		<-source.stalled
		if got := <-background(t, m, bytes.NewReader(data), 0); got.err != nil || got.at < 15*time.Second || got.at > 25*time.Second {
			t.Errorf("the other ended after %v: %v", got.at, got.err)
		}
		if _, ok := errors.AsType[*budget.NoRoomError]((<-slow).err); !ok {
			t.Error("the slow upload was not ended for want of room")
		}
		budgettest.CheckUnused(t, m)
	})
}

// TestTablesAreKeptUntilTheEnd: what the store keeps of many entries counts until the
// upload ends. Others wait for that as long as it takes to publish.
func TestTablesAreKeptUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := budgettest.New(t, oneTicket)
		ctx, first := admit(t, m)
		data := archive.Build(manyEntries(10_000)...)
		rules := ziptest.Ordinary
		rules.MaxEntries = 20_000
		if _, err := ziptest.Read(ctx, bytes.NewReader(data), first, ziptest.NewStore(t, m), rules); err != nil {
			t.Fatal(err)
		}
		if m.Usage().Leased < mib {
			t.Errorf("%d bytes are leased for 10,000 entries", m.Usage().Leased)
		}
		time.AfterFunc(2*time.Minute, first.Close) // all has been published
		data = archive.Build(archive.Entry{Name: "a.dll", Data: archive.Symbols(1, mib), Method: archive.Zstd})
		if got := <-background(t, m, bytes.NewReader(data), 0); got.err != nil || got.at != 2*time.Minute {
			t.Errorf("the other ended after %v: %v", got.at, got.err)
		}
		if ctx.Err() != nil {
			t.Errorf("the first upload was ended: %v", context.Cause(ctx))
		}
		budgettest.CheckUnused(t, m)
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

// TestWhatMakesProgressIsWaitedFor has an upload that keeps the disk for longer than
// anybody waits for nothing, because its archive is long.
func TestWhatMakesProgressIsWaitedFor(t *testing.T) {
	data := archive.Archive{Prefix: []byte{0}, Entries: []archive.Entry{{Name: "a.dll", Data: archive.Noise(1, 14*mib)}}}.Bytes()
	synctest.Test(t, func(t *testing.T) {
		m := budgettest.NewWithDisk(t, func(c *budget.SpillConfig) { c.Quota, c.UploadQuota = 20*mib, 20*mib })
		long := background(t, m, steady{bytes.NewReader(data)}, len(data))
		time.Sleep(5 * time.Second)
		second := <-background(t, m, bytes.NewReader(data), len(data))
		if second.err != nil || second.at < 35*time.Second {
			t.Errorf("the second ended after %v: %v", second.at, second.err)
		}
		if end := <-long; end.err != nil {
			t.Error(end.err)
		}
		budgettest.CheckUnused(t, m)
	})
}

// TestTheDiskIsTakenInTurn has uploads that need the disk, which has room for
// two, and no more than that.
func TestTheDiskIsTakenInTurn(t *testing.T) {
	data := ziptest.SpillArchives()["gaps between entries"]
	half := len(data) / 2
	synctest.Test(t, func(t *testing.T) {
		m := budgettest.NewWithDisk(t, func(c *budget.SpillConfig) { c.Quota = 3 * mib })
		spill := m.Spill()
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
		budgettest.CheckUnused(t, m)
	})
}

// TestSlowArchivesLeaveTheDisk has clients that stop while their archives are
// held, and another upload that waits for the disk.
func TestSlowArchivesLeaveTheDisk(t *testing.T) {
	data := ziptest.SpillArchives()["gaps between entries"]
	synctest.Test(t, func(t *testing.T) {
		m := budgettest.NewWithDisk(t, func(c *budget.SpillConfig) { c.Quota = 3 * mib })
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
				if q, ok := errors.AsType[*budget.QuotaError](got.err); !ok || q.Never {
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
		m := budgettest.NewWithDisk(t, func(c *budget.SpillConfig) { c.Quota, c.UploadQuota = 8*mib, 8*mib })
		source := newPausing(archive.Build(archive.Entry{Name: "a.dll", Data: archive.Noise(1, 2*part)}), 3*mib)
		slow := background(t, m, source, 0)
		<-source.stalled
		ctx, other := admit(t, m)
		all := leaseAll(t, ctx, other)
		b, err := other.Lease(ctx, part)
		if err != nil {
			t.Fatal(err)
		}
		release(append(all, b)...)
		if m.Spill().Usage().Used < part {
			t.Fatal("the slow part is not on the disk")
		}

		if got := <-background(t, m, bytes.NewReader(held), len(held)); got.err != nil || got.at > 5*time.Second {
			t.Errorf("what has to be held ended after %v: %v", got.at, got.err)
		}
		got := <-slow
		if q, ok := errors.AsType[*budget.QuotaError](got.err); !ok || q.Never {
			t.Errorf("the slow upload ended with %v", got.err)
		}
		other.Close()
		budgettest.CheckUnused(t, m)
	})
}

// TestManyOnLittleDisk has many uploads at once that need the disk, which has
// room for four of them.
func TestManyOnLittleDisk(t *testing.T) {
	data := ziptest.SpillArchives()["gaps between entries"]
	clients := nightly.Pick(16, 64)
	for _, known := range []int{0, len(data)} {
		m := budgettest.NewWithDisk(t, func(c *budget.SpillConfig) { c.Quota = 6 * mib })
		var uploads []<-chan outcome
		for range clients {
			uploads = append(uploads, background(t, m, bytes.NewReader(data), known))
		}
		stored := 0
		for _, u := range uploads {
			got := <-u
			if got.err == nil {
				stored++
			} else if q, ok := errors.AsType[*budget.QuotaError](got.err); !ok || q.Never {
				t.Errorf("an upload ended with %v", got.err)
			}
		}
		// Those whose size is known wait for one another.
		if known > 0 && stored < clients || stored == 0 {
			t.Errorf("%d of %d were stored", stored, clients)
		}
		budgettest.CheckUnused(t, m)
	}
}
