package observe_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"spillway/health"
	"spillway/internal/outcome"
	"spillway/internal/s3event"
	"spillway/observe"
)

// scrape returns the metrics of an instance.
func (i *instance) scrape(t testing.TB) string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "http://localhost/metrics", nil)
	w := httptest.NewRecorder()
	i.ServeHTTP(w, r)
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// series returns our series of a scrape, without their values.
func series(scrape string) map[string]bool {
	all := map[string]bool{}
	for line := range strings.Lines(scrape) {
		if strings.HasPrefix(line, "spillway_") {
			all[line[:strings.LastIndexByte(line, ' ')]] = true
		}
	}
	return all
}

func TestMetricsOfAnUpload(t *testing.T) {
	i := newInstance()
	upload := i.uploads.Begin(1, observe.Sender{}, func() observe.Progress { return observe.Progress{Stage: outcome.Receiving} })
	if s := i.scrape(t); !strings.Contains(s, `spillway_uploads_in_flight{stage="receiving"} 1`) {
		t.Error("the upload under way is missing")
	}
	upload.End(ended(outcome.Stored, outcome.NoReason))
	s := i.scrape(t)
	for _, want := range []string{
		`spillway_uploads_total{outcome="stored",reason=""} 1`,
		`spillway_upload_duration_seconds_sum{outcome="stored"} 4`,
		`spillway_upload_time_seconds_total{on="client"} 3`,
		`spillway_upload_time_seconds_total{on="s3"} 1`,
		`spillway_upload_time_seconds_total{on="cpu"} 0`,
		`spillway_upload_worker_seconds_total 2`,
		`spillway_archive_bytes_total 1000`,
		`spillway_entries_total{result="uploaded"} 2`,
		`spillway_file_bytes_total{kind="sym"} 4900`,
		`spillway_uploads_in_flight{stage="receiving"} 0`,
		`spillway_build_info{commit="abc",goversion=`,
	} {
		if !strings.Contains(s, "\n"+want) {
			t.Errorf("missing: %s", want)
		}
	}
}

// Each reason has a series of its own.
func TestMetricsOfReasons(t *testing.T) {
	for outcome, reasons := range map[outcome.Outcome][]outcome.Reason{
		outcome.Refused: {
			outcome.BadToken, outcome.BadForm, outcome.BadName, outcome.BadArchive, outcome.TooLarge,
			outcome.NoRoom, outcome.NoSpill, outcome.TokenBusy, outcome.OtherCause,
		},
		outcome.Failed:   {outcome.StoreFailed, outcome.DiskFailing},
		outcome.TimedOut: {outcome.IdleTooLong, outcome.TotalTooLong},
	} {
		for _, reason := range reasons {
			i := newInstance()
			i.uploads.Begin(1, observe.Sender{}, func() observe.Progress { return observe.Progress{} }).End(ended(outcome, reason))
			label := func(s string) string { return strings.ReplaceAll(s, " ", "_") }
			want := `spillway_uploads_total{outcome="` + label(string(outcome)) + `",reason="` + label(string(reason)) + `"} 1`
			if !strings.Contains(i.scrape(t), "\n"+want) {
				t.Errorf("missing: %s", want)
			}
		}
	}
}

// Each attempt counts under its result.
func TestMetricsOfRequests(t *testing.T) {
	i := newInstance()
	for _, c := range []struct {
		s3event.Attempt
		result string
	}{
		{s3event.Attempt{Operation: "PutObject", Status: 200}, "ok"},
		{s3event.Attempt{Operation: "HeadObject", Status: 404}, "not_found"},
		{s3event.Attempt{Operation: "UploadPart", Status: 403}, "rejected"},
		{s3event.Attempt{Operation: "UploadPart", Status: 503}, "throttled"},
		{s3event.Attempt{Operation: "UploadPart", Status: 500}, "failed"},
		{s3event.Attempt{Operation: "PutObject", Status: 200, Err: errCut}, "failed"},
		{s3event.Attempt{Operation: "PutObject", Err: errCut}, "unreachable"},
		{s3event.Attempt{Operation: "PutObject", Err: fmt.Errorf("x: %w", errDeadline)}, "timeout"},
		{s3event.Attempt{Operation: "PutObject", Err: errCanceled}, "canceled"},
	} {
		i.metrics.Attempt(c.Attempt, "")
		if want := fmt.Sprintf("spillway_s3_requests_total{operation=%q,result=%q} 1", c.Operation, c.result); !strings.Contains(i.scrape(t), want) {
			t.Errorf("%+v: missing: %s", c.Attempt, want)
		}
	}
}

// One checksum of each bucket is 1, the one that was found last.
func TestMetricsOfChecksums(t *testing.T) {
	i := newInstance()
	i.metrics.Checksum("symbols", s3event.WholeCRC32)
	i.metrics.Checksum("symbols", s3event.ContentMD5)
	i.metrics.Checksum("try", s3event.WholeCRC32)
	scraped := i.scrape(t)
	for _, want := range []string{`{bucket="symbols",kind="content_md5"} 1`, `{bucket="symbols",kind="whole_crc32"} 0`, `{bucket="try",kind="whole_crc32"} 1`, `{bucket="try",kind="etag_md5"} 0`} {
		if !strings.Contains(scraped, "spillway_s3_checksum"+want) {
			t.Errorf("missing: %s", want)
		}
	}
}

