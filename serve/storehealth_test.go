package serve

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"spillway/s3sink"
	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/s3fault"
	"spillway/testdata/s3server"
)

// startForHeartbeat starts a service behind a proxy to a real S3 server. Each heartbeat probes
// the store anew. Outcomes of uploads count for outcomeWindow.
func startForHeartbeat(t *testing.T, outcomeWindow time.Duration, args ...string) (*testService, *s3fault.Proxy, string) {
	t.Helper()
	server := s3server.Start(t)
	svc, proxy := startBehindProxy(t, server, overrides{
		probeLife:     time.Nanosecond,
		outcomeWindow: outcomeWindow,
		adjustStore:   func(cfg *s3sink.Config) { cfg.MaxBackoff = 10 * time.Millisecond },
	}, append([]string{"--spill-dir=" + t.TempDir()}, args...)...)
	go func() {
		for range svc.events { // nobody else takes them
		}
	}()
	return svc, proxy, svc.api()
}

// When a store accepts no bodies, the heartbeat names the error of the probe and of the failed
// uploads, and the balancer's heartbeat stays 200. Once the store works again, the next
// upload is stored and the heartbeat is ok.
func TestStoreThatTakesNoBodies(t *testing.T) {
	t.Parallel()
	_, proxy, api := startForHeartbeat(t, 0)
	if h := client.GetHeartbeat(t, api); h.Status != http.StatusOK {
		t.Fatalf("before: %+v", h)
	}
	proxy.InjectSome(func(call string) *s3fault.Fault {
		if strings.HasPrefix(call, "UploadPart") || strings.HasPrefix(call, "PutObject") {
			return &s3fault.Fault{Kind: s3fault.InternalError}
		}
		return nil
	})
	upload := func(want int) {
		t.Helper()
		zip := archive.PythonZipfile(archive.Samples(1)...)
		if a, err := client.Send(client.Within(t), api, "dev", bytes.NewReader(zip)); err != nil || a.Status != want {
			t.Fatalf("%+v, error %v; want %d", a, err, want)
		}
	}
	h := client.GetHeartbeat(t, api)
	if m := h.Message("storage"); h.Status != http.StatusInternalServerError || !strings.Contains(m, "UploadPart of ") || !strings.Contains(m, "failed: InternalError.") {
		t.Errorf("storage: %d %q", h.Status, m)
	}
	for i, level := range []string{"warning", "error"} {
		upload(http.StatusServiceUnavailable)
		h := client.GetHeartbeat(t, api)
		if m := h.Message("uploads"); h.Checks["uploads"] != level || !strings.Contains(m, fmt.Sprintf("%d because S3 failed", i+1)) || !strings.Contains(m, "PutObject: InternalError") {
			t.Errorf("after %d uploads: %s: %q", i+1, h.Checks["uploads"], m)
		}
	}
	if told := client.Get(t, api+"/__lbheartbeat__"); told.Status != http.StatusOK {
		t.Errorf("the balancer is told %d", told.Status)
	}
	proxy.InjectSome(nil)
	upload(http.StatusCreated)
	if h := client.GetHeartbeat(t, api); h.Status != http.StatusOK || h.Checks["uploads"] != "ok" {
		t.Errorf("well again: %+v", h)
	}
}

// When a store reads bodies at 30 KB/s, parts never arrive in time, and the heartbeat says so.
func TestStoreThatIsSlow(t *testing.T) {
	t.Parallel()
	_, proxy, api := startForHeartbeat(t, 0)
	proxy.SlowDown(30_000)
	h := client.GetHeartbeat(t, api)
	if m := h.Message("storage"); h.Status != http.StatusInternalServerError || !strings.Contains(m, "UploadPart of ") || !strings.Contains(m, "failed: no answer in time.") {
		t.Errorf("storage: %d %q", h.Status, m)
	}
	proxy.SlowDown(0)
	if h := client.GetHeartbeat(t, api); h.Status != http.StatusOK {
		t.Errorf("well again: %+v", h)
	}
}

// When slow clients hold all turns and others are refused for long, the heartbeat first warns
// and then is in error. It names the uploads that hold the turns.
func TestTurnsOfSlowClients(t *testing.T) {
	t.Parallel()
	svc, _, api := startForHeartbeat(t, 3*time.Second, "--max-uploads=2", "--room-wait=100ms")
	zip := archive.PythonZipfile(archive.Samples(2)...)
	slow := []*client.Stalled{client.SendHalf(t, api, zip), client.SendHalf(t, api, zip)}
	client.Until(t, "both have a turn", func() bool { return svc.budget.Usage().Uploads == 2 })
	ctx, end := context.WithCancel(t.Context())
	defer end()
	patient := client.Within(t)
	var refused sync.WaitGroup
	refused.Go(func() {
		for ctx.Err() == nil {
			if a, err := client.Send(patient, api, "dev", bytes.NewReader(zip)); err != nil || a.Status != http.StatusServiceUnavailable {
				t.Errorf("%+v, error %v", a, err)
				return
			}
		}
	})
	client.AwaitCheck(t, api, "uploads", "warning")
	h := client.AwaitCheck(t, api, "uploads", "error")
	if told := client.Get(t, api+"/__lbheartbeat__"); told.Status != http.StatusOK {
		t.Errorf("the balancer is told %d", told.Status)
	}
	end()
	refused.Wait()
	m := h.Message("uploads")
	for _, u := range slow {
		close(u.Rest)
		a := u.Wait(t)
		if a.Status != http.StatusCreated || !strings.Contains(m, fmt.Sprint(a.Upload.ID)) {
			t.Errorf("%+v; it had a turn, and the message was %q", a, m)
		}
	}
	if !strings.Contains(m, "every turn was taken") || !strings.Contains(m, "--max-uploads") || !strings.Contains(m, "--max-token-uploads") {
		t.Errorf("the message is %q", m)
	}
	client.AwaitCheck(t, api, "uploads", "ok")
}

// When a store answers again after an outage under load, every upload is stored, even if one
// request in ten fails.
func TestUploadsAfterAnOutage(t *testing.T) {
	t.Parallel()
	_, proxy, api := startForHeartbeat(t, 0)
	zip := archive.PythonZipfile(archive.Samples(4)...)
	upload := func(want int) {
		t.Helper()
		if a, err := client.Send(client.Within(t), api, "dev", bytes.NewReader(zip)); err != nil || a.Status != want {
			t.Errorf("%+v, error %v; want %d", a, err, want)
		}
	}
	down := &s3fault.Fault{Kind: s3fault.InternalError}
	proxy.InjectSome(func(string) *s3fault.Fault { return down })
	var load sync.WaitGroup
	for range 8 {
		load.Go(func() {
			for range 3 {
				upload(http.StatusServiceUnavailable)
			}
		})
	}
	load.Wait()
	n := 0
	proxy.InjectSome(func(string) *s3fault.Fault {
		if n++; n%10 == 5 {
			return down
		}
		return nil
	})
	for range 4 {
		upload(http.StatusCreated)
	}
}
