package e2e

import (
	"bytes"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"spillway/testdata/client"
	"spillway/testdata/daemon"
)

// The process ends after --drain-timeout, whatever clients do. It does not wait for refused
// clients.
func TestShutdownTakesWhatItSays(t *testing.T) {
	const drain, more = 2 * time.Second, 4 * time.Second
	dial := func(t *testing.T, url, sends string) net.Conn {
		t.Helper()
		_, address, _ := strings.Cut(url, "://")
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, sends); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	// answered waits for the beginning of an answer.
	answered := func(t *testing.T, conn net.Conn) {
		t.Helper()
		if _, err := io.ReadFull(conn, make([]byte, len("HTTP/1.1 ")+3)); err != nil {
			t.Fatal(err)
		}
	}
	plain := func(t *testing.T) *daemon.Daemon {
		return startMeasuredAlone(t, "--drain-timeout="+drain.String())
	}
	https := func(t *testing.T) *daemon.Daemon {
		return startHTTPS(t, "--drain-timeout="+drain.String())
	}
	for _, c := range []struct {
		name   string
		start  func(t *testing.T) *daemon.Daemon
		client func(t *testing.T, d *daemon.Daemon)
		waits  bool // for as long as --drain-timeout
	}{
		{"an unread answer", plain, func(t *testing.T, d *daemon.Daemon) {
			body, contentType := client.Form(ignoredNames(10_000))
			post(t, d, contentType, len(body), body)
			awaitLog(t, d, `"outcome":"stored"`)
		}, true},
		{"a refused client that goes on", plain, func(t *testing.T, d *daemon.Daemon) {
			answered(t, dial(t, d.API, "POST /upload/ HTTP/1.1\r\nHost: x\r\nAuth-Token: nobody\r\nContent-Length: 1000000\r\n\r\nx"))
		}, false},
		{"a refused archive that goes on", plain, func(t *testing.T, d *daemon.Daemon) {
			body, contentType := client.Form(bytes.Repeat([]byte("nonsense"), 20_000))
			answered(t, post(t, d, contentType, 2*len(body), body))
		}, false},
		{"a live page", plain, func(t *testing.T, d *daemon.Daemon) {
			answered(t, dial(t, d.Admin, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"))
		}, false},
		{"a profile of a minute", plain, func(t *testing.T, d *daemon.Daemon) {
			dial(t, d.Admin, "GET /debug/pprof/profile?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
			client.Get(t, d.Admin+"/metrics")
		}, false},
		{"an idle connection", plain, func(t *testing.T, d *daemon.Daemon) {
			answered(t, dial(t, d.API, "GET /__version__ HTTP/1.1\r\nHost: x\r\n\r\n"))
		}, false},
		{"half a header", plain, func(t *testing.T, d *daemon.Daemon) { dial(t, d.API, "GET / HTTP/1.1\r\n") }, false},
		{"half a handshake", https, func(t *testing.T, d *daemon.Daemon) { dial(t, d.API, string(unfinishedHello(1000))) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := c.start(t)
			c.client(t, d)
			began := time.Now()
			if err := d.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			wantExit(t, d, statusDone)
			took, most := time.Since(began), more
			if c.waits {
				most += drain
			}
			t.Logf("took %v", took)
			if took > most {
				t.Errorf("took %v, want at most %v", took, most)
			}
		})
	}
}
