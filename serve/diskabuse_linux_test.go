package serve

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/tmpfs"
)

// tended is a service that probes its disk. The probes are counted.
type tended struct {
	*testService
	disk countedDisk
}

// countedDisk counts the files that are created. Each probe creates one.
type countedDisk struct {
	budget.Disk
	made atomic.Int64
}

func (d *countedDisk) Create() (budget.DiskFile, error) {
	d.made.Add(1)
	return d.Disk.Create()
}

// awaitProbes waits for n more probes of the disk. Nobody else may create files meanwhile.
func (svc *tended) awaitProbes(t *testing.T, n int64) {
	t.Helper()
	seen := svc.disk.made.Load() + n
	client.Until(t, "the service probes its disk", func() bool { return svc.disk.made.Load() >= seen })
}

// connection is a connection that the server has accepted.
type connection struct {
	net.Conn
	r *bufio.Reader
}

func connect(t *testing.T, address string) *connection {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &connection{conn, bufio.NewReader(conn)}
	if status, says := c.get(t, "/__lbheartbeat__"); status != http.StatusOK {
		t.Fatalf("%d %s", status, says)
	}
	return c
}

func (c *connection) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	return c.do(t, "GET "+path+" HTTP/1.1\r\nHost: spillway\r\n\r\n", nil)
}

func (c *connection) post(t *testing.T, contentType string, form []byte) (status int, body string) {
	t.Helper()
	return c.do(t, fmt.Sprintf("POST /upload/ HTTP/1.1\r\nHost: spillway\r\nAuth-Token: dev\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", contentType, len(form)), form)
}

func (c *connection) do(t *testing.T, header string, body []byte) (status int, says string) {
	t.Helper()
	if _, err := io.WriteString(c, header+string(body)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// limitFiles leaves this process without a free file descriptor until lift is called.
func limitFiles(t *testing.T) (lift func()) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	}
}

// declare starts an upload with that Content-Length, sends a part of it, and returns the
// status line.
func declare(t *testing.T, address string, length int64, zip []byte) string {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(client.Within(t), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body, contentType := client.Form(zip)
	_, err = fmt.Fprintf(conn, "POST /upload/ HTTP/1.1\r\nHost: spillway\r\nAuth-Token: dev\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", contentType, length)
	if err == nil {
		_, err = conn.Write(body[:len(zip)])
	}
	if err != nil {
		t.Fatal(err)
	}
	status := make([]byte, len("HTTP/1.1 503"))
	if _, err := io.ReadFull(conn, status); err != nil {
		t.Fatal(err)
	}
	return string(status)
}

// Whatever clients do to the disk, they are refused, and the instance stays in the load
// balancer.
func TestClientsTakeNoInstanceOut(t *testing.T) {
	for _, c := range []struct {
		name string
		size int64 // of the disk
		args []string

		alone bool // it affects the whole process
		do    func(t *testing.T, svc *tended, api string)
	}{
		{"sizes that are only declared", 2400 << 20, []string{"--spill-min-free=1GiB"}, false, func(t *testing.T, svc *tended, _ string) {
			for range 3 {
				if got := declare(t, svc.public.address(), 2_000_000_000, archive.NeedsDisk(1, 900_000).Bytes()); got != "HTTP/1.1 503" {
					t.Errorf("answered %q", got)
				}
				<-svc.events
			}
		}},
		{"archives larger than the disk", 8 << 20, []string{"--spill-min-free=0"}, false, func(t *testing.T, svc *tended, api string) {
			zip := archive.NeedsDisk(1, 16<<20).Bytes()
			for range 3 {
				if a := client.MustSend(t, api, "dev", zip); a.Status != http.StatusServiceUnavailable {
					t.Errorf("%+v", a)
				}
				<-svc.events
			}
		}},
		{"archives down to the mark", 32 << 20, []string{"--spill-min-free=20MiB"}, false, func(t *testing.T, svc *tended, api string) {
			// It holds the space during the probes.
			u := client.SendHalf(t, api, archive.NeedsDisk(1, 18<<20).Bytes())
			svc.awaitSpilling(t, 1)
			for range 3 {
				if a := client.MustSend(t, api, "dev", archive.NeedsDisk(11, 12<<20).Bytes()); a.Status != http.StatusServiceUnavailable {
					t.Errorf("%+v", a)
				}
				<-svc.events
			}
			svc.awaitProbes(t, 10)
			close(u.Rest)
			u.Wait(t)
			<-svc.events
		}},
		{"all descriptors", 32 << 20, []string{"--spill-min-free=0"}, true, func(t *testing.T, svc *tended, _ string) {
			var conns []*connection
			for range 4 {
				conns = append(conns, connect(t, svc.public.address()))
			}
			defer limitFiles(t)()
			for _, c := range conns[1:] {
				body, contentType := client.Form(archive.NeedsDisk(1, 3<<20).Bytes())
				if status, says := c.post(t, contentType, body); status != http.StatusServiceUnavailable || !strings.Contains(says, "descriptors") {
					t.Errorf("%d %s", status, says)
				}
				<-svc.events
			}
			if _, says := conns[0].get(t, "/__heartbeat__"); !strings.Contains(says, `"files":"error"`) {
				t.Errorf("the heartbeat says %s", says)
			}
			svc.awaitProbes(t, 4)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !c.alone {
				t.Parallel()
			}
			disk, err := tmpfs.Mount(c.size)
			if err != nil {
				t.Logf("only with a disk of that size: %v", err)
				return
			}
			defer disk.Close()
			svc := &tended{}
			svc.testService = startService(t, overrides{
				pressureWindow: 3 * time.Second,
				openDisk: func(path string) (_ budget.Disk, err error) {
					svc.disk.Disk, err = budget.OpenDisk(path)
					return &svc.disk, err
				},
			}, append(c.args, "--spill-dir="+disk.Path)...)
			defer svc.watch(t)()
			api := svc.api()
			c.do(t, svc, api)
			svc.awaitProbes(t, 4)
			if got := client.Get(t, api+"/__lbheartbeat__"); got.Status != http.StatusOK {
				t.Errorf("the balancer is told %d", got.Status)
			}
			if state, says := client.CheckState(t, api, "spill"); state != "ok" {
				t.Errorf("the heartbeat says %s: %s", state, says)
			}
		})
	}
}
