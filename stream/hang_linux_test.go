package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream"
	"spillway/stream/budget"
	"spillway/testdata/budgettest"
	"spillway/testdata/ziptest"
)

// frozenDisk is a disk whose calls of one operation hang until it is thawed.
type frozenDisk struct {
	budget.Disk
	op     string
	thawed chan struct{}
	hung   atomic.Int64 // calls that have, or do
}

func (d *frozenDisk) pass(op string) {
	if op == d.op {
		d.hung.Add(1)
		<-d.thawed
	}
}

func (d *frozenDisk) thaw() { close(d.thawed) }

func (d *frozenDisk) Create() (budget.DiskFile, error) {
	d.pass("create")
	f, err := d.Disk.Create()
	return frozenFile{f, d}, err
}

func (d *frozenDisk) Free() (int64, error) {
	d.pass("free")
	return d.Disk.Free()
}

func (d *frozenDisk) Clean() (int, error) {
	d.pass("clean")
	return d.Disk.Clean()
}

type frozenFile struct {
	budget.DiskFile
	disk *frozenDisk
}

func (f frozenFile) Allocate(off, n int64) error {
	f.disk.pass("allocate")
	return f.DiskFile.Allocate(off, n)
}

func (f frozenFile) WriteAt(p []byte, off int64) (int, error) {
	f.disk.pass("write")
	return f.DiskFile.WriteAt(p, off)
}

func (f frozenFile) ReadAt(p []byte, off int64) (int, error) {
	f.disk.pass("read")
	return f.DiskFile.ReadAt(p, off)
}

func (f frozenFile) Punch(off, n int64) error {
	f.disk.pass("punch")
	return f.DiskFile.Punch(off, n)
}

func (f frozenFile) Allocated() (int64, error) {
	f.disk.pass("stat")
	return f.DiskFile.Allocated()
}

func (f frozenFile) Close() error {
	f.disk.pass("close")
	return f.DiskFile.Close()
}

// freeze is a disk of which an operation hangs, with the cache on it.
func freeze(t *testing.T, op string, change ...func(*budget.Config)) (*frozenDisk, *budget.Budget) {
	t.Helper()
	d := &frozenDisk{op: op, thawed: make(chan struct{})}
	return d, budgettest.New(t, append(change, budgettest.Disk(t, func(c *budget.SpillConfig) {
		d.Disk, c.Disk = c.Disk, d
		c.Trouble = func(err error) { t.Errorf("a disk that hangs is for the look to find, and not: %v", err) }
	}))...)
}

// TestUploadOnDiskThatHangs has each operation hang. The upload ends when its
// context does, or else after half a minute; its room in memory is free then. Its
// space on the disk stays counted until the call has ended.
func TestUploadOnDiskThatHangs(t *testing.T) {
	data := ziptest.SpillArchives()["gaps between entries"]
	late := errors.New("the upload took too long")
	for _, op := range []string{"create", "free", "allocate", "write", "read", "punch"} {
		for _, limit := range []time.Duration{3 * time.Second, time.Hour} {
			t.Run(fmt.Sprintf("%s, %v", op, limit), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					disk, m := freeze(t, op)
					spill := m.Spill()
					ctx, cancel := context.WithTimeoutCause(t.Context(), limit, late)
					defer cancel()
					begun := time.Now()
					_, _, err := ziptest.Reading{Ctx: ctx, Data: data, Budget: m}.Do(t)

					want, took := late, limit
					if limit == time.Hour {
						want, took = budget.ErrDiskHangs, 30*time.Second
					}
					if d := time.Since(begun); !errors.Is(err, want) || d < took || d > took+time.Second {
						t.Errorf("it ends after %v with %v, want %v with %v", d, err, took, want)
					}
					time.Sleep(10 * time.Second)
					u := spill.Usage()
					hung := disk.hung.Load() // bodies that are released punch as well
					if hung == 0 || u.Hanging != int(hung) || u.Late != hung || u.HangsFor < 10*time.Second {
						t.Errorf("%+v, want %d calls that hang", u, hung)
					}
					if open := op != "create" && op != "free"; open != (u.Files == 1) || u.Used != u.Stuck || open && op != "allocate" && u.Used == 0 {
						t.Errorf("%+v: the space of a file that the disk may have has to stay counted", u)
					}
					disk.thaw()
					synctest.Wait()
					if u := spill.Usage(); u.Hanging != 0 || u.Stuck != 0 || u.Late != hung {
						t.Errorf("once it has thawed: %+v", u)
					}
					budgettest.CheckUnused(t, m)
				})
			})
		}
	}
}

