package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/loopfs"
	"spillway/testdata/tmpfs"
)

// watch starts the probes and the janitor, as run does. stop ends them.
func (svc *testService) watch(t *testing.T) (stop func()) {
	t.Helper()
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	var watching sync.WaitGroup
	watching.Go(func() { svc.pressure.Watch(ctx) })
	svc.janitor.start(ctx)
	return func() {
		end()
		watching.Wait()
	}
}

// A spill disk freezes while uploads that need it have every turn. They end. Others take
// their turns and are stored. The balancer and the heartbeat say what is wrong. When the
// disk thaws, all is as before.
func TestDiskThatFreezes(t *testing.T) {
	disk := loopfs.MountForTest(t)
	if disk == nil {
		return
	}
	const turns = 8
	svc := startService(t, overrides{pressureWindow: 3 * time.Second, spillHang: 2 * time.Second}, "--spill-dir="+disk.Path, "--spill-min-free=0", "--max-uploads=8", "--memory=512MiB", "--upload-timeout=30s", "--sweep-age=1h")
	defer svc.watch(t)()
	api := svc.api()

	var archives [turns][]byte
	for i := range archives {
		archives[i] = archive.NeedsDisk(uint64(10*i), 3<<20).Bytes()
	}
	var held []*client.Stalled
	for _, zip := range archives {
		held = append(held, client.SendHalf(t, api, zip))
	}
	svc.awaitSpilling(t, turns)
	loopfs.FreezeForTest(t, disk)
	frozen := time.Now()
	for _, u := range held {
		close(u.Rest)
	}
	for _, u := range held {
		if a := u.Wait(t); a.Status != http.StatusServiceUnavailable || a.RetryAfter == "" {
			t.Errorf("an upload on the disk: %+v", a)
		}
	}
	if d := time.Since(frozen); d > time.Minute {
		t.Errorf("the last of them ended after %v", d)
	}
	for range turns {
		<-svc.events
	}
	if u := svc.budget.Usage(); u.Uploads != 0 || u.Leased != 0 || u.Held != 0 {
		t.Errorf("their turns are not given back: %+v", u)
	}
	if u := svc.budget.Spill().Usage(); u.Hanging == 0 || u.Used == 0 || u.Stuck != u.Used {
		t.Errorf("what the disk may still have is not counted: %+v", u)
	}
	client.AwaitStatus(t, api+"/__lbheartbeat__", http.StatusServiceUnavailable)
	files := archive.Samples(1)
	for range 3 {
		if a := client.MustSend(t, api, "dev", archive.PythonZipfile(files...)); a.Status != http.StatusCreated {
			t.Errorf("an ordinary upload: %+v", a)
		}
		<-svc.events
	}
	svc.WantStored(t, "v1/", files)
	if state, says := client.CheckState(t, api, "spill"); state != "error" || !strings.Contains(says, "calls hang") || !strings.Contains(says, "disk hangs") {
		t.Errorf("the heartbeat says %s: %s", state, says)
	}

	loopfs.ThawForTest(t, disk)
	client.AwaitStatus(t, api+"/__lbheartbeat__", http.StatusOK)
	client.Until(t, "the disk is not in use", func() bool { u := svc.budget.Spill().Usage(); return u.Used == 0 && u.Files == 0 && u.Hanging == 0 })
	a := archive.NeedsDisk(100, 3<<20)
	if got, err := client.Send(client.Within(t), api, "dev", a.Reader()); err != nil || got.Status != http.StatusCreated {
		t.Errorf("once it has thawed: %+v, error %v", got, err)
	}
	<-svc.events
	svc.wantRoom(t, "once it has thawed")
	client.Until(t, "the janitor works again", func() bool { state, _ := client.CheckState(t, api, "janitor"); return state == "ok" })
}

// A spill disk that breaks takes the instance out, also if nobody uses the disk. Once it is
// mended, the instance comes back.
func TestDiskThatBreaksUnseen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		set  func(t *testing.T, disk *tmpfs.FS, broken bool) error
	}{
		{"read-only", func(t *testing.T, disk *tmpfs.FS, broken bool) error {
			return disk.Remount(t.Context(), map[bool]string{true: "ro", false: "rw"}[broken])
		}},
		{"no inodes", func(t *testing.T, disk *tmpfs.FS, broken bool) error {
			var err error
			for i := 0; err == nil; i++ {
				name := filepath.Join(disk.Path, fmt.Sprint("other", i))
				if broken {
					err = os.WriteFile(name, nil, 0o600)
				} else {
					err = os.Remove(name)
				}
			}
			if errors.Is(err, syscall.ENOSPC) || errors.Is(err, fs.ErrNotExist) {
				return nil // that was the last one
			}
			return err
		}},
		{"full of what others wrote", func(t *testing.T, disk *tmpfs.FS, broken bool) error {
			name := filepath.Join(disk.Path, "other")
			if broken {
				return os.WriteFile(name, make([]byte, 30<<20), 0o600)
			}
			return os.Remove(name)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			disk, err := tmpfs.Mount(32<<20, "nr_inodes=20")
			if err != nil {
				t.Logf("only with a disk that can be broken: %v", err)
				return
			}
			defer disk.Close()
			svc := startService(t, overrides{pressureWindow: 2 * time.Second}, "--spill-dir="+disk.Path, "--spill-min-free=4MiB")
			defer svc.watch(t)()
			api := svc.api()
			if state, says := client.CheckState(t, api, "spill"); state != "ok" {
				t.Fatalf("in the beginning the heartbeat says %s: %s", state, says)
			}
			// A write in progress keeps a file system from becoming read-only.
			client.Until(t, "the disk breaks", func() bool { return c.set(t, disk, true) == nil })
			client.AwaitStatus(t, api+"/__lbheartbeat__", http.StatusServiceUnavailable)
			if state, _ := client.CheckState(t, api, "spill"); state != "error" {
				t.Errorf("the heartbeat says %s", state)
			}
			if a := client.MustSend(t, api, "dev", archive.PythonZipfile(archive.Samples(1)...)); a.Status != http.StatusCreated {
				t.Errorf("an ordinary upload: %+v", a)
			}
			<-svc.events
			if err := c.set(t, disk, false); err != nil {
				t.Fatal(err)
			}
			client.AwaitStatus(t, api+"/__lbheartbeat__", http.StatusOK)
			if state, says := client.CheckState(t, api, "spill"); state != "ok" {
				t.Errorf("once it is mended the heartbeat says %s: %s", state, says)
			}
		})
	}
}
