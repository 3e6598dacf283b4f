package budget_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"spillway/stream/budget"
	"spillway/testdata/budgettest"
)

func TestDisk(t *testing.T) {
	folder := t.TempDir()
	disk, err := budget.OpenDisk(folder)
	if err != nil {
		t.Fatal(err)
	}
	f, err := disk.Create()
	if err != nil {
		t.Fatal(err)
	}
	const mebi = 1 << 20
	if err := f.Allocate(0, mebi); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Allocated(); n < mebi || err != nil {
		t.Errorf("%d bytes are allocated: %v", n, err)
	}
	if _, err := f.WriteAt([]byte("MODULE"), mebi-6); err != nil {
		t.Error(err)
	}
	if err := f.Punch(0, mebi/2); err != nil {
		t.Error(err)
	}
	if n, err := f.Allocated(); n < mebi/2 || n > mebi*3/4 || err != nil {
		t.Errorf("%d bytes are allocated: %v", n, err)
	}
	got := make([]byte, 6)
	if _, err := f.ReadAt(got, mebi-6); err != nil || string(got) != "MODULE" {
		t.Errorf("read %q: %v", got, err)
	}
	if names, err := os.ReadDir(folder); len(names) > 0 || err != nil {
		t.Errorf("the folder has %v: %v", names, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := budget.OpenDisk(filepath.Join(folder, "missing")); err == nil {
		t.Error("a folder that is not there was opened")
	}
}

// TestClean has files of ours and of others; some of ours are in use.
func TestClean(t *testing.T) {
	folder := t.TempDir()
	disk, err := budget.OpenDisk(folder)
	if err != nil {
		t.Fatal(err)
	}
	make := func(name string) *os.File {
		f, err := os.Create(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	make("spillway-spill-123")
	make("spillway-spill-124")
	inUse := make("spillway-spill-125")
	make("somebody-else")
	if err := unix.Flock(int(inUse.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("somebody-else", filepath.Join(folder, "spillway-spill-link")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{2, 0} {
		if n, err := disk.Clean(); n != want || err != nil {
			t.Errorf("removed %d files, want %d: %v", n, want, err)
		}
	}
	for _, name := range []string{"spillway-spill-125", "somebody-else", "spillway-spill-link"} {
		if _, err := os.Lstat(filepath.Join(folder, name)); err != nil {
			t.Error(err)
		}
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Clean(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("cleaning a folder that is gone: %v", err)
	}
}

// hold has the upload hold an archive of n bytes on the disk.
func (u upload) hold(n int64) (*budget.File, error) { return u.SpillFile(u.ctx, n) }

// TestDiskIsTakenInTurn has three uploads, and room for two of their archives.
func TestDiskIsTakenInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, 4, withDisk(t, 9*mib), func(c *budget.Config) { c.Needs.Ticket = 2 * mib })
		var files []*budget.File
		var uploads []upload
		for range 2 {
			u := begin(t, b)
			f, err := u.hold(4 * mib)
			if err != nil {
				t.Fatal(err)
			}
			uploads, files = append(uploads, u), append(files, f)
		}
		third, impatient := begin(t, b), begin(t, b)
		got := inBackground(func() (*budget.File, error) { return third.hold(4 * mib) })
		synctest.Wait()
		// Whoever does not wait gets nothing that others wait for.
		f, err := impatient.hold(0)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Write(impatient.ctx, make([]byte, 100)); !isQuota(err) {
			t.Errorf("a write beside those who wait: %v", err)
		}
		f.Close()
		time.AfterFunc(7*time.Second, files[0].Close)
		r := <-got
		if r.err != nil || r.after != 7*time.Second {
			t.Errorf("the third got the disk after %v: %v", r.after, r.err)
		}
		r.value.Close()
		files[1].Close()
		for _, u := range append(uploads, third, impatient) {
			u.Close()
		}
		budgettest.CheckUnused(t, b)
	})
}

func isQuota(err error) bool {
	e, ok := errors.AsType[*budget.QuotaError](err)
	return ok && !e.Never
}

// TestDiskThatNeverFits: what is larger than a quota need not come back.
func TestDiskThatNeverFits(t *testing.T) {
	for name, change := range map[string]func(c *budget.Config){
		"no disk":             func(c *budget.Config) { c.Spill = budget.SpillConfig{} },
		"quota of all":        func(c *budget.Config) { c.Spill.Quota = mib },
		"quota of one upload": func(c *budget.Config) { c.Spill.UploadQuota = mib },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBudget(t, 1, withDisk(t, 9*mib), change)
			u := begin(t, b)
			_, err := u.hold(4 * mib)
			if e, ok := errors.AsType[*budget.QuotaError](err); !ok || !e.Never {
				t.Errorf("it fails with %v", err)
			}
			u.Close()
			budgettest.CheckUnused(t, b)
		})
	}
}

// TestSlowClientLeavesTheDisk: a client that sends nothing does not keep others from
// the disk for long.
func TestSlowClientLeavesTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, 2, withDisk(t, 9*mib), func(c *budget.Config) { c.Needs.Ticket = 2 * mib })
		slow, other := begin(t, b), begin(t, b)
		f, err := slow.hold(6 * mib)
		if err != nil {
			t.Fatal(err)
		}
		slow.stall()
		time.Sleep(time.Hour)
		slow.checkEnded(t, false) // nobody waited
		go func() {
			<-slow.ctx.Done()
			f.Close()
		}()
		r := <-inBackground(func() (*budget.File, error) { return other.hold(6 * mib) })
		if r.err != nil || r.after > 2*time.Second {
			t.Errorf("the other got the disk after %v: %v", r.after, r.err)
		}
		slow.checkEnded(t, true)
		r.value.Close()
		slow.Close()
		other.Close()
		budgettest.CheckUnused(t, b)
	})
}

