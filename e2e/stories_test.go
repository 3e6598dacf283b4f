package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/sentryserver"
)

// The tests in this file replay incidents that the service before this one could not explain.

// metrics returns the program's metrics in Prometheus's text format.
func metrics(t *testing.T, admin string) string {
	t.Helper()
	got := client.Get(t, admin+"/metrics")
	if got.Status != http.StatusOK {
		t.Fatalf("metrics: %d %s", got.Status, got.Body)
	}
	return string(client.Gunzip(t, got.Body))
}

func wantMetrics(t *testing.T, admin string, lines ...string) {
	t.Helper()
	all := metrics(t, admin)
	for _, line := range lines {
		if !strings.Contains(all, "\n"+line) {
			t.Errorf("the metrics have no %s", line)
		}
	}
}

// stalls yields what Reader has, and then blocks until ctx ends.
type stalls struct {
	io.Reader
	ctx context.Context
}

func (s stalls) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err == io.EOF {
		<-s.ctx.Done()
	}
	return n, err
}

// When an upload times out, the log, the metrics and Sentry say how large it was, how many
// files of which kinds it had, which entry it was at, and what it waited for.
func TestUploadThatTimesOutIsExplained(t *testing.T) {
	t.Parallel()
	sentry := sentryserver.Start(t)
	s := startEmbedded(t, "--upload-timeout=2s", "--sentry-dsn="+sentry.DSN)
	zip := archive.PythonZipfile(
		archive.File{Name: "app.pdb/ABC1/app.sym", Data: archive.Symbols(1, 300_000)},
		archive.File{Name: "app.pdb/ABC1/app.dll", Data: archive.Noise(1, 50_000)},
		archive.File{Name: "big.pdb/ABC1/big.dll", Data: archive.Noise(2, 3_000_000)},
	)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	got, err := client.Send(client.Within(t), s.API, "dev", stalls{bytes.NewReader(zip[:len(zip)/2]), ctx})
	if err != nil || got.Status != http.StatusServiceUnavailable || !strings.Contains(got.Error, "--upload-timeout") {
		t.Fatalf("got %+v, error %v", got, err)
	}

	line, err := s.AwaitLog(client.Within(t), `"msg":"upload"`)
	if err != nil {
		t.Fatal(err)
	}
	var event struct {
		Outcome, Reason, Filename string
		ArchiveBytes              int64 `json:"archive_bytes"`
		Entries                   int
		Kinds                     map[string]struct{ Files int }
		BiggestEntry              string  `json:"biggest_entry"`
		AtEntry                   string  `json:"at_entry"`
		Duration                  float64 // seconds, as all that follow
		Client                    float64 `json:"waited_client"`
	}
	if err := json.Unmarshal([]byte(line), &event); err != nil {
		t.Fatal(err)
	}
	if event.Outcome != "timed out" || event.Reason != "total" || event.Entries != 3 || event.Kinds["dll"].Files != 2 || event.Kinds["sym"].Files != 1 ||
		event.BiggestEntry != "big.pdb/ABC1/big.dll" || event.AtEntry != "big.pdb/ABC1/big.dll" || event.ArchiveBytes < int64(len(zip)/3) {
		t.Errorf("the event is %s", line)
	}
	if event.Duration < 2 || event.Client < 0.8*event.Duration {
		t.Errorf("of %v s it waited %v s for the client", event.Duration, event.Client)
	}
	wantMetrics(t, s.Admin,
		`spillway_uploads_total{outcome="timed_out",reason="total"} 1`,
		`spillway_upload_duration_seconds_count{outcome="timed_out"} 1`,
		`spillway_files_total{kind="dll"} 2`,
	)

	if err := s.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantExit(t, s.Daemon, 0)
	reports := sentry.Events()
	if len(reports) != 1 {
		t.Fatalf("%d reports, want 1: %v", len(reports), reports)
	}
	report, err := json.Marshal(reports[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"most of its time went to client", `"longest_on":"client"`, `"entries":3`, `"at":"big.pdb/ABC1/big.dll"`, `"biggest_bytes":3000000`,
		`"name":"dll"`, fmt.Sprintf(`"archive_bytes":%d`, event.ArchiveBytes),
	} {
		if !bytes.Contains(report, []byte(want)) {
			t.Errorf("the report does not say %s: %s", want, report)
		}
	}
	if strings.Contains(sentry.Raw(), "dev@example.com") {
		t.Error("Sentry is told whose upload it was")
	}
}

// When the store is down, the heartbeat says so, the balancer's heartbeat stays 200, and the
// disk is cleaned as usual.
func TestStoreThatIsDown(t *testing.T) {
	t.Parallel()
	nobody, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := "http://" + nobody.Addr().String()
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	left := filepath.Join(folder, "spillway-spill-1")
	if err := os.WriteFile(left, []byte("of a process that died"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := start(t, nil, "--dev", "--s3-endpoint="+endpoint, "--spill-dir="+folder)

	if a, err := client.Send(client.Within(t), d.API, "dev", bytes.NewReader(archive.PythonZipfile(archive.Samples(1)...))); err != nil || a.Status != http.StatusServiceUnavailable {
		t.Errorf("an upload: %+v, error %v", a, err)
	}
	var beat struct {
		Status string
		Checks map[string]string
	}
	got := client.Get(t, d.API+"/__heartbeat__")
	if err := json.Unmarshal(got.Body, &beat); err != nil || got.Status != http.StatusInternalServerError || beat.Checks["storage"] != "error" || beat.Checks["spill"] != "ok" {
		t.Errorf("the heartbeat: %d %s, error %v", got.Status, got.Body, err)
	}
	if got := client.Get(t, d.API+"/__lbheartbeat__"); got.Status != http.StatusOK {
		t.Errorf("the balancer is told %d %s", got.Status, got.Body)
	}
	awaitLog(t, d, `"msg":"cleaned up"`, `"task":"spill folder"`)
	awaitLog(t, d, `"msg":"a cleaning task failed"`, `"task":"multipart uploads"`)
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("what was left behind is still there: %v", err)
	}
	wantMetrics(t, d.Admin,
		`spillway_janitor_runs_total{result="ok",task="spill_folder"} 1`,
		`spillway_janitor_removed_total{task="spill_folder"} 1`,
		`spillway_janitor_runs_total{result="ok",task="multipart_uploads"} 0`,
		`spillway_uploads_total{outcome="failed",reason="store"} 1`,
		`spillway_pressure_state{state="calm"} 1`,
	)
	if d.Ended() {
		t.Error("the process has ended")
	}
}

// TestUploadsAreWatched: the live page and the metrics show sixteen uploads under way.
func TestUploadsAreWatched(t *testing.T) {
	t.Parallel()
	s := startEmbedded(t)
	events, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Admin+"/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	page, err := http.DefaultClient.Do(events)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()

	zip := archive.PythonZipfile(archive.Samples(3)...)
	var uploads []*client.Stalled
	for range 16 {
		uploads = append(uploads, client.SendHalf(t, s.API, zip))
	}
	seen := false
	lines := bufio.NewScanner(page.Body)
	lines.Buffer(nil, 1<<20)
	for !seen && lines.Scan() {
		seen = strings.Count(lines.Text(), `"stage":"receiving"`) == 16 && strings.Count(lines.Text(), `"filename":"symbols.zip"`) == 16
	}
	if !seen {
		t.Error("the page is never told of all of them")
	}
	wantMetrics(t, s.Admin, `spillway_uploads_in_flight{stage="receiving"} 16`, `spillway_page_clients 1`)
	for _, u := range uploads {
		close(u.Rest)
	}
	for _, u := range uploads {
		if a := u.Wait(t); a.Status != http.StatusCreated {
			t.Errorf("%+v", a)
		}
	}
	wantMetrics(t, s.Admin, `spillway_uploads_in_flight{stage="receiving"} 0`, `spillway_uploads_total{outcome="stored",reason=""} 16`)
}
