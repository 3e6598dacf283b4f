// Package health answers the probes that decide whether this instance gets
// traffic: Dockerflow's endpoints (Mozilla, "Dockerflow", section
// "Specification"). It knows none of the parts that it reports on: they are
// handed to it as functions.
package health

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"

	"go.uber.org/zap"
)

// Version is what `/__version__` says of the program.
type Version struct {
	Source  string `json:"source"`  // where its source is
	Version string `json:"version"` // its release
	Commit  string `json:"commit"`  // what it was built from
	Build   string `json:"build"`   // what built it
}

// Config is what an instance's health consists of. Every field must be set.
type Config struct {
	Version Version

	// Storage proves that the store can be reached and written to. It makes
	// nothing visible. It ends soon after its context.
	Storage func(ctx context.Context) error

	// Memory returns how much of the budget of all uploads is in use, and the
	// budget, both in bytes.
	Memory func() (used, total int64)

	// Spill returns how much disk uploads take, and what they may take
	// together, both in bytes; a quota of zero says that there is no disk.
	Spill func() (used, quota int64)

	// Pressure is what the troubles of the machine make of the instance.
	Pressure *Pressure

	// Cleaning returns how each of the cleaning tasks is doing.
	Cleaning func() []Task

	// Allowed reports whether a request may raise a test error.
	Allowed func(*http.Request) bool

	Log *zap.Logger
}

// Task is how one of the cleaning tasks is doing.
type Task struct {
	Name     string
	Failures int // in a row
}

// Health is an http.Handler for the paths that [Paths] lists.
type Health struct {
	cfg      Config
	draining atomic.Bool
	storage  *probe
	mux      http.ServeMux
}

// Paths are the paths that a Health answers.
var Paths = []string{"/__lbheartbeat__", "/__heartbeat__", "/__version__", "/__error__"}

// New returns the health of an instance that takes uploads.
func New(cfg Config) *Health {
	h := &Health{cfg: cfg, storage: newProbe(func(ctx context.Context) error {
		err := cfg.Storage(ctx)
		if err != nil {
			cfg.Log.Warn("the store does not answer the heartbeat", zap.Error(err))
		}
		return err
	})}
	for i, serve := range []http.HandlerFunc{h.lbheartbeat, h.heartbeat, h.version, h.testError} {
		h.mux.HandleFunc(Paths[i], serve)
	}
	return h
}

// SetDraining says that the instance takes no more uploads. Load balancers take
// it out; it does not come back.
func (h *Health) SetDraining() { h.draining.Store(true) }

// ServeHTTP answers GET and HEAD.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeError(w, http.StatusMethodNotAllowed, "Method Not Allowed ("+r.Method+"): "+r.URL.Path)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// lbheartbeat says whether this instance should get traffic. It never asks the
// store: when that is down, taking every instance out at once helps nobody.
func (h *Health) lbheartbeat(w http.ResponseWriter, _ *http.Request) {
	status, says := http.StatusOK, "ok"
	if s, _ := h.cfg.Pressure.State(); s == Out {
		status, says = http.StatusServiceUnavailable, "pressure"
	}
	if h.draining.Load() {
		status, says = http.StatusServiceUnavailable, "draining"
	}
	writeJSON(w, status, map[string]string{"status": says})
}

func (h *Health) version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, h.cfg.Version)
}

var errTest = errors.New("health: a test error, raised on request")

// testError fails as a defect would, so that people can see where defects are
// reported.
func (h *Health) testError(w http.ResponseWriter, r *http.Request) {
	if !h.cfg.Allowed(r) {
		writeError(w, http.StatusForbidden, "This requires an Auth-Token to authenticate the request")
		return
	}
	h.cfg.Log.Error("test error", zap.Error(errTest))
	writeError(w, http.StatusInternalServerError, "Internal Server Error")
}