// TestSlowUploadThatWaitsForTheDisk has an upload whose client was slow, so that a part
// moved to the disk, and which then waits for more of the disk. While it is the only
// one that waits, it goes on. Once another one waits behind it, it ends.
func TestSlowUploadThatWaitsForTheDisk(t *testing.T) {
	for _, anotherWaits := range []bool{false, true} {
		t.Run(fmt.Sprint(anotherWaits), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBudget(t, 4, withDisk(t, 9*mib), func(c *budget.Config) { c.Needs.Ticket = 2 * mib })
				slow, owner, other := begin(t, b), begin(t, b), begin(t, b)
				buffer := slow.lease(t)
				all := other.leaseAll(t)
				time.Sleep(25 * time.Second)
				release(append(all, other.lease(t))...) // for which the slow part moves
				buffer.Full()
				file, err := owner.hold(3 * mib)
				if err != nil {
					t.Fatal(err)
				}
				slow.stall()
				time.Sleep(25 * time.Second)
				got := inBackground(func() (*budget.File, error) { return slow.hold(3 * mib) })
				synctest.Wait()
				if anotherWaits {
					go func() {
						<-slow.ctx.Done()
						buffer.Release()
					}()
					r := <-inBackground(func() (*budget.File, error) { return other.hold(3 * mib) })
					if r.err != nil || r.after > 5*time.Second {
						t.Errorf("the other got the disk after %v: %v", r.after, r.err)
					} else {
						r.value.Close()
					}
				} else {
					time.Sleep(5 * time.Second)
				}
				file.Close()
				r := <-got
				slow.checkEnded(t, anotherWaits)
				if r.err == nil {
					r.value.Close()
				}
				if (r.err != nil) != anotherWaits {
					t.Errorf("the slow one: %v", r.err)
				}
				buffer.Release()
				for _, u := range []upload{slow, owner, other} {
					u.Close()
				}
				budgettest.CheckUnused(t, b)
			})
		})
	}
}