// Words that clients and servers choose never become a series or a label.
func TestMetricsAreBounded(t *testing.T) {
	i := newInstance()
	stir := func(word string) {
		for o, r := range map[outcome.Outcome]outcome.Reason{
			outcome.Outcome(word): outcome.Reason(word), outcome.Refused: outcome.Reason(word), outcome.Stored: outcome.Reason(word),
		} {
			e := ended(o, r)
			e.Shape.Filename, e.Shape.Biggest, e.Shape.At, e.Message = word, word, word, word
			e.Shape.Kinds = []observe.Kind{{Name: word, Files: 1, Bytes: 1}, {Name: "sym", Files: -1, Bytes: -1}}
			e.Shape.ArchiveBytes = -1
			i.uploads.Begin(1, observe.Sender{}, nil).End(e)
		}
		i.metrics.Attempt(s3event.Attempt{Operation: word, Status: len(word), Err: fmt.Errorf("%s", word)}, "")
		i.metrics.Multipart(s3event.Multipart(word))
	}
	stir("first-hostile-word")
	before := series(i.scrape(t))
	for n := range 1000 {
		stir(fmt.Sprintf("hostile-%d@example.com", n))
	}
	s := i.scrape(t)
	if after := series(s); len(after) != len(before) {
		t.Errorf("%d series grew to %d", len(before), len(after))
	}
	if strings.Contains(s, "hostile") || strings.Contains(s, "example.com") {
		t.Error("the metrics have a client's word")
	}
	if n := len(before); n > 600 {
		t.Errorf("too many series: %d", n)
	}
	// A label's value is a word from a list, a number, or the name of a build.
	for line := range before {
		for _, value := range regexp.MustCompile(`="([^"]*)"`).FindAllStringSubmatch(line, -1) {
			if !regexp.MustCompile(`^([A-Za-z0-9_.+-]{0,40})$`).MatchString(value[1]) {
				t.Errorf("%s", line)
			}
		}
	}
}

// The metrics pass the linter of promtool.
func TestMetricsLint(t *testing.T) {
	i := newInstance()
	i.tasks = []health.Task{{Name: "spill folder", Succeeded: 3, Failed: 1, Removed: 2, LastSuccess: time.Unix(12, 0)}}
	i.metrics.Attempt(s3event.Attempt{Operation: "PutObject", Status: 200}, "")
	s := i.scrape(t)
	problems, err := promlint.New(strings.NewReader(s)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for line := range series(s) {
		if strings.Contains(line, "..") || !strings.HasPrefix(line, "spillway_") {
			t.Error(line)
		}
	}
	if !strings.Contains(s, `spillway_janitor_runs_total{result="failed",task="spill_folder"} 1`) ||
		!strings.Contains(s, `spillway_janitor_last_success_timestamp_seconds{task="spill_folder"} 12`) {
		t.Error("the janitor's runs are missing")
	}
}

// BenchmarkScrape measures a scrape with 16 uploads under way.
func BenchmarkScrape(b *testing.B) {
	i := newInstance()
	e := ended(outcome.Stored, outcome.NoReason)
	for n := range 16 {
		i.uploads.Begin(int64(n), observe.Sender{}, func() observe.Progress {
			return observe.Progress{Stage: outcome.Receiving, Shape: e.Shape, Spent: e.Spent}
		})
	}
	for b.Loop() {
		i.scrape(b)
	}
}

// BenchmarkUploadReported measures Begin and End of an upload.
func BenchmarkUploadReported(b *testing.B) {
	i := newInstance()
	b.ReportAllocs()
	for b.Loop() {
		i.uploads.Begin(1, observe.Sender{}, nil).End(ended(outcome.Stored, outcome.NoReason))
	}
}

// Each check has a series for each status, of which one is 1. A scrape does not probe the
// store: it has what the last probe found.
func TestMetricsOfChecks(t *testing.T) {
	i := newInstance()
	want := func(when string, lines ...string) {
		t.Helper()
		s := i.scrape(t)
		for _, line := range lines {
			if !strings.Contains(s, "\nspillway_check_status{"+line+"\n") {
				t.Errorf("%s: missing: %s", when, line)
			}
		}
	}
	i.storage = func(context.Context) error { return errors.New("down") }
	want("before the first probe", `check="storage",status="unknown"} 1`, `check="storage",status="error"} 0`, `check="spill",status="ok"} 1`)
	i.probe("/__heartbeat__", "")
	i.trouble(1)
	want("after it", `check="storage",status="unknown"} 0`, `check="storage",status="error"} 1`, `check="spill",status="ok"} 0`, `check="spill",status="warning"} 1`)
}
