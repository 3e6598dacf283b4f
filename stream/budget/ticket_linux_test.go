package budget_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream/budget"
	"spillway/testdata/budgettest"
)

// decoder is a tool of which a ticket has room for one and a half.
var decoder = &budget.Tool{
	Memory: 5 * mib,
	New:    func() any { return new(int) },
	Reset:  func(any) {},
}

// TestTicketIsTakenOnce: the first need beyond the floor takes a whole ticket, and
// later needs take nothing more.
func TestTicketIsTakenOnce(t *testing.T) {
	b := newBudget(t, 1)
	u := begin(t, b)
	check := func(what string, err error, leased int64) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := b.Usage().Leased; got != leased {
			t.Errorf("%s: %d bytes are leased, want %d", what, got, leased)
		}
	}
	check("a table that fits into the floor", u.Grow(u.ctx, table), 0)
	check("one byte more", u.Grow(u.ctx, 1), ticket)
	check("a long table", u.Grow(u.ctx, ticket-decoder.Memory-1), ticket)
	for range 3 {
		tools, err := u.Tools(u.ctx, decoder)
		check("a decoder beside it", err, ticket)
		tools.Release()
	}
	u.Close()
	budgettest.CheckUnused(t, b)
}

// TestNeedThatNeverFits: an upload that needs more than a ticket need not come back.
func TestNeedThatNeverFits(t *testing.T) {
	for name, need := range map[string]func(u upload) error{
		"a table":           func(u upload) error { return u.Grow(u.ctx, table+ticket+1) },
		"a table and tools": func(u upload) error { _, err := u.Tools(u.ctx, decoder, decoder); return err },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBudget(t, 1)
			u := begin(t, b)
			err := need(u)
			if e, ok := errors.AsType[*budget.NoRoomError](err); !ok || !e.Never {
				t.Errorf("it fails with %v", err)
			}
			u.Close()
			budgettest.CheckUnused(t, b)
		})
	}
}

// TestTicketsAreTakenInTurn has eight uploads and one ticket. None is dropped, though
// each takes longer than anybody waits for nothing: those that have a ticket make
// progress.
func TestTicketsAreTakenInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, 8)
		ended := make(chan time.Duration, 8)
		began := time.Now()
		for range 8 {
			u := begin(t, b)
			go func() {
				defer u.Close()
				if err := u.takeTicket(); err != nil {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
				for range 50 {
					arrived := u.AwaitClient()
					time.Sleep(time.Second)
					arrived(part)
				}
				u.AllArrived()
				time.Sleep(time.Minute) // is published
				ended <- time.Since(began)
			}()
		}
		for i := range 8 {
			if at, want := <-ended, time.Duration(i+1)*110*time.Second; at != want {
				t.Errorf("upload %d ended after %v, want %v", i, at, want)
			}
		}
		synctest.Wait()
		budgettest.CheckUnused(t, b)
	})
}

// TestTicketWaitsForItsBytes: a ticket is memory. While it waits for that, nobody
// leases more.
func TestTicketWaitsForItsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, 3)
		storing, u, other := begin(t, b), begin(t, b), begin(t, b)
		all := storing.leaseAll(t)
		got := wait(u.takeTicket)
		synctest.Wait()
		lease := inBackground(func() (*budget.Buffer, error) { return other.Lease(other.ctx, part) })
		synctest.Wait()
		time.AfterFunc(3*time.Second, all[0].Release)
		time.AfterFunc(7*time.Second, all[1].Release)
		if r := <-got; r.err != nil || r.after > 7*time.Second {
			t.Errorf("a ticket after %v: %v", r.after, r.err)
		}
		r := <-lease
		if r.err != nil || r.after > 7*time.Second {
			t.Errorf("a lease after %v: %v", r.after, r.err)
		}
		if use := b.Usage(); use.Used() > use.Total {
			t.Errorf("%+v", use)
		}
		release(append(all[2:], r.value)...)
		for _, u := range []upload{storing, u, other} {
			u.Close()
		}
		budgettest.CheckUnused(t, b)
	})
}

