package budget_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream/budget"
	"spillway/testdata/budgettest"
)

func TestNewBudget(t *testing.T) {
	tests := []struct {
		name     string
		memory   int64
		maxPart  int64
		uploads  int
		partSize int // 0: refused
		floors   int
		tickets  int
	}{
		{"one byte under the least", 30*mib - 1, 8 * mib, 64, 0, 0, 0},
		{"the least", 30 * mib, 8 * mib, 64, 5 * mib, 15, 1},
		{"a sixth", 36 * mib, 8 * mib, 4, 6 * mib, 4, 2},
		{"parts as large as allowed", 256 * mib, 8 * mib, 64, 8 * mib, 64, 25},
		{"no part under S3's least", 256 * mib, 1 * mib, 64, 5 * mib, 64, 26},
		{"floors take a quarter at most", 64 * mib, 8 * mib, 64, 8 * mib, 32, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := budget.Config{Memory: tt.memory, MaxPart: tt.maxPart, Uploads: tt.uploads, Needs: budget.Needs{Floor: floor, Table: table, Ticket: ticket, Verifier: floor}}
			b, err := budget.New(cfg)
			if tt.partSize == 0 {
				if err == nil {
					t.Fatal("no error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				if b.PartSize() != tt.partSize {
					t.Errorf("parts of %d bytes, want %d", b.PartSize(), tt.partSize)
				}
				tickets := 0
				var uploads []upload
				for range tt.floors {
					u := begin(t, b)
					uploads = append(uploads, u)
					if u.takeTicket() == nil {
						tickets++
					}
				}
				if u := b.Usage(); u.Floors > tt.memory/4 || u.Uploads != tt.floors || u.Used() > tt.memory || tickets != tt.tickets {
					t.Errorf("%d tickets, want %d: %+v", tickets, tt.tickets, u)
				}
				if _, err := b.Admit(t.Context(), budget.Upload{}); err == nil {
					t.Errorf("upload %d got a floor", tt.floors+1)
				}
				for _, u := range uploads {
					u.Close()
				}
				budgettest.CheckUnused(t, b)
			})
		})
	}
}

func TestAdmitServesFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, 2)
		first, second := begin(t, b), begin(t, b)
		admitted := make(chan int, 3)
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() {
				u := begin(t, b)
				admitted <- i
				time.Sleep(time.Second)
				u.Close()
			})
			synctest.Wait()
		}
		if u := b.Usage(); u.Waiting != 3 || u.Uploads != 2 {
			t.Errorf("two uploads and three that wait: %+v", u)
		}
		time.Sleep(25 * time.Second)
		first.Close()
		all.Wait()
		second.Close()
		for want := range 3 {
			if got := <-admitted; got != want {
				t.Errorf("upload %d was admitted as number %d", got, want)
			}
		}
		budgettest.CheckUnused(t, b)
	})
}

func TestAdmitWaitsNoLongerThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, 1)
		u := begin(t, b)
		began := time.Now()
		_, err := b.Admit(t.Context(), budget.Upload{})
		if waited := time.Since(began).Round(time.Second); waited != 30*time.Second {
			t.Errorf("it waits for %v", waited)
		}
		if e, ok := errors.AsType[*budget.NoRoomError](err); !ok || e.Limit != 30*mib || e.InUse != floor || e.Never {
			t.Errorf("%+v", err)
		}

		gone := errors.New("the client has gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		if _, err := b.Admit(ctx, budget.Upload{}); !errors.Is(err, gone) {
			t.Errorf("a call whose context ended: %v", err)
		}
		u.Close()
		begin(t, b).Close() // those that gave up have left the queue
		budgettest.CheckUnused(t, b)
	})
}

func TestNoMoreThan256WaitToBeAdmitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, 1)
		u := begin(t, b)
		var all sync.WaitGroup
		for range 256 {
			all.Go(func() { _, err := b.Admit(t.Context(), budget.Upload{}); checkNoRoom(t, err) })
		}
		synctest.Wait()
		began := time.Now()
		_, err := b.Admit(t.Context(), budget.Upload{})
		checkNoRoom(t, err)
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the next one waited for %v", waited)
		}
		all.Wait()
		u.Close()
		budgettest.CheckUnused(t, b)
	})
}

