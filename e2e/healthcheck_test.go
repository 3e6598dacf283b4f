package e2e

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"spillway/testdata/client"
)

// TestHealthcheck runs the healthcheck command beside an instance, with the variables that
// the instance may have.
func TestHealthcheck(t *testing.T) {
	t.Parallel()
	command(t, 0, "version") // builds the program, which takes time
	for _, c := range []struct {
		name      string
		variables func(t *testing.T) []string
		want      string // in the message; empty: healthy
	}{
		{"an instance", func(t *testing.T) []string {
			return []string{"SPILLWAY_LISTEN=" + address(startEmbedded(t).API)}
		}, ""},
		{"all addresses", func(t *testing.T) []string {
			_, port, err := net.SplitHostPort(address(startEmbedded(t).API))
			if err != nil {
				t.Fatal(err)
			}
			return []string{"SPILLWAY_LISTEN=0.0.0.0:" + port}
		}, ""},
		{"https", func(t *testing.T) []string {
			return []string{"SPILLWAY_LISTEN=" + address(startHTTPS(t).API), "SPILLWAY_TLS_CERT=/nowhere"}
		}, ""},
		{"a proxy in the environment", func(t *testing.T) []string {
			return []string{"SPILLWAY_LISTEN=" + address(startEmbedded(t).API), "HTTP_PROXY=http://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:1"}
		}, ""},
		{"draining", func(t *testing.T) []string {
			s := startEmbedded(t, "--drain-delay=1h")
			sendSignal(t, s, syscall.SIGTERM)
			client.AwaitStatus(t, s.API+"/__lbheartbeat__", 503)
			return []string{"SPILLWAY_LISTEN=" + address(s.API)}
		}, `503 Service Unavailable: {"status":"draining"}`},
		{"nobody listens", func(*testing.T) []string { return []string{"SPILLWAY_LISTEN=127.0.0.1:1"} }, "connection refused"},
		{"another server", func(t *testing.T) []string {
			other := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(other.Close)
			return []string{"SPILLWAY_LISTEN=" + address(other.URL)}
		}, "404 Not Found: 404 page not found"},
		{"no answer", func(t *testing.T) []string {
			silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // the kernel takes the connection
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = silent.Close() })
			return []string{"SPILLWAY_LISTEN=" + silent.Addr().String()}
		}, "deadline exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			variables := c.variables(t)
			began := time.Now()
			status, stdout, stderr := runProgram(client.Within(t), t, variables, "healthcheck")
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			healthy := c.want == ""
			if healthy != (status == 0) || !healthy && status != 1 || stdout != "" {
				t.Errorf("exit status %d, stdout %q", status, stdout)
			}
			if healthy && stderr != "" || !healthy && (strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, c.want)) {
				t.Errorf("stderr %q, want one line with %q", stderr, c.want)
			}
		})
	}
}

// address returns the host and port of a URL.
func address(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	return rest
}
