package serve

import (
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/nightly"
)

// TestManySpillAtOnce has many uploads that need the disk, which has room for four, and
// four clients that take it and then hardly send anything.
func TestManySpillAtOnce(t *testing.T) {
	t.Parallel()
	svc := startService(t, overrides{}, "--spill-dir="+t.TempDir(), "--spill-min-free=0", "--spill-quota=13MiB", "--max-uploads=64", "--memory=256MiB")
	const size = 3_000_000
	uploads := nightly.Pick(24, 64)
	stop := make(chan struct{})
	slow := make(chan error, 4)
	for i := range uint64(4) {
		body, contentType := client.Form(archive.NeedsDisk(5000+10*i, size).Bytes())
		go func() { slow <- trickle(t, svc.public.address(), contentType, body, len(body)/2, stop) }()
	}
	svc.awaitSpilling(t, 4)
	type result struct {
		client.Answer
		archive archive.Archive
		err     error
	}
	results := make(chan result, uploads)
	for i := range uint64(uploads) {
		a := archive.NeedsDisk(10*i, size)
		go func() {
			got, err := client.SendWhole(client.Within(t), svc.api(), "dev", a.Bytes())
			results <- result{got, a, err}
		}()
	}
	stored := 0
	for range uploads {
		switch r := <-results; {
		case r.err != nil:
			t.Error(r.err)
		case r.Status == http.StatusCreated:
			stored++
			for _, e := range r.archive.Entries {
				svc.WantEntry(t, e)
			}
		case r.Status != http.StatusServiceUnavailable:
			t.Errorf("%+v", r.Answer)
		}
	}
	close(stop)
	for range 4 {
		if err := <-slow; err != nil {
			t.Error(err)
		}
	}
	for range uploads + 4 {
		<-svc.events
	}
	if stored == 0 {
		t.Error("none was stored")
	}
	t.Logf("%d of %d were stored", stored, uploads)
	if u := svc.budget.Spill().Usage(); u.Used != 0 || u.Files != 0 || u.Waiting != 0 {
		t.Errorf("the disk is still in use: %+v", u)
	}
	if u := svc.budget.Usage(); u.Uploads != 0 || u.Leased != 0 || u.Held != 0 || u.Waiting != 0 {
		t.Errorf("memory is still in use: %+v", u)
	}
}

// awaitSpilling waits until n files are on disk.
func (svc *testService) awaitSpilling(t *testing.T, n int) {
	t.Helper()
	client.Until(t, fmt.Sprintf("%d files are on disk", n), func() bool { return svc.budget.Spill().Usage().Files >= n })
}

// trickle sends the first n bytes of a body at once, and then one every two seconds until
// stop, or until the server closes the connection.
func trickle(t *testing.T, address, contentType string, body []byte, n int, stop <-chan struct{}) error {
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /upload/ HTTP/1.1\r\nHost: spillway\r\nAuth-Token: dev\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", contentType, len(body))
	if err == nil {
		_, err = conn.Write(body[:n])
	}
	if err != nil {
		return err
	}
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := conn.Write(body[n : n+1]); err != nil {
				return nil // the server has closed: it has had its say
			}
			n++
		case <-stop:
			return nil
		}
	}
}
