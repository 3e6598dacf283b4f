package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/nightly"
)

// ignoredNames returns an archive of n empty files with names of 1,000 bytes. None is
// stored, and the answer lists all of them.
func ignoredNames(n int) []byte {
	entries := make([]archive.Entry, n)
	for i := range entries {
		entries[i].Name = fmt.Sprintf("%05d/%s/.DS_Store", i, strings.Repeat("d", 984))
	}
	return archive.Build(entries...)
}

// post sends the header of an upload and a part of its body. The client reads nothing, and
// its receive buffer is as small as the system allows. length is the Content-Length.
func post(t *testing.T, d *daemon.Daemon, contentType string, length int, content []byte) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(d.API, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "POST /upload/ HTTP/1.1\r\nHost: x\r\nAuth-Token: dev\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", contentType, length)
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = conn.Write(content) // fails where the test ends before
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-sent
	})
	return conn
}

// settle waits until count uploads have that outcome, for 5 s at most: memory has been
// taken by then.
func settle(t *testing.T, d *daemon.Daemon, outcome string, count int) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < 5*time.Second; <-tick.C {
		if strings.Count(d.Log(), `"outcome":"`+outcome+`"`) >= count {
			return
		}
	}
}

// Unread answers count against the memory budget and hold no turn. The process stays within
// --memory + 130 MiB, and other uploads are stored meanwhile.
func TestAnswersThatNobodyReads(t *testing.T) {
	const clients, memory = 14, 64
	names := nightly.Pick(10_000, 20_000)
	d := startMeasuredAlone(t, fmt.Sprintf("--memory=%dMiB", memory))
	body, contentType := client.Form(ignoredNames(names))
	for range clients {
		post(t, d, contentType, len(body), body)
	}
	awaitLog(t, d, `"outcome":"stored"`)
	settle(t, d, "stored", clients)
	began := time.Now()
	a, err := client.SendWhole(client.Within(t), d.API, "dev", ignoredNames(10))
	if err != nil || a.Status != http.StatusCreated || len(a.Upload.IgnoredKeys) != 10 {
		t.Errorf("%+v, error %v", a, err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("another upload took %v", took)
	}
	wantWithinBudget(t, d, memory)
	all, err := d.Metrics(client.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	used := 0.0
	for name, value := range all {
		if strings.HasPrefix(name, "spillway_memory_used_bytes") {
			used += value
		}
	}
	if used == 0 || used > memory<<20 {
		t.Errorf("%v bytes of the budget are in use", used)
	}
}

// Refused uploads hold no memory while the rest of their body arrives.
func TestRefusedUploadsThatGoOn(t *testing.T) {
	const clients, names, memory = 20, 10_000, 64
	d := startMeasuredAlone(t, fmt.Sprintf("--memory=%dMiB", memory))
	zip := ignoredNames(names)
	zip = zip[:bytes.Index(zip, []byte("PK\x01\x02"))] // without the central directory
	body, contentType := client.Form(append(zip, archive.Build(archive.Entry{Name: "no symbol key"})...))
	for range clients {
		post(t, d, contentType, 2*len(body), body)
	}
	awaitLog(t, d, `"outcome":"refused"`)
	settle(t, d, "refused", clients)
	wantWithinBudget(t, d, memory)
}