func TestNobodysSecondLeaseBeforeEverybodysFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, 4)
		greedy := begin(t, b)
		all := greedy.leaseAll(t)

		type lease struct {
			who int
			b   *budget.Buffer
		}
		leased := make(chan lease, 8)
		var asking sync.WaitGroup
		ask := func(who int, u upload) {
			asking.Go(func() {
				b, err := u.Lease(u.ctx, part)
				if err != nil {
					t.Errorf("upload %d: %v", who, err)
					return
				}
				b.Full()
				leased <- lease{who, b}
			})
			synctest.Wait()
		}
		uploads := []upload{greedy}
		ask(0, greedy) // was first, and has some already
		for who := 1; who <= 3; who++ {
			u := begin(t, b)
			uploads = append(uploads, u)
			ask(who, u)
			ask(who, u)
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
		asking.Wait()
		release(all...)
		for _, u := range uploads {
			u.Close()
		}
		budgettest.CheckUnused(t, b)
	})
}

func TestLeaseEnds(t *testing.T) {
	gone := errors.New("the client has gone")
	for _, tt := range []struct {
		name  string
		after time.Duration // the context ends; 0: never
		waits time.Duration
	}{
		{"with its context", 7 * time.Second, 7 * time.Second},
		{"when nothing was given back for long", 0, 30 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBudget(t, 1)
				u := begin(t, b)
				all := u.leaseAll(t)
				ctx, cancel := context.WithCancelCause(u.ctx)
				defer cancel(nil)
				if tt.after > 0 {
					time.AfterFunc(tt.after, func() { cancel(gone) })
				}
				began := time.Now()
				_, err := u.Lease(ctx, part)
				if waited := time.Since(began).Round(time.Second); waited != tt.waits {
					t.Errorf("after %v", waited)
				}
				if tt.after > 0 != errors.Is(err, gone) {
					t.Error(err)
				}
				if tt.after == 0 {
					checkNoRoom(t, err)
				}
				u.checkEnded(t, false)
				release(all...)
				u.Close()
				budgettest.CheckUnused(t, b)
			})
		})
	}
}

// TestCloseFindsLeaks: a share that ends with something of the budget is a defect.
func TestCloseFindsLeaks(t *testing.T) {
	for name, leak := range map[string]func(u upload) error{
		"a part": func(u upload) error {
			_, err := u.Lease(u.ctx, part)
			return err
		},
		"a held buffer": func(u upload) error {
			if _, ok := u.Hold(1); !ok {
				return errors.New("nothing could be held")
			}
			return nil
		},
		"a tool": func(u upload) error {
			_, err := u.Tools(u.ctx, decoder)
			return err
		},
		"a file": func(u upload) error {
			_, err := u.SpillFile(u.ctx, mib)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := begin(t, newBudget(t, 1, withDisk(t, 4*mib)))
			if err := leak(u); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			u.Close()
		})
	}
}

// TestKeep: what an upload leaves behind takes its bytes and nothing else, unless
// there is no room.
func TestKeep(t *testing.T) {
	const n = 100 << 10
	for _, tt := range []struct {
		name   string
		ticket bool
		others bool // have the rest of the memory, and wait for more
		n      int64
		floor  int64 // bytes, afterwards
		leased int64
	}{
		{"in free memory", false, false, n, 0, n},
		{"nothing", false, false, 0, 0, 0},
		{"while others wait", false, true, n, floor, 0},
		{"out of the ticket", true, false, n, 0, n},
		{"out of the ticket while others wait", true, true, n, 0, n},
		{"more than the ticket", true, false, ticket + 1, floor, ticket},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBudget(t, 2)
				u, other := begin(t, b), begin(t, b)
				if tt.ticket {
					if err := u.takeTicket(); err != nil {
						t.Fatal(err)
					}
				}
				var all []*budget.Buffer
				var waits <-chan result[*budget.Buffer]
				if tt.others {
					all = other.leaseAll(t)
					waits = inBackground(func() (*budget.Buffer, error) { return other.Lease(other.ctx, part) })
					synctest.Wait()
				}
				leased := b.Usage().Leased - int64(len(all))*part
				if tt.ticket != (leased == ticket) {
					t.Errorf("%d bytes are leased", leased)
				}
				u.Keep(tt.n)
				synctest.Wait()
				got := int64(len(all)) * part
				if waits != nil && tt.ticket {
					r := <-waits // what the ticket has given back
					all, waits = append(all, r.value), nil
					got += part
				}
				if use := b.Usage(); use.Floors-floor != tt.floor || use.Leased-got != tt.leased {
					t.Errorf("%+v, want a floor of %d and %d leased", use, tt.floor, tt.leased)
				}
				if waits != nil {
					if !u.InTheWay() {
						t.Error("others wait for what it keeps")
					}
					<-waits
				}
				u.Close()
				u.Close()
				release(all...)
				other.Close()
				budgettest.CheckUnused(t, b)
			})
		})
	}
}
