package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream"
	"spillway/stream/budget"
	"spillway/testdata/budgettest"
	"spillway/testdata/ziptest"
)

// TestUploadOnDiskThatHangs makes each operation hang. The upload ends when its context
// does, or after 30 s, and gives its memory back. Its disk space stays counted until the
// call has ended.
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
						t.Errorf("the upload ended after %v with %v, want %v with %v", d, err, took, want)
					}
					time.Sleep(10 * time.Second)
					u := spill.Usage()
					hung := disk.hung.Load() // released bodies punch holes too
					if hung == 0 || u.Hanging != int(hung) || u.Late != hung || u.HangsFor < 10*time.Second {
						t.Errorf("usage %+v, want %d hanging calls", u, hung)
					}
					if open := op != "create" && op != "free"; open != (u.Files == 1) || u.Used != u.Stuck || open && op != "allocate" && u.Used == 0 {
						t.Errorf("usage %+v, want the space of the open file counted", u)
					}
					disk.thaw()
					synctest.Wait()
					if u := spill.Usage(); u.Hanging != 0 || u.Stuck != 0 || u.Late != hung {
						t.Errorf("usage %+v after the disk thawed", u)
					}
					budgettest.CheckUnused(t, m)
				})
			})
		}
	}
}

// TestBodiesReleasedTogether releases the last bodies of a file while it still gives back
// the space of the first. The file is closed once, and all of its space given back.
func TestBodiesReleasedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, m := freeze(t, "")
		ctx, share := admit(t, m)
		sink := &keeper{}
		if _, err := ziptest.Read(ctx, bytes.NewReader(ziptest.SpillArchives()["gaps between entries"]), share, sink, ziptest.Ordinary); err != nil {
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
			t.Error("no call hung, so nothing was tested")
		}
		share.Close()
		budgettest.CheckUnused(t, m)
	})
}

// TestCloseThatHangs: an upload does not wait for its file to close. The file's space stays
// counted meanwhile.
func TestCloseThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, m := freeze(t, "close")
		spill := m.Spill()
		begun := time.Now()
		s, _, err := ziptest.Reading{Data: ziptest.SpillArchives()["gaps between entries"], Budget: m}.Do(t)
		if d := time.Since(begun); err != nil || d > 5*time.Second {
			t.Errorf("the upload ended after %v with %v", d, err)
		}
		ziptest.CheckSpillFiles(t, s)
		if u := spill.Usage(); u.Used == 0 || u.Used != u.Stuck || u.Hanging != 1 {
			t.Errorf("usage %+v while the close hangs", u)
		}
		disk.thaw()
		synctest.Wait()
		budgettest.CheckUnused(t, m)
	})
}

// TestManyCallsThatHang has more uploads than may have hanging calls. The others are
// refused at once. When the disk thaws, uploads are accepted again.
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
				t.Errorf("the upload ended after %v with %v", o.at, o.err)
			}
		}
		if n := disk.hung.Load(); n != 8 {
			t.Errorf("%d calls were made, want 8", n)
		}
		for _, u := range first {
			if o := <-u; !errors.Is(o.err, budget.ErrDiskHangs) {
				t.Errorf("the upload ended with %v", o.err)
			}
		}
		disk.thaw()
		synctest.Wait()
		if o := <-background(t, m, bytes.NewReader(data), 0); o.err != nil {
			t.Errorf("after the disk thawed: %v", o.err)
		}
		budgettest.CheckUnused(t, m)
	})
}

// TestBodyOnDiskThatHangs reads bodies from a disk that hangs. Reads end, releases do not
// wait for each other, and calls that were given up do not write to the caller's buffer.
func TestBodyOnDiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, m := freeze(t, "")
		spill := m.Spill()
		ctx, share := admit(t, m)
		sink := &keeper{}
		if _, err := ziptest.Read(ctx, bytes.NewReader(ziptest.SpillArchives()["gaps between entries"]), share, sink, ziptest.Ordinary); err != nil {
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
			t.Errorf("reading and releasing took %v, want 30 s", d)
		}
		share.Close()
		if u := spill.Usage(); u.Stuck == 0 || u.Stuck != u.Used {
			t.Errorf("usage %+v while the disk hangs", u)
		}
		disk.thaw()
		synctest.Wait()
		for _, p := range givenUp {
			if !bytes.Equal(p, make([]byte, len(p))) {
				t.Error("a read that was given up has written to its caller's buffer")
			}
		}
		budgettest.CheckUnused(t, m)
	})
}

// TestDiskChecksThatHang: checks of the disk end in time, and do not pile up.
func TestDiskChecksThatHang(t *testing.T) {
	for op, check := range map[string]func(context.Context, *budget.Spill) error{
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
					err := check(t.Context(), spill)
					if d := time.Since(begun); !errors.Is(err, budget.ErrDiskHangs) || d > 31*time.Second || i > 8 && d > 0 {
						t.Errorf("check %d ended after %v with %v", i, d, err)
					}
				}
				if n := disk.hung.Load(); n > 8 {
					t.Errorf("%d calls were made", n)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if err := check(ctx, spill); err == nil {
					t.Error("the check does not end with its context")
				}
				disk.thaw()
				synctest.Wait()
				if err := check(t.Context(), spill); err != nil {
					t.Errorf("after the disk thawed: %v", err)
				}
			})
		})
	}
}
