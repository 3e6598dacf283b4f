package serve

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/client"
)

// A disk that fails once makes the heartbeat warn, and a disk that fails three times takes the
// instance out of the load balancer. Uploads under way are stored. After a quiet time the
// instance comes back. Uploads that are refused for their size count for nothing.
func TestPressure(t *testing.T) {
	t.Parallel()
	disk := &faultyDisk{}
	svc := startService(t, overrides{
		pressureWindow: 15 * time.Second,
		openDisk: func(path string) (_ budget.Disk, err error) {
			disk.Disk, err = budget.OpenDisk(path)
			return disk, err
		},
	}, "--spill-dir="+t.TempDir(), "--spill-min-free=0", "--spill-upload-quota=20MiB")
	api := svc.api()
	want := func(when string, balancer int, spill string) {
		t.Helper()
		if told := client.Get(t, api+"/__lbheartbeat__"); told.Status != balancer {
			t.Errorf("%s the balancer is told %d, want %d", when, told.Status, balancer)
		}
		if state, message := client.CheckState(t, api, "spill"); state != spill {
			t.Errorf("%s the spill check is %q (%s), want %q", when, state, message, spill)
		}
	}
	for range 4 {
		if a, err := client.Send(client.Within(t), api, "dev", archive.NeedsDisk(1, 30<<20).Reader()); err != nil || a.Status != http.StatusRequestEntityTooLarge {
			t.Fatalf("%+v, error %v", a, err)
		}
	}
	want("after archives that are too large", http.StatusOK, "ok")
	underWay := client.SendHalfAndWait(t, api, archive.PythonZipfile(archive.Samples(5)...))
	for i, state := range []struct {
		balancer int
		spill    string
	}{{http.StatusOK, "warning"}, {http.StatusOK, "warning"}, {http.StatusServiceUnavailable, "error"}} {
		disk.fail("allocate", syscall.ENOSPC)
		if a, err := client.Send(client.Within(t), api, "dev", archive.NeedsDisk(1, 3<<20).Reader()); err != nil || a.Status != http.StatusServiceUnavailable {
			t.Fatalf("%+v, error %v", a, err)
		}
		disk.fail("", nil)
		want(fmt.Sprintf("after %d full disks", i+1), state.balancer, state.spill)
	}
	close(underWay.Rest)
	if a := underWay.Wait(t); a.Status != http.StatusCreated {
		t.Errorf("what was under way: %+v", a)
	}
	// The instance still accepts uploads: the balancer decides where to send them.
	if a, err := client.Send(client.Within(t), api, "dev", archive.NeedsDisk(11, 3<<20).Reader()); err != nil || a.Status != http.StatusCreated {
		t.Errorf("under pressure: %+v, error %v", a, err)
	}
	defer svc.watch(t)() // not before: what the service sees itself would count as well
	client.AwaitStatus(t, api+"/__lbheartbeat__", http.StatusOK)
	want("with room again", http.StatusOK, "ok")
}