// A file whose close hangs keeps its space, and its upload does not wait for it.
// TestBodiesReleasedTogether releases the last bodies of a file while space of the
// first is still being given back. The file ends once, and its space with it.
func TestBodiesReleasedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, m := freeze(t, "")
		ctx, share := admit(t, m)
		sink := &keeper{}
		if _, err := ziptest.Read(ctx, newReader(ziptest.SpillArchives()["gaps between entries"]), share, sink, ziptest.Ordinary); err != nil {
			t.Fatal(err)
		}
		bodies := slices.DeleteFunc(sink.bodies, func(b stream.Body) bool { return b == nil })
		disk.op = "punch"
		time.AfterFunc(time.Second, disk.thaw)
		var releases sync.WaitGroup
		for _, b := range bodies {
			releases.Go(b.Release)
			synctest.Wait()
		}
		releases.Wait()
		if disk.hung.Load() == 0 {
			t.Error("no space was being given back")
		}
		share.Close()
		budgettest.CheckUnused(t, m)
	})
}

func TestCloseThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, m := freeze(t, "close")
		spill := m.Spill()
		begun := time.Now()
		s, _, err := ziptest.Reading{Data: ziptest.SpillArchives()["gaps between entries"], Budget: m}.Do(t)
		if d := time.Since(begun); err != nil || d > 5*time.Second {
			t.Errorf("it ends after %v with %v", d, err)
		}
		ziptest.CheckSpillFiles(t, s)
		if u := spill.Usage(); u.Used == 0 || u.Used != u.Stuck || u.Hanging != 1 {
			t.Errorf("while it hangs: %+v", u)
		}
		disk.thaw()
		synctest.Wait()
		budgettest.CheckUnused(t, m)
	})
}

// TestManyCallsThatHang has more uploads than calls that may hang. Those beyond
// are refused at once, and when the disk thaws, uploads are taken again.
func TestManyCallsThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, m := freeze(t, "create", func(c *budget.Config) { c.Memory, c.Uploads = 1<<30, 30 })
		data := ziptest.SpillArchives()["gaps between entries"]
		var first []<-chan outcome
		for range 8 {
			first = append(first, background(t, m, bytes.NewReader(data), 0))
		}
		time.Sleep(6 * time.Second)
		for range 20 {
			if o := <-background(t, m, bytes.NewReader(data), 0); !errors.Is(o.err, budget.ErrDiskHangs) || o.at > 0 {
				t.Errorf("ended after %v with %v", o.at, o.err)
			}
		}
		if n := disk.hung.Load(); n != 8 {
			t.Errorf("%d calls were made, want 8", n)
		}
		for _, u := range first {
			if o := <-u; !errors.Is(o.err, budget.ErrDiskHangs) {
				t.Errorf("ended with %v", o.err)
			}
		}
		disk.thaw()
		synctest.Wait()
		if o := <-background(t, m, bytes.NewReader(data), 0); o.err != nil {
			t.Errorf("once it has thawed: %v", o.err)
		}
		budgettest.CheckUnused(t, m)
	})
}

// TestBodyOnDiskThatHangs publishes from a disk that hangs. Reads end, releases do
// not wait one after the other, and what was to be read into is left alone.
func TestBodyOnDiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, m := freeze(t, "")
		spill := m.Spill()
		ctx, share := admit(t, m)
		sink := &keeper{}
		if _, err := ziptest.Read(ctx, newReader(ziptest.SpillArchives()["gaps between entries"]), share, sink, ziptest.Ordinary); err != nil {
			t.Fatal(err)
		}
		bodies := slices.DeleteFunc(sink.bodies, func(b stream.Body) bool { return b == nil })
		disk.op = "read"
		begun := time.Now()
		var (
			reads   sync.WaitGroup
			mu      sync.Mutex
			givenUp [][]byte
		)
		for _, b := range bodies {
			reads.Go(func() {
				p := make([]byte, 100)
				if _, err := b.ReadAt(p, b.Size()/2); errors.Is(err, budget.ErrDiskHangs) {
					mu.Lock()
					defer mu.Unlock()
					givenUp = append(givenUp, p)
				}
			})
		}
		reads.Wait()
		if len(givenUp) < 3 {
			t.Errorf("%d reads were given up", len(givenUp))
		}
		for _, b := range bodies {
			b.Release()
		}
		if d := time.Since(begun); d < 30*time.Second || d > 31*time.Second {
			t.Errorf("reading and releasing takes %v", d)
		}
		share.Close()
		if u := spill.Usage(); u.Stuck == 0 || u.Stuck != u.Used {
			t.Errorf("while the disk hangs: %+v", u)
		}
		disk.thaw()
		synctest.Wait()
		for _, p := range givenUp {
			if !bytes.Equal(p, make([]byte, len(p))) {
				t.Error("a read has written into what its caller may have used again")
			}
		}
		budgettest.CheckUnused(t, m)
	})
}

