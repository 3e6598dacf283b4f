package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/daemon"
)

// longChunk is an upload in one long chunk, of an archive that is not stored.
type longChunk struct {
	token, contentType string
	body               []byte
}

// send sends the chunk at once, except slow bytes in its middle, which it sends at 10 KB/s.
// It returns the status of the answer.
func (u longChunk) send(conn io.ReadWriter, slow int) (status int, err error) {
	const step = 1000
	half := len(u.body) / 2
	_, err = fmt.Fprintf(conn, "POST /upload/ HTTP/1.1\r\nHost: x\r\nAuth-Token: %s\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s",
		u.token, u.contentType, len(u.body), u.body[:half])
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for at := half; at < half+slow && err == nil; at += step {
		<-tick.C
		_, err = conn.Write(u.body[at : at+step])
	}
	if err == nil {
		_, err = fmt.Fprintf(conn, "%s\r\n0\r\n\r\n", u.body[half+slow:])
	}
	if err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// TestLongChunks: the program reads a long chunk with few calls. Its client may become slow
// in the middle, for longer than --idle-timeout.
func TestLongChunks(t *testing.T) {
	const size = 8 << 20
	const idle = "--idle-timeout=2s"
	tokens := filepath.Join(t.TempDir(), "tokens.json")
	token, _ := command(t, 0, "token", "create", "--tokens-file="+tokens, "--email=a@example.com")
	upload := longChunk{token: strings.TrimSpace(token)}
	upload.body, upload.contentType = client.Form(archive.PythonZipfile(archive.File{Name: "a-symbols.txt", Data: archive.Noise(1, size)}))
	for _, c := range []struct {
		name  string
		start func(*testing.T) *daemon.Daemon
		wrap  func(net.Conn) io.ReadWriter
	}{
		{
			"http",
			func(t *testing.T) *daemon.Daemon {
				return startMeasuredAlone(t, idle, "--tokens-file="+tokens)
			},
			func(c net.Conn) io.ReadWriter { return c },
		},
		{
			"https",
			func(t *testing.T) *daemon.Daemon { return startHTTPS(t, idle, "--tokens-file="+tokens) },
			func(c net.Conn) io.ReadWriter { return tls.Client(c, &tls.Config{InsecureSkipVerify: true}) },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := c.start(t)
			_, address, _ := strings.Cut(d.API, "://")
			send := func(slow int) {
				t.Helper()
				conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if status, err := upload.send(c.wrap(conn), slow); err != nil || status != http.StatusCreated {
					t.Errorf("with %d bytes sent slowly: status %d, error %v", slow, status, err)
				}
			}
			before, err := daemon.UsageOf(d.PID())
			if err != nil {
				t.Fatal(err)
			}
			send(0)
			after, err := daemon.UsageOf(d.PID())
			if err != nil {
				t.Fatal(err)
			}
			if perMB := (after.Reads - before.Reads) * 1_000_000 / size; perMB > 90 {
				t.Errorf("%d reads for each MB", perMB)
			} else {
				t.Logf("%d reads for each MB", perMB)
			}
			send(30_000)
		})
	}
}
