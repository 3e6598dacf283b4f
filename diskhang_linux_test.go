package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	"spillway/testdata/loopfs"
	"spillway/testdata/tmpfs"
)

// mountLoop mounts a file system that can be frozen. Where none can be mounted,
// stream's tests alone have disks that hang, and frozen is nil.
func mountLoop(t *testing.T) (frozen *loopfs.FS) {
	t.Helper()
	disk, err := loopfs.Mount(256 << 20)
	if err != nil {
		t.Logf("only with a file system that can be frozen: %v", err)
		return nil
	}
	t.Cleanup(func() {
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	return disk
}

// freeze freezes a file system, at the latest until the test ends.
func freeze(t *testing.T, disk *loopfs.FS) {
	t.Helper()
	t.Cleanup(func() { thaw(t, disk) })
	if err := disk.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func thaw(t *testing.T, disk *loopfs.FS) {
	t.Helper()
	if err := disk.Thaw(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// beat is what the heartbeat says of one check.
func beat(t *testing.T, api, check string) (state, message string) {
	t.Helper()
	var b struct {
		Checks  map[string]string
		Details map[string]struct{ Messages map[string]string }
	}
	if err := json.Unmarshal(get(t, api+"/__heartbeat__").body, &b); err != nil {
		t.Fatal(err)
	}
	return b.Checks[check], b.Details[check].Messages["spillway."+check]
}

// watch has the service look after itself, as run does, until it is stopped.
func (in *inside) watch(t *testing.T) (stop func()) {
	t.Helper()
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	var watching sync.WaitGroup
	watching.Go(func() { in.pressure.Watch(ctx) })
	in.janitor.start(ctx)
	return func() {
		end()
		watching.Wait()
	}
}

// until waits until something holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	ctx := within(t)
	for !holds() {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

// A spill disk that freezes while uploads that need it have every turn: they end
// at their time-out, others take their turns and are stored, the balancer and the
// heartbeat are told, and when the disk thaws, all is as before.
func TestDiskThatFreezes(t *testing.T) {
	disk := mountLoop(t)
	if disk == nil {
		return
	}
	const turns = 8
	in := startInside(t, func(s *serveSettings) {
		s.pressureWindow = 3 * time.Second
		s.spillHang = time.Second
	}, "--spill-dir="+disk.Path, "--spill-min-free=0", "--max-uploads=8", "--upload-timeout=3s", "--sweep-age=1h")
	defer in.end(t)
	defer in.watch(t)()
	s := system{s3: in.s3, bucket: in.bucket}
	api := "http://" + in.public.address()

	var held []*stalled
	for i := range uint64(turns) {
		held = append(held, stallAt(t, api, needsDisk(10*i, 3<<20).Bytes()))
	}
	in.awaitSpilling(t, turns)
	freeze(t, disk)
	frozen := time.Now()
	for _, u := range held {
		close(u.rest)
	}
	for _, u := range held {
		if a := u.wait(t); a.status != http.StatusServiceUnavailable || !strings.Contains(a.Error, "--upload-timeout") {
			t.Errorf("an upload on the disk: %+v", a)
		}
	}
	if d := time.Since(frozen); d > 20*time.Second {
		t.Errorf("the last of them ended after %v", d)
	}
	for range turns {
		<-in.events
	}
	if u := in.memory.Usage(); u.Uploads != 0 || u.Leased != 0 || u.Held != 0 {
		t.Errorf("their turns are not given back: %+v", u)
	}
	if u := in.spill.Usage(); u.Hanging == 0 || u.Used == 0 || u.Stuck != u.Used {
		t.Errorf("what the disk may still have is not counted: %+v", u)
	}
	awaitAnswer(t, api+"/__lbheartbeat__", http.StatusServiceUnavailable)
	files := archive.Samples(1)
	for range 3 {
		if a := mustSend(t, api, "dev", archive.PythonZipfile(files...)); a.status != http.StatusCreated {
			t.Errorf("an ordinary upload: %+v", a)
		}
		<-in.events
	}
	s.wantStored(t, "v1/", files)
	if state, says := beat(t, api, "spill"); state != "error" || !strings.Contains(says, "calls hang") || !strings.Contains(says, "disk hangs") {
		t.Errorf("the heartbeat says %s: %s", state, says)
	}

	thaw(t, disk)
	awaitAnswer(t, api+"/__lbheartbeat__", http.StatusOK)
	until(t, "the disk is not in use", func() bool { u := in.spill.Usage(); return u.Used == 0 && u.Files == 0 && u.Hanging == 0 })
	a := needsDisk(100, 3<<20)
	if got, err := send(within(t), api, "dev", a.Reader()); err != nil || got.status != http.StatusCreated {
		t.Errorf("once it has thawed: %+v, error %v", got, err)
	}
	<-in.events
	in.wantRoom(t, "once it has thawed")
	until(t, "the janitor works again", func() bool { state, _ := beat(t, api, "janitor"); return state == "ok" })
}

// stallAt is stall of a service.
func stallAt(t *testing.T, api string, zip []byte) *stalled {
	t.Helper()
	u := &stalled{rest: make(chan struct{}), answer: make(chan uploadAnswer, 1), err: make(chan error, 1)}
	content := io.MultiReader(bytes.NewReader(zip[:len(zip)/2]), &gate{ctx: within(t), open: u.rest}, bytes.NewReader(zip[len(zip)/2:]))
	go func() {
		a, err := send(within(t), api, "dev", content)
		u.answer <- a
		u.err <- err
	}()
	return u
}

// A process whose calls hang ends its uploads, says so and exits as far as the
// kernel lets it: it is gone when the disk has thawed.
func TestExitWithDiskThatHangs(t *testing.T) {
	disk := mountLoop(t)
	if disk == nil {
		return
	}
	s := startEmbedded(t, "--spill-dir="+disk.Path, "--spill-min-free=0", "--drain-timeout=500ms")
	zip := needsDisk(1, 3<<20).Bytes()
	u := stallAt(t, s.API, zip)
	awaitDisk(t, s.PID(), disk.Path, int64(len(zip)/4))
	freeze(t, disk)
	close(u.rest)
	if err := s.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if a := u.wait(t); a.status != http.StatusServiceUnavailable {
		t.Errorf("%+v", a)
	}
	ended := time.Now()
	awaitLog(t, s.Daemon, "spillway: 1 uploads did not finish in time")
	if d := time.Since(ended); d > 10*time.Second {
		t.Errorf("the exit takes %v", d)
	}
	thaw(t, disk)
	wantExit(t, s.Daemon, exitUnfinished)
}

// A spill disk that breaks while nobody uses it, and is mended.
func TestDiskThatBreaksUnseen(t *testing.T) {
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
			disk, err := tmpfs.Mount(32<<20, "nr_inodes=20")
			if err != nil {
				t.Logf("only with a disk that can be broken: %v", err)
				return
			}
			defer disk.Close()
			in := startInside(t, func(s *serveSettings) { s.pressureWindow = 2 * time.Second }, "--spill-dir="+disk.Path, "--spill-min-free=4MiB")
			defer in.end(t)
			defer in.watch(t)()
			api := "http://" + in.public.address()
			if state, says := beat(t, api, "spill"); state != "ok" {
				t.Fatalf("in the beginning the heartbeat says %s: %s", state, says)
			}
			// A write that is under way keeps a file system from becoming read-only.
			until(t, "the disk breaks", func() bool { return c.set(t, disk, true) == nil })
			awaitAnswer(t, api+"/__lbheartbeat__", http.StatusServiceUnavailable)
			if state, _ := beat(t, api, "spill"); state != "error" {
				t.Errorf("the heartbeat says %s", state)
			}
			if a := mustSend(t, api, "dev", archive.PythonZipfile(archive.Samples(1)...)); a.status != http.StatusCreated {
				t.Errorf("an ordinary upload: %+v", a)
			}
			<-in.events
			if err := c.set(t, disk, false); err != nil {
				t.Fatal(err)
			}
			awaitAnswer(t, api+"/__lbheartbeat__", http.StatusOK)
			if state, says := beat(t, api, "spill"); state != "ok" {
				t.Errorf("once it is mended the heartbeat says %s: %s", state, says)
			}
		})
	}
}
