package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"spillway/testdata/daemon"
)

// Clients without TLS or a token cannot fill the log. The first line of a kind is written at
// once, and later lines say how many were omitted.
func TestLogLinesThatAnybodyCauses(t *testing.T) {
	t.Parallel()
	const times = 800
	plain := func(t *testing.T) *daemon.Daemon { return startMeasuredAlone(t) }
	https := func(t *testing.T) *daemon.Daemon { return startHTTPS(t) }
	const upload = "POST /upload/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n"
	for _, c := range []struct {
		name  string
		start func(*testing.T) *daemon.Daemon
		sends string
		logs  string
	}{
		{"no TLS", https, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", `"kind":"tls handshake"`},
		{"no token", plain, upload + "\r\n", `"error":"upload: no token"`},
		{"an unknown token", plain, upload + "Auth-Token: nobody\r\n\r\n", `"reason":"token"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := c.start(t)
			_, address, _ := strings.Cut(d.API, "://")
			for range times {
				conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := fmt.Fprint(conn, c.sends); err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, conn) // until the server closes it, in whichever way
				_ = conn.Close()
			}
			if err := d.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			wantExit(t, d, statusDone)
			lines, told := 0, 0
			for line := range strings.Lines(d.Log()) {
				if !strings.Contains(line, c.logs) {
					continue
				}
				var event struct{ Omitted int }
				if err := json.Unmarshal([]byte(line), &event); err != nil {
					t.Fatal(err)
				}
				lines++
				told += 1 + event.Omitted
			}
			if lines > 3 || told != times {
				t.Errorf("%d lines tell of %d events, want at most 3 and %d", lines, told, times)
			}
		})
	}
}
