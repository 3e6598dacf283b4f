package e2e

import (
	"net/http"
	"syscall"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/loopfs"
)

// A process whose disk calls hang ends its uploads and logs that it exits. The kernel keeps it
// until the disk thaws.
func TestExitWithDiskThatHangs(t *testing.T) {
	t.Parallel()
	disk := loopfs.MountForTest(t)
	if disk == nil {
		return
	}
	s := startEmbedded(t, "--spill-dir="+disk.Path, "--spill-min-free=0", "--drain-timeout=500ms")
	zip := archive.NeedsDisk(1, 3<<20).Bytes()
	u := client.SendHalf(t, s.API, zip)
	awaitDisk(t, s.PID(), disk.Path, int64(len(zip)/4))
	loopfs.FreezeForTest(t, disk)
	close(u.Rest)
	if err := s.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if a := u.Wait(t); a.Status != http.StatusServiceUnavailable {
		t.Errorf("%+v", a)
	}
	ended := time.Now()
	awaitLog(t, s.Daemon, "spillway: 1 uploads did not finish in time")
	if d := time.Since(ended); d > 10*time.Second {
		t.Errorf("the exit takes %v", d)
	}
	loopfs.ThawForTest(t, disk)
	wantExit(t, s.Daemon, statusUnfinished)
}
