package e2e

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"spillway/testdata/client"
)

// listenAsSystemd opens a notification socket. A leading @ makes it an abstract one.
func listenAsSystemd(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// readState returns the next message, or "" if there is none within a moment.
func readState(t *testing.T, conn *net.UnixConn, within time.Duration) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// TestSystemdIsNotified: systemd learns when the service takes uploads, and when it shuts
// down, which is before the end of --drain-delay.
func TestSystemdIsNotified(t *testing.T) {
	t.Parallel()
	for name, socket := range map[string]string{"path": filepath.Join(t.TempDir(), "notify"), "abstract": "@spillway-test-" + filepath.Base(t.TempDir())} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := listenAsSystemd(t, socket)
			d := start(t, []string{"NOTIFY_SOCKET=" + socket}, append(noStore, "--drain-delay=1h")...)
			if got := readState(t, conn, time.Minute); got != "READY=1" {
				t.Errorf("at the start: %q", got)
			}
			if got := client.Get(t, d.API+"/__lbheartbeat__").Status; got != 200 {
				t.Errorf("heartbeat %d, want 200", got)
			}
			if err := d.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if got := readState(t, conn, time.Minute); got != "STOPPING=1" {
				t.Errorf("after SIGTERM: %q", got)
			}
		})
	}
}

// TestSystemdThatHangs: neither the start nor the exit waits for systemd.
func TestSystemdThatHangs(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "notify")
	full := listenAsSystemd(t, socket)
	for sender := listenAsSystemd(t, ""); ; {
		if err := sender.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := sender.WriteToUnix([]byte("x"), full.LocalAddr().(*net.UnixAddr)); errors.Is(err, os.ErrDeadlineExceeded) {
			break // the queue is full, and nobody reads it
		} else if err != nil {
			t.Fatal(err)
		}
	}
	d := start(t, []string{"NOTIFY_SOCKET=" + socket}, noStore...)
	awaitLog(t, d, "systemd cannot be told the state of the service", "READY=1", "i/o timeout")
	if got := client.Get(t, d.API+"/__lbheartbeat__").Status; got != 200 {
		t.Errorf("heartbeat %d, want 200", got)
	}
	if err := d.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	awaitLog(t, d, "systemd cannot be told the state of the service", "STOPPING=1")
	wantExit(t, d, statusDone)
}
