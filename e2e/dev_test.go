package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"spillway/testdata/client"
)

// sampleFile is an entry of the sample archive that --dev serves.
const sampleFile = "libsample.so/7C5E3F0A91D24B6688E1A0C2D4F6B8A90/libsample.so.sym"

// The commands that --dev prints work in a shell. Without curl, the test makes the same
// requests.
func TestPrintedCommandsWork(t *testing.T) {
	t.Parallel()
	s := startEmbedded(t)
	upload, readBack := printedCommands(t, s)
	_, err := exec.LookPath("curl")
	if err != nil {
		t.Log("there is no curl: its requests are made without it")
		upload = func() string {
			sample := client.Get(t, s.API+"/sample.zip")
			a := client.MustSend(t, s.API, "dev", sample.Body)
			return strings.Join(append(a.Upload.UploadedKeys, a.Upload.SkippedKeys...), " ")
		}
		readBack = func() string {
			return string(client.Gunzip(t, client.Get(t, s.S3+"/symbols/v1/"+sampleFile).Body))
		}
	}
	for _, what := range []string{"first", "second"} {
		if out := upload(); !strings.Contains(out, sampleFile) || strings.Contains(out, `"error"`) {
			t.Errorf("%s upload: %s", what, out)
		}
	}
	if out := readBack(); !strings.HasPrefix(out, "MODULE Linux x86_64 ") || !strings.HasSuffix(out, "\n") {
		t.Errorf("read back: %q", out)
	}
	s.WantNoUploads(t)
	if keys := s.Keys(t); len(keys) != 2 {
		t.Errorf("the bucket holds %q", keys)
	}
}

// printedCommands returns functions that run the two commands that --dev prints.
func printedCommands(t *testing.T, s system) (upload, readBack func() string) {
	t.Helper()
	uploadLine, err := s.AwaitStdout(client.Within(t), "  curl ", "--form")
	if err != nil {
		t.Fatal(err)
	}
	readLine, err := s.AwaitStdout(client.Within(t), "  curl ", "gunzip")
	if err != nil {
		t.Fatal(err)
	}
	shell := func(line string) func() string {
		return func() string {
			t.Helper()
			var stderr bytes.Buffer
			c := exec.CommandContext(client.Within(t), "/bin/sh", "-c", line)
			c.Stderr = &stderr
			out, err := c.Output()
			if err != nil || stderr.Len() != 0 {
				t.Errorf("%s: %v %s", line, err, &stderr)
			}
			return string(out)
		}
	}
	return shell(uploadLine), shell(readLine)
}

// A taken address has exit status 1, not 2: the address may be free the next time.
func TestTakenAddress(t *testing.T) {
	t.Parallel()
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, stderr := command(t, 1, "--dev", "--dev-s3-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--listen="+taken.Addr().String())
	if strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "--listen: ") {
		t.Errorf("stderr %q", stderr)
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	for _, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			s := store.start(t)
			for path, want := range map[string]int{
				"/__lbheartbeat__": 200, "/__heartbeat__": 200, "/__version__": 200, "/__error__": 403,
				"/": 404, "//upload/": 404, "/upload": 404, "/upload/": 405, "/debug/pprof/": 404,
			} {
				if got := client.Get(t, s.API+path); got.Status != want || !bytes.HasPrefix(got.Body, []byte("{")) {
					t.Errorf("GET %s: %d %q, want %d and JSON", path, got.Status, got.Body, want)
				}
			}
			s.WantNothing(t)
		})
	}
	t.Run("bucket that is not there", func(t *testing.T) {
		t.Parallel()
		s := startBeside(t, "--s3-bucket=no-such-bucket")
		if got := client.Get(t, s.API+"/__heartbeat__"); got.Status != 500 || !bytes.Contains(got.Body, []byte(`"storage":"error"`)) {
			t.Errorf("%d %s", got.Status, got.Body)
		}
		if got := client.Get(t, s.API+"/__lbheartbeat__"); got.Status != 200 {
			t.Errorf("the balancer is told %d, want 200", got.Status)
		}
	})
}

// TestHeaderLimitOfEveryPath: every path has the same limit, and the refusal is JSON.
func TestHeaderLimitOfEveryPath(t *testing.T) {
	t.Parallel()
	s := startEmbedded(t)
	for _, path := range []string{
		"/upload/", "/upload/auth_info/", "/nothing", "/sample.zip", "/__lbheartbeat__", "/__heartbeat__", "/__version__", "/__error__",
	} {
		for length, refused := range map[int]bool{16 << 10: false, 16<<10 + 1: true} {
			r, err := http.NewRequestWithContext(client.Within(t), http.MethodGet, s.API+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			header := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: x\r\nAccept-Encoding: gzip\r\nX-Pad: \r\n\r\n", path, r.Host)
			r.Header.Set("User-Agent", "x")
			r.Header.Set("X-Pad", strings.Repeat("a", length-len(header)))
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err = errors.Join(err, resp.Body.Close()); err != nil {
				t.Fatal(err)
			}
			if is := resp.StatusCode == http.StatusRequestHeaderFieldsTooLarge; is != refused || is && !json.Valid(body) {
				t.Errorf("%s, %d bytes: status %d: %.200s", path, length, resp.StatusCode, body)
			}
		}
	}
}
