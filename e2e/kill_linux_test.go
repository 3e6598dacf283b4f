package e2e

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/s3server"
	"spillway/testdata/tmpfs"
)

const (
	killsVariable = "SPILLWAY_KILLS" // how often TestKilled kills; without it, someKills times
	someKills     = 3

	// longestLife is the longest time from the first byte of an upload to the kill. Some
	// uploads have been answered by then.
	longestLife = 1500 * time.Millisecond

	// sweepAge is the shortest that --upload-timeout=1s allows.
	sweepAge = 2 * time.Second

	// Uploads are sent in pieces of pieceSize bytes, one each pieceTime.
	pieceSize = 32 << 10
	pieceTime = 2500 * time.Microsecond
)

// TestKilled kills the program at random moments of two uploads: one needs the disk, the
// other is stored in parts. `make kill` kills it more often with versitygw.
func TestKilled(t *testing.T) {
	t.Parallel()
	s3server.Each(t, func(t *testing.T, k s3server.Kind) {
		kills := someKills
		if text := os.Getenv(killsVariable); text != "" && k.Name == s3server.Versitygw.Name {
			var err error
			if kills, err = strconv.Atoi(text); err != nil {
				t.Fatal(err)
			}
		}
		testKilled(t, newBackendOf(t, k), kills)
	})
}

func testKilled(t *testing.T, backend backend, kills int) {
	folder, mounted := t.TempDir(), false
	if disk, err := tmpfs.Mount(64 << 20); err != nil {
		t.Logf("on a disk that others use as well: %v", err)
	} else {
		folder, mounted = disk.Path, true
		defer func() {
			if err := disk.Close(); err != nil {
				t.Error(err)
			}
		}()
	}
	run := func(args ...string) system {
		return backend.start(t, checked, append([]string{
			"--memory=64MiB", "--s3-part-size=5MiB", "--max-expanded-size=40GiB", "--spill-dir=" + folder, "--spill-min-free=0",
		}, args...)...)
	}
	empty := freeSpace(t, folder)
	random := rand.New(rand.NewPCG(1, 2))
	var uploads []archive.Archive
	visible, left, spilling := 0, 0, 0
	for n := range kills {
		s := run()
		held := archive.NeedsDisk(uint64(10*n), 14_000_000)
		content := archive.Pattern{Block: archive.Noise(uint64(n), 1<<20), Times: 14}
		parts := archive.Archive{Entries: []archive.Entry{{Name: archive.SymbolsName(uint64(100_000 + n)), Large: &content}}}
		uploads = append(uploads, held, parts)

		var sending sync.WaitGroup
		for _, a := range []archive.Archive{held, parts} {
			sending.Go(func() {
				// The kill decides how it ends.
				_, _ = client.Send(t.Context(), s.API, "dev", newPaced(a.Reader()))
			})
		}
		moment := time.NewTimer(time.Duration(random.Int64N(int64(longestLife))))
		<-moment.C
		switch used, err := onDisk(s.PID(), folder); {
		case err != nil:
			t.Fatal(err)
		case used > 0:
			spilling++
		}
		kill(t, s.Daemon)
		sending.Wait()

		if names, err := os.ReadDir(folder); len(names) > 0 || err != nil {
			t.Errorf("kill %d: the spill folder has %v: %v", n, names, err)
		}
		if free := freeSpace(t, folder); mounted && free != empty {
			t.Errorf("kill %d: %d bytes of the disk are lost", n, empty-free)
		}
		s.wantWhole(t, uploads)
		visible, left = len(s.Keys(t)), len(s.Store.Uploads(t, s.BucketName))
	}
	t.Logf("after %d kills, %d of them while the disk was in use: %d objects are visible, %d uploads unfinished", kills, spilling, visible, left)

	// The next process sweeps what is old enough when it starts. The store's clock counts in
	// seconds.
	<-time.NewTimer(sweepAge + time.Second).C
	s := run("--upload-timeout=1s", fmt.Sprint("--sweep-age=", sweepAge))
	awaitSwept(t, s)
	kill(t, s.Daemon)

	s = run()
	var all []archive.Entry
	for _, a := range uploads {
		all = append(all, a.Entries...)
		if got, err := client.Send(client.Within(t), s.API, "dev", a.Reader()); err != nil || got.Status != http.StatusCreated {
			t.Errorf("again: %+v, error %v", got, err)
		}
	}
	s.WantEntries(t, all)
	s.WantNoUploads(t)
}

// paced is a reader that yields a piece at each tick.
type paced struct {
	r    io.Reader
	tick *time.Ticker
}

func newPaced(r io.Reader) *paced { return &paced{r, time.NewTicker(pieceTime)} }

func (p *paced) Read(b []byte) (int, error) {
	<-p.tick.C
	return p.r.Read(b[:min(len(b), pieceSize)])
}

// kill ends a process with SIGKILL, as the kernel does when memory is short.
func kill(t *testing.T, d *daemon.Daemon) {
	t.Helper()
	if err := d.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	if _, err := d.Wait(client.Within(t)); err != nil {
		t.Fatal(err)
	}
}

// wantWhole checks that every visible object is a whole entry of one of the uploads.
func (s system) wantWhole(t *testing.T, uploads []archive.Archive) {
	t.Helper()
	keys := s.Keys(t)
	for _, a := range uploads {
		for _, e := range a.Entries {
			if i := slices.Index(keys, "v1/"+e.Name); i >= 0 {
				keys = slices.Delete(keys, i, i+1)
				s.WantEntry(t, e)
			}
		}
	}
	if len(keys) > 0 {
		t.Errorf("visible, and from nowhere: %q", keys)
	}
}

// awaitSwept waits until the program has aborted all unfinished uploads.
func awaitSwept(t *testing.T, s system) {
	t.Helper()
	client.Until(t, "no upload is unfinished", func() bool { return len(s.Store.Uploads(t, s.BucketName)) == 0 })
}

// freeSpace returns how many bytes are free in the file system of a folder.
func freeSpace(t *testing.T, folder string) int64 {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bfree) * s.Bsize
}