// TestLooksAtDiskThatHangs: looks at the disk end in time, and do not pile up.
func TestLooksAtDiskThatHangs(t *testing.T) {
	for op, look := range map[string]func(context.Context, *budget.Spill) error{
		"free":   func(ctx context.Context, s *budget.Spill) error { _, _, err := s.Free(ctx); return err },
		"create": func(ctx context.Context, s *budget.Spill) error { return s.Probe(ctx) },
		"write":  func(ctx context.Context, s *budget.Spill) error { return s.Probe(ctx) },
		"close":  func(ctx context.Context, s *budget.Spill) error { return s.Probe(ctx) },
		"clean":  func(ctx context.Context, s *budget.Spill) error { _, err := s.Clean(ctx); return err },
	} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, m := freeze(t, op)
				spill := m.Spill()
				for i := range 100 {
					begun := time.Now()
					err := look(t.Context(), spill)
					if d := time.Since(begun); !errors.Is(err, budget.ErrDiskHangs) || d > 31*time.Second || i > 8 && d > 0 {
						t.Errorf("look %d ends after %v with %v", i, d, err)
					}
				}
				if n := disk.hung.Load(); n > 8 {
					t.Errorf("%d calls were made", n)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if err := look(ctx, spill); err == nil {
					t.Error("it does not end with its context")
				}
				disk.thaw()
				synctest.Wait()
				if err := look(t.Context(), spill); err != nil {
					t.Errorf("once it has thawed: %v", err)
				}
			})
		})
	}
}

// TestWhatIsTrouble: only what the machine does to us. What clients can bring
// about is refused, and nobody is told.
func TestWhatIsTrouble(t *testing.T) {
	data := ziptest.SpillArchives()["gaps between entries"]
	for _, c := range []struct {
		name    string
		op      string
		fault   error
		free    int64 // what the disk says; 0: what is true
		minFree int64
		size    int64 // that the request states
		trouble bool
		refused bool // for a quota
	}{
		{name: "a call fails", op: "write", fault: syscall.EIO, trouble: true},
		{name: "a file cannot be made", op: "create", fault: syscall.EROFS, trouble: true},
		{name: "no space, and there is", op: "allocate", fault: syscall.ENOSPC, trouble: true},
		{name: "no inodes", op: "create", fault: syscall.ENOSPC, trouble: true},
		{name: "space cannot be asked for", op: "free", fault: syscall.EIO, trouble: true},
		{name: "others took the space meanwhile", op: "allocate", fault: syscall.ENOSPC, free: 2 * mib, minFree: 2*mib - 64<<10, refused: true},
		{name: "a disk quota of the system", op: "allocate", fault: syscall.EDQUOT, refused: true},
		{name: "no descriptors", op: "create", fault: syscall.EMFILE},
		{name: "no descriptors in the system", op: "create", fault: syscall.ENFILE},
		{name: "a stated size over what is free", free: 2 * mib, size: 3 * mib, refused: true},
		{name: "below the mark", free: 2 * mib, minFree: 3 * mib, refused: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := &faultyDisk{op: c.op, call: 1, fault: c.fault}
			var told []error
			m := budgettest.NewWithDisk(t, func(cfg *budget.SpillConfig) {
				disk.Disk = cfg.Disk
				cfg.Disk = disk
				if c.free > 0 {
					cfg.Disk = &shortDisk{disk, c.free, c.op}
				}
				cfg.MinFree = c.minFree
				cfg.Trouble = func(err error) { told = append(told, err) }
			})
			rules := ziptest.Ordinary
			rules.Size = c.size
			_, _, err := ziptest.Reading{Data: data, Budget: m, Rules: &rules}.Do(t)
			quota, refused := errors.AsType[*budget.QuotaError](err)
			if err == nil || refused != c.refused || refused && quota.Quota != budget.FreeSpace {
				t.Errorf("it fails with %v", err)
			}
			if trouble := len(told) > 0; trouble != c.trouble {
				t.Errorf("told of %v", told)
			}
			budgettest.CheckUnused(t, m)
		})
	}
}