// TestWaitersForTheDiskArePatient: who waits for the disk waits as long as its holder
// makes progress, also while that waits for memory itself.
func TestWaitersForTheDiskArePatient(t *testing.T) {
	for name, work := range map[string]func(t *testing.T, u, other upload){
		"its client sends": func(_ *testing.T, u, _ upload) {
			for range 60 {
				arrived := u.AwaitClient()
				time.Sleep(2 * time.Second)
				arrived(part / 4)
			}
		},
		"it waits for memory, in turn": func(t *testing.T, u, other upload) {
			all := other.leaseAll(t)
			for range 4 {
				time.AfterFunc(25*time.Second, all[0].Release)
				buffer := u.lease(t)
				buffer.Full()
				all = append(all[1:], buffer)
			}
			release(all...)
		},
		"all has arrived": func(_ *testing.T, u, _ upload) {
			u.AllArrived()
			time.Sleep(2 * time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBudget(t, 3, withDisk(t, 9*mib), func(c *budget.Config) { c.Needs.Ticket = 2 * mib })
				u, other, waiter := begin(t, b), begin(t, b), begin(t, b)
				f, err := u.hold(8 * mib)
				if err != nil {
					t.Fatal(err)
				}
				got := inBackground(func() (*budget.File, error) { return waiter.hold(8 * mib) })
				work(t, u, other)
				f.Close()
				if r := <-got; r.err != nil || r.after < 90*time.Second {
					t.Errorf("after %v: %v", r.after, r.err)
				} else {
					r.value.Close()
				}
				for _, u := range []upload{u, other, waiter} {
					u.Close()
				}
				budgettest.CheckUnused(t, b)
			})
		})
	}
}

// TestFile writes, reads, and gives back piece by piece.
func TestFile(t *testing.T) {
	const blocks, block = 10, 64 << 10
	b := newBudget(t, 1, withDisk(t, 9*mib))
	u := begin(t, b)
	f, err := u.hold(0)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, blocks*block)
	for i := range data {
		data[i] = byte(i / 1000)
	}
	for _, piece := range [][]byte{data[:1000], data[1000 : 3*block], data[3*block:]} {
		if err := f.Write(u.ctx, piece); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Complete(u.ctx); err != nil {
		t.Fatal(err)
	}
	used := func() int64 { return b.Spill().Usage().Used - block } // the overhead of a file
	if used() != blocks*block {
		t.Errorf("%d bytes are counted", used())
	}
	body := f.Body([]byte("head"), block+5, 2*block, []byte("tail"))
	got, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
	if want := "head" + string(data[block+5:3*block+5]) + "tail"; err != nil || string(got) != want {
		t.Errorf("the body has %d bytes, want %d: %v", len(got), len(want), err)
	}
	if err := f.Pass(u.ctx, 9*block); err != nil {
		t.Error(err)
	}
	if used() != 4*block { // the three of the body, and the last
		t.Errorf("%d bytes are counted once nine blocks are passed", used())
	}
	f.Close()
	if _, err := body.ReadAt(make([]byte, 10), 0); err != nil {
		t.Errorf("a body outlives its file: %v", err)
	}
	body.Release()
	body.Release()
	u.Close()
	budgettest.CheckUnused(t, b)
}

// TestFileEndsWithItsUpload: a call of the disk ends with the upload's context.
func TestFileEndsWithItsUpload(t *testing.T) {
	b := newBudget(t, 1, withDisk(t, 9*mib))
	gone := errors.New("the client has gone")
	ctx, end := context.WithCancelCause(t.Context())
	s, err := b.Admit(ctx, budget.Upload{End: end})
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.SpillFile(ctx, mib)
	if err != nil {
		t.Fatal(err)
	}
	end(gone)
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, gone) {
		t.Errorf("a read fails with %v", err)
	}
	f.Close()
	s.Close()
	budgettest.CheckUnused(t, b)
}
