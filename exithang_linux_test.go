package main

import (
	"net/http"
	"syscall"
	"testing"
	"time"
)

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
	wantExit(t, s.Daemon, statusUnfinished)
}