// shortDisk says that so many bytes are free, from the first failure of an
// operation on, or always where there is none.
type shortDisk struct {
	*faultyDisk
	free int64
	op   string
}

func (d *shortDisk) Free() (int64, error) {
	if d.op != "" && d.calls.Load() == 0 {
		return d.free * 2, nil
	}
	return d.free, nil
}

// TestOwnSpace: what the files take is known to the block, whatever is counted
// for them.
func TestOwnSpace(t *testing.T) {
	m := budgettest.NewWithDisk(t, func(c *budget.SpillConfig) { c.Quota, c.UploadQuota = 64*mib, 64*mib })
	spill := m.Spill()
	own := func(when string) int64 {
		_, own, err := spill.Free(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		return own
	}
	ctx, share := admit(t, m)
	data := ziptest.SpillArchives()["gaps between entries"]
	rules := ziptest.Ordinary
	rules.Size = 40 * mib // more than comes
	source := newPausing(data, 700<<10)
	sink := &keeper{}
	read := make(chan error)
	go func() {
		_, err := ziptest.Read(ctx, source, share, sink, rules)
		read <- err
	}()
	<-source.stalled
	if n, u := own("while it arrives"), spill.Usage(); n < 500<<10 || n > mib || u.Used < 39*mib {
		t.Errorf("%d bytes are taken of %d that are counted", n, u.Used)
	}
	close(source.letGo)
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if n, u := own("once it is read"), spill.Usage(); n == 0 || n != u.Used-64<<10 {
		t.Errorf("%d bytes are taken of %d that are counted", n, u.Used)
	}
	for _, b := range sink.bodies {
		if b != nil {
			b.Release()
		}
	}
	share.Close()
	if n := own("in the end"); n != 0 {
		t.Errorf("%d bytes are taken by nothing", n)
	}
}

// TestProbeOfFullDisk: a disk that others have filled is told from one that our
// own files have, and from one that fails.
func TestProbeOfFullDisk(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault error
		free  int64
		own   bool // have filled it
		quota bool // the error is one
		ok    bool
	}{
		{name: "filled by others", fault: syscall.ENOSPC, free: 1000, quota: true},
		{name: "filled by our own", fault: syscall.ENOSPC, free: 1000, own: true, ok: true},
		{name: "no space, and there is", fault: syscall.ENOSPC, free: mib},
		{name: "no space, and there is, with our own", fault: syscall.ENOSPC, free: mib, own: true},
		{name: "a quota of the system", fault: syscall.EDQUOT, free: mib},
		{name: "a quota of the system, filled by our own", fault: syscall.EDQUOT, free: mib, own: true, ok: true},
		{name: "read-only", fault: syscall.EROFS, free: mib, own: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := &faultyDisk{op: "create", fault: c.fault}
			short := &shortDisk{disk, 64 * mib, ""}
			m := budgettest.NewWithDisk(t, func(cfg *budget.SpillConfig) { disk.Disk, cfg.Disk = cfg.Disk, short })
			spill := m.Spill()
			ctx, share := admit(t, m)
			sink := &keeper{}
			if c.own {
				if _, err := ziptest.Read(ctx, newReader(ziptest.SpillArchives()["gaps between entries"]), share, sink, ziptest.Ordinary); err != nil {
					t.Fatal(err)
				}
			}
			disk.call, short.free = int(disk.calls.Load())+1, c.free
			err := spill.Probe(t.Context())
			_, quota := errors.AsType[*budget.QuotaError](err)
			if c.ok != (err == nil) || quota != c.quota {
				t.Errorf("the probe says %v", err)
			}
			for _, b := range sink.bodies {
				if b != nil {
					b.Release()
				}
			}
			share.Close()
		})
	}
}
