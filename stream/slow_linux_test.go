package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/nightly"
	"spillway/testdata/ziptest"
)

// oneTicket leaves a budget with one ticket.
func oneTicket(c *budget.Config) { c.Needs.Ticket = 30 * mib }

// TestTablesAreKeptUntilTheEnd: the entry table of an upload stays counted until the upload
// ends. Others that need a ticket wait, however long publishing takes.
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
		time.AfterFunc(2*time.Minute, first.Close) // published
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

// manyEntries returns entries that take half a KiB of the entry table each.
func manyEntries(n int) (entries []archive.Entry) {
	for i := range n {
		entries = append(entries, archive.Entry{Name: fmt.Sprintf("%0400d.dll", i)})
	}
	return entries
}

// steady sends a MiB in three seconds, which does not count as slow.
type steady struct{ io.Reader }

func (s steady) Read(p []byte) (int, error) {
	p = p[:min(len(p), mib/32)]
	time.Sleep(3 * time.Second / 32)
	return s.Reader.Read(p)
}

// TestWhatMakesProgressIsWaitedFor has an upload with a long archive, which keeps the disk
// longer than anyone waits without progress.
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

// TestSlowPartsLeaveTheDisk has a client that stops in the middle of a part. The part moves
// to the disk. When another archive needs that space, the slow upload ends.
func TestSlowPartsLeaveTheDisk(t *testing.T) {
	spilled := archive.Archive{Prefix: []byte{0}, Entries: []archive.Entry{{Name: "a.dll", Data: archive.Noise(1, 4*mib)}}}.Bytes()
	synctest.Test(t, func(t *testing.T) {
		m := budgettest.NewWithDisk(t, func(c *budget.SpillConfig) { c.Quota, c.UploadQuota = 8*mib, 8*mib })
		source := ziptest.StallAt(archive.Build(archive.Entry{Name: "a.dll", Data: archive.Noise(1, 2*part)}), 3*mib)
		slow := background(t, m, source, 0)
		<-source.Stalled
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

		if got := <-background(t, m, bytes.NewReader(spilled), len(spilled)); got.err != nil || got.at > 5*time.Second {
			t.Errorf("the spilled archive ended after %v: %v", got.at, got.err)
		}
		got := <-slow
		if q, ok := errors.AsType[*budget.QuotaError](got.err); !ok || q.Never {
			t.Errorf("the slow upload ended with %v", got.err)
		}
		other.Close()
		budgettest.CheckUnused(t, m)
	})
}

// TestManyOnLittleDisk spills many archives at once on a disk that has space for four.
func TestManyOnLittleDisk(t *testing.T) {
	data := ziptest.SpillArchives()["gaps between entries"]
	clients := nightly.Pick(16, 64)
	for _, size := range []int{0, len(data)} {
		m := budgettest.NewWithDisk(t, func(c *budget.SpillConfig) { c.Quota = 6 * mib })
		var uploads []<-chan outcome
		for range clients {
			uploads = append(uploads, background(t, m, bytes.NewReader(data), size))
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
		// Uploads of a stated size wait for each other.
		if size > 0 && stored < clients || stored == 0 {
			t.Errorf("%d of %d were stored", stored, clients)
		}
		budgettest.CheckUnused(t, m)
	}
}
