package stream_test

import (
	"bytes"
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"spillway/internal/account"
	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/ziptest"
)

// slowReader takes that long for each read.
type slowReader struct {
	io.Reader
	account *account.Account
	each    time.Duration
}

func (r slowReader) Read(p []byte) (int, error) {
	defer r.account.Switch(r.account.Switch(account.OnClient)) // as the reader of a request does
	time.Sleep(r.each)
	return r.Reader.Read(p)
}

// TestWaitsAreAccounted makes one thing at a time slow. In fake time, work takes no
// time, so the account has all of the time under that thing.
func TestWaitsAreAccounted(t *testing.T) {
	parts := archive.Build(archive.Entry{Name: "a.dll", Data: archive.Noise(1, 2*part+1000)})
	spilled := archive.Archive{Prefix: []byte{0}, Entries: []archive.Entry{{Name: "a.dll", Data: archive.Noise(1, mib)}}}.Bytes()
	tests := []struct {
		name    string
		archive []byte
		want    account.Label
		slow    func(t *testing.T, r *slowReader, s *ziptest.Store, write *time.Duration, m *budget.Budget) (end func())
	}{
		{"client", parts, account.OnClient, func(_ *testing.T, r *slowReader, _ *ziptest.Store, _ *time.Duration, _ *budget.Budget) func() {
			r.each = time.Second
			return func() {}
		}},
		{"store", parts, account.OnStore, func(_ *testing.T, _ *slowReader, s *ziptest.Store, _ *time.Duration, _ *budget.Budget) func() {
			s.OnPart = func(context.Context, *ziptest.Object) (bool, error) { time.Sleep(time.Second); return true, nil }
			return func() {}
		}},
		{"store, at the end", parts, account.OnStore, func(_ *testing.T, _ *slowReader, s *ziptest.Store, _ *time.Duration, _ *budget.Budget) func() {
			s.OnCommit = func(context.Context, *ziptest.Object) error { time.Sleep(time.Second); return nil }
			return func() {}
		}},
		{"disk", spilled, account.OnDisk, func(_ *testing.T, _ *slowReader, _ *ziptest.Store, write *time.Duration, _ *budget.Budget) func() {
			*write = time.Second
			return func() {}
		}},
		{"memory", parts, account.OnMemory, func(t *testing.T, _ *slowReader, _ *ziptest.Store, _ *time.Duration, m *budget.Budget) func() {
			ctx, other := admit(t, m)
			all := leaseAll(t, ctx, other)
			time.AfterFunc(3*time.Second, func() { release(all...) })
			return other.Close
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var write time.Duration
				m := budgettest.NewWithDisk(t, func(c *budget.SpillConfig) {
					c.Disk = hookedDisk{c.Disk, func(op string) error {
						if op == "write" {
							time.Sleep(write)
						}
						return nil
					}}
				})
				s := ziptest.NewStore(t, m)
				r := &slowReader{Reader: bytes.NewReader(tt.archive)}
				end := tt.slow(t, r, s, &write, m)
				began := time.Now()
				r.account = account.New()
				share, err := m.Admit(t.Context(), budget.Upload{Account: r.account, End: func(cause error) { t.Error(cause) }})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := ziptest.Read(t.Context(), r, share, s, ziptest.Ordinary); err != nil {
					t.Fatal(err)
				}
				s.Close()
				spent := r.account.Spent()
				if wall := time.Since(began); spent.Wall() != wall || spent.By[tt.want] != wall || wall < time.Second {
					t.Errorf("the account has %v, want %v, all of it %v", spent, wall, tt.want)
				}
				share.Close()
				end()
			})
		})
	}
}

// BenchmarkAccount reads an archive with and without an account, in turn, and reports
// the ratio of the CPU times.
func BenchmarkAccount(b *testing.B) {
	var entries []archive.Entry
	for seed := range uint64(500) {
		entries = append(entries, archive.Entry{Name: archive.SymbolsName(seed), Data: archive.Symbols(seed, 32<<10), Method: archive.Deflate})
	}
	data := archive.Build(entries...)
	m := budgettest.New(b)
	read := func(a *account.Account) time.Duration {
		before := cpuTime(b)
		share, err := m.Admit(b.Context(), budget.Upload{Account: a, End: func(cause error) { b.Error(cause) }})
		if err != nil {
			b.Fatal(err)
		}
		s := ziptest.NewStore(b, m)
		s.Discard = true
		r := slowReader{bytes.NewReader(data), a, 0}
		if _, err := ziptest.Read(b.Context(), r, share, s, ziptest.Ordinary); err != nil {
			b.Fatal(err)
		}
		share.Close()
		return cpuTime(b) - before
	}
	var with, without time.Duration
	for b.Loop() {
		without += read(nil)
		with += read(account.New())
	}
	b.ReportMetric(float64(with)/float64(without), "with/without")
}

// cpuTime returns the CPU time of this process so far.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
