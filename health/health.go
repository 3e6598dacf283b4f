// Package health judges whether this instance can take uploads, and answers the
// probes of load balancers and monitors (Mozilla, "Dockerflow", section
// "Specification").
//
// It knows nothing of metrics and reports: those who observe the service ask it.
package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"spillway/internal/answer"
	"spillway/internal/guard"
	"spillway/stream/budget"
)

// probeWrite bounds a probe's request. Otherwise a client that does not read its
// response would keep the connection.
const probeWrite = 30 * time.Second

// Version is which Spillway this is, as `/__version__` says it.
type Version struct {
	Source  string `json:"source"`  // URL of the source's repository
	Version string `json:"version"` // of the release
	Commit  string `json:"commit"`  // full hash of the source's commit
	Build   string `json:"build"`   // names the build, such as the URL of its job
}

// String returns the version as the version command prints it.
func (v Version) String() string {
	return fmt.Sprintf("spillway %s commit %s build %s", v.Version, cmp.Or(v.Commit, "unknown"), cmp.Or(v.Build, "unknown"))
}

// Config configures a [Health]. Every field must be set unless it says otherwise.
type Config struct {
	Version Version

	// Storage checks that the store takes the objects of an upload and returns them.
	// It ends soon after its context. Explain says in one line what an error of
	// Storage means and what to do, without secrets.
	Storage func(ctx context.Context) error
	Explain func(err error) string

	// Checksums says in one line by what the store checks what it gets; empty: not known.
	// May be nil.
	Checksums func() string

	// ProbeLife is how long a result of Storage is reused; 0: 10 s.
	ProbeLife time.Duration

	// Memory and Spill return what is in use. They wait for nothing but a lock.
	Memory func() budget.Usage
	Spill  func() budget.SpillUsage

	// Pressure watches the disk of the spill folder.
	Pressure *Pressure

	// Outcomes counts the results of uploads. Holders returns the IDs of the uploads
	// that have a turn, the oldest first.
	Outcomes *Outcomes
	Holders  func() []int64

	// Tasks returns the state of each cleaning task.
	Tasks func() []Task

	// Checks are checks of other packages. Each is called once for each heartbeat
	// and waits for nothing but a lock. May be nil.
	Checks []func() Check

	// Allowed reports whether a request may raise a test error.
	Allowed func(*http.Request) bool

	// Panicked is called with a panic of a request.
	Panicked func(*http.Request, *guard.PanicError)

	Log *zap.Logger
}

// Task is the state of a cleaning task.
type Task struct {
	Name        string
	Succeeded   int       // runs
	Failed      int       // runs
	Failures    int       // failed runs in a row, up to now
	Removed     int       // in all runs
	LastSuccess time.Time // zero before the first
	HangsSince  time.Time // start of the current run if that is past its deadline; else zero
}

// Health is the http.Handler of the paths that [Paths] lists.
type Health struct {
	cfg      Config
	draining atomic.Bool
	storage  *probe
	mux      http.ServeMux
}

// Paths are the paths that a Health serves.
var Paths = []string{"/__lbheartbeat__", "/__heartbeat__", "/__version__", "/__error__"}

// New returns a Health that is not draining.
func New(cfg Config) *Health {
	h := &Health{cfg: cfg, storage: newProbe(cmp.Or(cfg.ProbeLife, probeLife), func(ctx context.Context) error {
		err := cfg.Storage(ctx)
		if err != nil {
			cfg.Log.Warn("the store does not take what uploads bring", zap.String("explanation", cfg.Explain(err)), zap.Error(err))
		}
		return err
	})}
	for i, serve := range []http.HandlerFunc{h.lbheartbeat, h.heartbeat, h.version, h.testError} {
		h.mux.HandleFunc(Paths[i], serve)
	}
	return h
}

// Watch probes the store at once and then every minute, until ctx ends. The first uploads thus
// find out nothing that the start could have found out, and Checks is up to date though nobody
// asks for the heartbeat.
func (h *Health) Watch(ctx context.Context) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		h.storage.refresh(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// SetDraining records that the instance takes no more uploads. Load balancers then
// take it out for good.
func (h *Health) SetDraining() { h.draining.Store(true) }

// Draining reports whether SetDraining has been called.
func (h *Health) Draining() bool { return h.draining.Load() }

// ServeHTTP serves GET and HEAD.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(probeWrite)) // the server resets it
	answer.ReadOnly(w, r, h.mux.ServeHTTP, func(p *guard.PanicError) { h.cfg.Panicked(r, p) })
}

// lbheartbeat says whether this instance should get uploads. It never asks the
// store: an outage of the store would take every instance out at once.
func (h *Health) lbheartbeat(w http.ResponseWriter, _ *http.Request) {
	status, text := http.StatusOK, "ok"
	if s, _ := h.cfg.Pressure.State(); s == Out {
		status, text = http.StatusServiceUnavailable, "pressure"
	}
	if h.Draining() {
		status, text = http.StatusServiceUnavailable, "draining"
	}
	answer.JSON(w, status, map[string]string{"status": text})
}

func (h *Health) version(w http.ResponseWriter, _ *http.Request) {
	answer.JSON(w, http.StatusOK, h.cfg.Version)
}

var errTest = errors.New("health: a test error, raised on request")

// testError panics as a bug would, to show where bugs are reported.
func (h *Health) testError(w http.ResponseWriter, r *http.Request) {
	if !h.cfg.Allowed(r) {
		answer.Error(w, http.StatusForbidden, "This requires an Auth-Token to authenticate the request", "Send a token that may upload in the header Auth-Token.")
		return
	}
	panic(errTest)
}
