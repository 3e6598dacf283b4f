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

// ignoredNames is an archive of n empty files with names of 1,000 bytes. None is
// stored, and the answer lists all of them.
func ignoredNames(n int) []byte {
	entries := make([]archive.Entry, n)
	for i := range entries {
		entries[i].Name = fmt.Sprintf("%05d/%s/.DS_Store", i, strings.Repeat("d", 984))
	}
	return archive.Build(entries...)
}

// post sends an upload's head and content on a connection whose client reads
// nothing, with a receive buffer as small as the system allows. length is that of
// the body.
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

// settle waits until count uploads have that outcome, or until enough time has
// passed for memory to show.
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

// Answers that nobody reads belong to the memory budget, and keep no turn: the
// process stays within --memory and 130 MiB, and others are stored meanwhile.
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

// Uploads that are refused keep nothing of their archive while the rest of their
// body comes.
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
