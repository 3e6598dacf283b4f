package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/daemon"
)

// outsideBudget is the memory that the process may use on top of --memory, in bytes.
const outsideBudget = 130 << 20

// wantWithinBudget checks the peak resident memory of a process. memory is its --memory in
// MiB.
func wantWithinBudget(t *testing.T, d *daemon.Daemon, memory int64) {
	t.Helper()
	u, err := daemon.UsageOf(d.PID())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("peak of %d MiB resident, %d now", u.Peak>>20, u.Resident>>20)
	if u.Peak > memory<<20+outsideBudget {
		t.Errorf("%d MiB were resident, more than --memory=%dMiB and %d MiB", u.Peak>>20, memory, outsideBudget>>20)
	}
}

// needFiles fails the test if the system allows fewer than n open files, in this process
// and in the one under test.
func needFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max < n {
		t.Fatalf("this test needs %d open files, and the hard limit is %d: raise it with ulimit -Hn", n, limit.Max)
	}
}

// crowd opens connections and sends the same bytes on each. The test closes them when it
// ends. The server may close them earlier.
func crowd(t *testing.T, address string, count int, sends []byte) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, count)
	var opened atomic.Int64
	var dialing sync.WaitGroup
	for range 8 {
		dialing.Go(func() {
			for n := opened.Add(1); n <= int64(count); n = opened.Add(1) {
				conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
				if err != nil {
					t.Errorf("dialing: %v", err)
					return
				}
				t.Cleanup(func() { _ = conn.Close() })
				_, _ = conn.Write(sends) // fails once the server has closed
				conns[n-1] = conn
			}
		})
	}
	dialing.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return conns
}

// probe sends GET requests to url until stop, each on a new connection, and returns how long
// the slowest answer took. An answer other than 200 is an error, and so are two requests in
// a row without an answer. A single one may be the fault of this process, if it is short of
// CPU: to the server, a request that comes late looks like a stalled connection.
func probe(t *testing.T, url string) (stop func() (slowest time.Duration, answers int)) {
	t.Helper()
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	var slowest time.Duration
	answers, failures := 0, 0 // failures in a row
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			default:
			}
			began := time.Now()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := client.Do(r)
			if failures++; err != nil && failures < 2 {
				t.Logf("a probe failed after %v: %v", time.Since(began), err)
				continue
			}
			if err != nil {
				t.Errorf("two probes in a row failed, the last after %v: %v", time.Since(began), err)
				return
			}
			failures = 0
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("a probe is answered with %s", resp.Status)
			}
			slowest = max(slowest, time.Since(began))
			answers++
		}
	}()
	return func() (time.Duration, int) {
		close(done)
		<-ended
		return slowest, answers
	}
}

// unfinishedHeader returns the start of a request: n bytes of a header that does not end.
func unfinishedHeader(n int) []byte {
	var b bytes.Buffer
	b.WriteString("POST /upload/ HTTP/1.1\r\nHost: x\r\n")
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "X-%d: %s\r\n", i, strings.Repeat("a", 50))
	}
	return b.Bytes()
}

// unfinishedHello returns TLS records with the first n bytes of a ClientHello of 64 KiB.
func unfinishedHello(n int) []byte {
	message := append([]byte{1, 0, 0xff, 0xf0}, make([]byte, n)...)
	var b bytes.Buffer
	for len(message) > 0 {
		piece := message[:min(len(message), 1<<14)]
		b.Write([]byte{22, 3, 1})
		_ = binary.Write(&b, binary.BigEndian, uint16(len(piece))) // it cannot fail
		b.Write(piece)
		message = message[len(piece):]
	}
	return b.Bytes()
}