// TestLeasesGoOnBesideTickets: however many tickets are taken, others lease parts.
func TestLeasesGoOnBesideTickets(t *testing.T) {
	for _, tt := range []struct {
		name  string
		size  int64
		least int // parts
	}{
		{"several small tickets", ticket, 2},
		{"one large ticket", 18 * mib, 2},
		{"one that leaves room for a part only", 23 * mib, 1},
		{"one that is larger than the budget", 100 * mib, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBudget(t, 3, func(c *budget.Config) { c.Needs.Ticket = tt.size })
				first, second, other := begin(t, b), begin(t, b), begin(t, b)
				if err := first.takeTicket(); err != nil {
					t.Fatal(err)
				}
				late := wait(second.takeTicket)
				synctest.Wait()
				all := other.leaseAll(t)
				if len(all) < tt.least {
					t.Errorf("%d parts could be leased, want %d", len(all), tt.least)
				}
				release(all...)
				<-late
				for _, u := range []upload{first, second, other} {
					u.Close()
				}
				budgettest.CheckUnused(t, b)
			})
		})
	}
}

// TestSlowTicketHolderIsEnded: a client that sends nothing does not keep others from
// a ticket for long. Who waits for parts is not in its way, nor is it in theirs.
func TestSlowTicketHolderIsEnded(t *testing.T) {
	for _, tt := range []struct {
		name  string
		waits func(t *testing.T, u upload) error
		ended bool
	}{
		{"others wait for a ticket", func(_ *testing.T, u upload) error { return u.takeTicket() }, true},
		{"others wait for a part", func(t *testing.T, u upload) error {
			all := u.leaseAll(t)
			time.AfterFunc(25*time.Second, all[0].Release)
			_, err := u.Lease(u.ctx, part)
			return err
		}, false},
		{"nobody waits", func(*testing.T, upload) error { time.Sleep(25 * time.Second); return nil }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBudget(t, 2, func(c *budget.Config) { c.Needs.Ticket = 18 * mib })
				slow, other := begin(t, b), begin(t, b)
				if err := slow.takeTicket(); err != nil {
					t.Fatal(err)
				}
				slow.stall()
				go func() {
					<-slow.ctx.Done()
					slow.Close()
				}()
				r := <-wait(func() error { return tt.waits(t, other) })
				if r.err != nil || r.after < 19*time.Second || r.after > 26*time.Second {
					t.Errorf("after %v: %v", r.after, r.err)
				}
				slow.checkEnded(t, tt.ended)
			})
		})
	}
}

// TestSlowUploadDoesNotEndItself: an upload that is the only one to wait for what it
// has nobody in its way.
func TestSlowUploadDoesNotEndItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, 2, func(c *budget.Config) { c.Needs.Ticket = 18 * mib })
		slow, other := begin(t, b), begin(t, b)
		if err := other.takeTicket(); err != nil {
			t.Fatal(err)
		}
		slow.stall()
		time.Sleep(25 * time.Second)
		got := wait(slow.takeTicket)
		time.Sleep(5 * time.Second)
		other.Close()
		if r := <-got; r.err != nil {
			t.Error(r.err)
		}
		slow.checkEnded(t, false)
		slow.Close()
		budgettest.CheckUnused(t, b)
	})
}

// TestToolsAreKept: idle tools are kept for the next entry, and dropped when their
// room is wanted. A tool that failed is not kept.
func TestToolsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, 2)
		u := begin(t, b)
		take := func(ok bool) any {
			tools, err := u.Tools(u.ctx, decoder)
			if err != nil {
				t.Fatal(err)
			}
			defer tools.Release()
			tool := tools.Get(decoder)
			if ok {
				tools.Recycle()
			}
			return tool
		}
		first := take(true)
		if b.Idle() != decoder.Memory {
			t.Errorf("%d bytes are idle", b.Idle())
		}
		if take(false) != first {
			t.Error("it was made anew")
		}
		if b.Idle() != 0 {
			t.Error("a tool that failed is kept")
		}
		take(true)
		all := u.leaseAll(t)
		if use, idle := b.Usage(), b.Idle(); use.Used()+idle > use.Total {
			t.Errorf("%d bytes are idle beside %+v", idle, use)
		}
		release(all...)
		if use, idle := b.Usage(), b.Idle(); use.Used()+idle > use.Total || idle == 0 {
			t.Errorf("%d bytes are idle beside %+v", idle, use)
		}
		u.Close()
		budgettest.CheckUnused(t, b)
	})
}
