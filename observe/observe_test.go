package observe_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"spillway/health"
	"spillway/internal/account"
	"spillway/internal/outcome"
	"spillway/observe"
	"spillway/stream/budget"
	"spillway/tokens"
)

// instance is what observes a service whose state the test sets.
type instance struct {
	*observe.Admin
	health   *health.Health
	log      *observer.ObservedLogs
	storage  func(context.Context) error
	used     int64
	spilled  int64
	tasks    []health.Task
	disk     *health.Pressure
	uploads  *observe.Uploads
	metrics  *observe.Metrics
	reporter *observe.Reporter
}

// Errors of requests.
var (
	errCut      = errors.New("cut off")
	errDeadline = context.DeadlineExceeded
	errCanceled = context.Canceled
)

func newInstance() *instance { return reporting(nil) }

// reporting is an instance that reports to r.
func reporting(r *observe.Reporter) *instance { return newInstanceOf(r, nil) }

// newInstanceOf is an instance that reports to r and shows the counts of tracer.
func newInstanceOf(r *observe.Reporter, tracer *observe.Tracer) *instance {
	core, log := observer.New(zap.DebugLevel)
	logger := zap.New(core)
	version := health.Version{Version: "1.2.3", Commit: "abc"}
	i := &instance{log: log, storage: func(context.Context) error { return nil }, reporter: r}
	i.disk = health.NewPressure(health.PressureConfig{Counted: func(health.Trouble, error) {}, Changed: func(health.State, health.Trouble) {}})
	i.metrics = observe.NewMetrics(version)
	outcomes := health.NewOutcomes(health.OutcomeConfig{})
	i.uploads = observe.NewUploads(observe.UploadsConfig{Log: logger, Metrics: i.metrics, Reporter: r, Outcomes: outcomes})
	memory := func() budget.Usage { return budget.Usage{Held: i.used, Total: 100} }
	spill := func() budget.SpillUsage { return budget.SpillUsage{Used: i.spilled, Quota: 100} }
	tasks := func() []health.Task { return i.tasks }
	panicked := observe.OnPanic(logger, r)
	i.health = health.New(health.Config{
		Version:  version,
		Storage:  func(ctx context.Context) error { return i.storage(ctx) },
		Explain:  func(error) string { return "UploadPart failed: SlowDown. Ask the store." },
		Memory:   memory,
		Spill:    spill,
		Pressure: i.disk,
		Outcomes: outcomes,
		Holders:  i.uploads.Holders,
		Tasks:    tasks,
		Allowed:  func(r *http.Request) bool { return r.Header.Get("Auth-Token") == "good" },
		Panicked: panicked,
		Log:      logger,
	})
	i.Admin = observe.NewAdmin(observe.AdminConfig{
		Version:      version,
		Health:       i.health,
		Pressure:     i.disk,
		Outcomes:     outcomes,
		Uploads:      i.uploads,
		Metrics:      i.metrics,
		Reporter:     r,
		Tracer:       tracer,
		Memory:       memory,
		MemoryIdle:   func() int64 { return 5 },
		Spill:        spill,
		Tasks:        tasks,
		Tokens:       func() tokens.Status { return tokens.Status{AsOf: time.Now()} },
		DroppedLines: func() int { return 7 },
		Hosts:        []string{"spillway.example.com"},
		Panicked:     panicked,
		Log:          logger,
	})
	return i
}

// trouble makes the disk fail n times.
func (i *instance) trouble(n int) {
	for range n {
		i.disk.Add(health.DiskFailed, syscall.ENOSPC)
	}
}

// probe requests one of the paths of health.
func (i *instance) probe(path, token string) (status int, body string) {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, path, nil)
	r.Header.Set("Auth-Token", token)
	w := httptest.NewRecorder()
	i.health.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

// ended is an upload of four seconds.
func ended(o outcome.Outcome, r outcome.Reason) observe.Ended {
	e := observe.Ended{Result: outcome.Result{Outcome: o, Reason: r}, Status: 201, Shape: observe.Shape{
		Filename: "symbols.zip", ArchiveBytes: 1000, ExpandedBytes: 5000, Entries: 3, Uploaded: 2, Ignored: 1, SentBytes: 900,
		Kinds:   []observe.Kind{{Name: "sym", Files: 2, Bytes: 4900}, {Name: "txt", Files: 1, Bytes: 100}},
		Biggest: "a.pdb/1/a.sym", BiggestBytes: 4000, At: "build-symbols.txt",
	}}
	e.Spent.By[account.OnClient] = 3 * time.Second
	e.Spent.By[account.OnStore] = time.Second
	e.Spent.Workers = 2 * time.Second
	return e
}

// TestHolders returns the uploads that have a turn, the oldest first.
func TestHolders(t *testing.T) {
	i := newInstance()
	stages := map[int64]outcome.Stage{103: outcome.Receiving, 101: outcome.Waiting, 100: outcome.Publishing, 102: outcome.Receiving}
	for id, stage := range stages {
		i.uploads.Begin(id, observe.Sender{}, func() observe.Progress { return observe.Progress{Stage: stage} })
	}
	if got, want := i.uploads.Holders(), []int64{100, 102, 103}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// An ended upload counts for the heartbeat, with the stage that it had reached.
func TestHeartbeatCountsEndedUploads(t *testing.T) {
	i := newInstance()
	e := ended(outcome.Failed, outcome.StoreFailed)
	e.Detail = "UploadPart: SlowDown"
	for range 2 {
		i.uploads.Begin(1, observe.Sender{}, nil).End(e)
	}
	if status, body := i.probe("/__heartbeat__", ""); status != http.StatusInternalServerError || !strings.Contains(body, "2 because S3 failed. The last failed at UploadPart: SlowDown.") {
		t.Errorf("status %d: %s", status, body)
	}
}

func TestTestErrorIsLogged(t *testing.T) {
	i := newInstance()
	i.probe("/__error__", "bad")
	if i.log.Len() != 0 {
		t.Errorf("logged without a token: %v", i.log.All())
	}
	i.probe("/__error__", "good")
	if i.log.FilterLevelExact(zap.ErrorLevel).FilterMessage("panic").FilterFieldKey("stack").Len() != 1 {
		t.Errorf("not logged: %v", i.log.All())
	}
}