// With 5,000 connections that never complete a request, the process stays within --memory +
// 130 MiB and answers health probes at once.
func TestConnectionsWithoutARequest(t *testing.T) {
	const connections, memory = 5000, 64
	needFiles(t, connections+500)
	limit := fmt.Sprintf("--memory=%dMiB", memory)
	plain := func(t *testing.T) *daemon.Daemon { return startMeasuredAlone(t, limit) }
	https := func(t *testing.T) *daemon.Daemon { return startHTTPS(t, limit) }
	for _, c := range []struct {
		name  string
		start func(*testing.T) *daemon.Daemon
		admin bool
		sends []byte
	}{
		{"silent", plain, false, nil},
		{"a header of 62 KB", plain, false, unfinishedHeader(62_000)},
		{"a header of nearly 16 KiB", plain, false, unfinishedHeader(15_800)},
		{"idle after a request", plain, false, []byte("GET /__version__ HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"refused, with an unfinished body", plain, false, append(unfinishedHeader(15_000), "Content-Length: 1000000\r\n\r\nx"...)},
		{"another path, with an unfinished body", plain, false, []byte("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nx")},
		{"the admin listener, a header of 62 KB", plain, true, unfinishedHeader(62_000)},
		{"TLS, silent", https, false, nil},
		{"TLS, an unfinished hello", https, false, unfinishedHello(62_000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := c.start(t)
			url, address := d.API+"/__lbheartbeat__", d.API
			if c.admin {
				url, address = d.Admin+"/page.css", d.Admin
			}
			get := probe(t, url)
			_, address, _ = strings.Cut(address, "://")
			crowd(t, address, connections, c.sends)
			slowest, answers := get()
			t.Logf("%d probes, the slowest took %v", answers, slowest)
			if slowest > 5*time.Second || answers == 0 {
				t.Errorf("of %d probes the slowest took %v", answers, slowest)
			}
			wantWithinBudget(t, d, memory)
		})
	}
}

// At most 256 uploads wait for a turn. The program refuses more with a 503 at once. Uploads
// that have a turn are stored.
func TestManyUploadsThatWait(t *testing.T) {
	const uploads, turns, places, memory = 2000, 2, 256, 64
	needFiles(t, uploads+500)
	d := startMeasuredBeside(t, fmt.Sprintf("--memory=%dMiB", memory), fmt.Sprintf("--max-uploads=%d", turns), "--room-wait=1h").Daemon
	address := strings.TrimPrefix(d.API, "http://")
	body, contentType := client.Form(archive.PythonZipfile(archive.File{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 10_000)}))
	const withToken = "Auth-Token: dev\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
	head := fmt.Appendf(unfinishedHeader(100), withToken, contentType, len(body))
	admitted := crowd(t, address, turns, append(head, body[:len(body)/2]...))
	awaitMetric(t, d, `spillway_uploads_in_flight{stage="receiving"}`, turns)

	get := probe(t, d.API+"/__lbheartbeat__")
	head = fmt.Appendf(unfinishedHeader(15_000), withToken, contentType, len(body))
	others := crowd(t, address, uploads, head)
	awaitMetric(t, d, `spillway_uploads_total{outcome="refused",reason="no_room"}`, uploads-places)
	slowest, answers := get()
	t.Logf("%d probes, the slowest took %v", answers, slowest)
	wantWithinBudget(t, d, memory)
	awaitMetric(t, d, `spillway_uploads_in_flight{stage="waiting"}`, places)
	// The last one has been refused, so there is an answer to read.
	if resp, err := http.ReadResponse(bufio.NewReader(others[uploads-1]), nil); err != nil {
		t.Error(err)
	} else if resp.Body.Close(); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("beyond the places: %s, %v", resp.Status, resp.Header)
	}

	for _, conn := range admitted {
		if _, err := conn.Write(body[len(body)/2:]); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			t.Errorf("an upload that had its turn: %s", resp.Status)
		}
	}
}

// awaitMetric waits until a metric has that value.
func awaitMetric(t *testing.T, d *daemon.Daemon, name string, want float64) {
	t.Helper()
	client.Until(t, fmt.Sprintf("%s %v", name, want), func() bool {
		all, err := d.Metrics(client.Within(t))
		if err != nil {
			t.Fatal(err)
		}
		return all[name] == want
	})
}
