// Package health says how an instance is: to the probes that decide whether it
// gets traffic (Mozilla, "Dockerflow", section "Specification"), to Prometheus,
// to Sentry, and to people, on a live page.
//
// It knows none of the parts that it reports on: either they report to it, or
// they are handed to it as functions.
package health

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"spillway/health/answer"
)

const (
	// probeWrite bounds a request of a probe, and adminWrite one to the admin
	// listener, so that a client that does not read its answer keeps no connection.
	probeWrite = 30 * time.Second
	adminWrite = 10 * time.Minute
)

// Version is what `/__version__` says of the program.
type Version struct {
	Source  string `json:"source"`  // where its source is
	Version string `json:"version"` // its release
	Commit  string `json:"commit"`  // what it was built from
	Build   string `json:"build"`   // what built it
}

// Config is what an instance's health consists of. Every field must be set,
// unless it says otherwise.
type Config struct {
	Version Version

	// Storage proves that the store takes what an upload brings, and gives it back.
	// It ends soon after its context. Explain says in a line what an error of it
	// means and what to do, without any secret.
	Storage func(ctx context.Context) error
	Explain func(err error) string

	// ProbeLife is how long an answer of Storage is good; 0: 10 s.
	ProbeLife time.Duration

	// Memory and Spill return what is in use. They wait for nothing but a lock.
	Memory func() MemoryUse
	Spill  func() SpillUse

	// Pressure is what the troubles of the machine make of the instance.
	Pressure *Pressure

	// Cleaning returns how each of the cleaning tasks is doing.
	Cleaning func() []Task

	// Tokens returns how the tokens file is doing. May be nil.
	Tokens func() TokensUse

	// LostLog returns how many lines of the log have been dropped. May be nil.
	LostLog func() int

	// Checks are lines of the heartbeat that other packages write. Each is
	// called once a heartbeat and waits for nothing but a lock. May be nil.
	Checks []func() Check

	Uploads  *Uploads
	Metrics  *Metrics
	Reporter *Reporter

	// AdminHosts are the names that requests may call the admin listener by,
	// beside its addresses and localhost. May be nil.
	AdminHosts []string

	// Allowed reports whether a request may raise a test error.
	Allowed func(*http.Request) bool

	Log *zap.Logger
}

// MemoryUse is what has how much of the memory budget, in bytes.
type MemoryUse struct {
	Total   int64
	Floors  int64 // fixed room of the uploads under way
	Leased  int64 // part buffers and decoders
	Held    int64 // entries that wait to be published
	Idle    int64 // part buffers and decoders that no upload uses; this room is free
	Waiting int   // calls that wait for room
}

func (m MemoryUse) used() int64 { return m.Floors + m.Leased + m.Held }

// SpillUse is how much of the quota on the disk is in use, in bytes, and how many
// calls of the disk hang.
type SpillUse struct {
	Quota int64 // 0: there is no disk
	Used  int64
	Stuck int64 // of Used: of uploads that are over, in files whose calls hang

	Hanging  int
	HangsFor time.Duration // the oldest
}

// TokensUse is how the tokens file is doing.
type TokensUse struct {
	Age    time.Duration // since the file was what is in force
	Failed bool          // the last look at the file
}

// Task is how one of the cleaning tasks is doing.
type Task struct {
	Name        string
	Succeeded   int // runs
	Failed      int // runs
	Failures    int // in a row
	Removed     int
	LastSuccess time.Time     // zero if there was none
	Hangs       time.Duration // how long ago the run under way began, if it is past its deadline; else 0
}

// Health is an http.Handler for the paths that [Paths] lists.
type Health struct {
	cfg      Config
	draining atomic.Bool
	storage  *probe
	live     *live
	mux      http.ServeMux
}

// Paths are the paths that a Health answers.
var Paths = []string{"/__lbheartbeat__", "/__heartbeat__", "/__version__", "/__error__"}

// New returns the health of an instance that takes uploads.
func New(cfg Config) *Health {
	h := &Health{cfg: cfg, storage: newProbe(cmp.Or(cfg.ProbeLife, probeLife), func(ctx context.Context) error {
		err := cfg.Storage(ctx)
		if err != nil {
			cfg.Log.Warn("the store does not take what uploads bring", zap.Error(err))
		}
		return err
	})}
	h.live = newLive(h)
	cfg.Metrics.registry.MustRegister(gauges{h})
	for i, serve := range []http.HandlerFunc{h.lbheartbeat, h.heartbeat, h.version, h.testError} {
		h.mux.HandleFunc(Paths[i], serve)
	}
	return h
}

// Watch keeps what the live page shows until ctx ends. Then the pages that are
// open are let go.
func (h *Health) Watch(ctx context.Context) { h.live.run(ctx) }

// SetDraining says that the instance takes no more uploads. Load balancers take
// it out; it does not come back.
func (h *Health) SetDraining() { h.draining.Store(true) }

// ServeHTTP answers GET and HEAD.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(probeWrite)) // the server takes it back
	h.guard(w, r, h.mux.ServeHTTP)
}

// guard has GET and HEAD served. A panic is logged, reported, and answered with
// a 500 unless something has been answered already.
func (h *Health) guard(w http.ResponseWriter, r *http.Request, serve http.HandlerFunc) {
	answer.WithoutBody(w, r)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		answer.Error(w, http.StatusMethodNotAllowed, "Method Not Allowed ("+r.Method+"): "+r.URL.Path)
		return
	}
	tracked := &answer.Tracked{ResponseWriter: w}
	defer func() {
		value := recover()
		switch value {
		case nil:
			return
		case http.ErrAbortHandler:
			panic(value)
		}
		stack := debug.Stack()
		h.cfg.Log.Error("panic", zap.Any("value", value), zap.String("path", r.URL.Path), zap.ByteString("stack", stack))
		h.cfg.Reporter.Panic(value, stack)
		if tracked.Begun {
			panic(http.ErrAbortHandler) // closes the connection in the middle of the answer
		}
		answer.Error(w, http.StatusInternalServerError, "Internal Server Error")
	}()
	serve(tracked, r)
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
	answer.JSON(w, status, map[string]string{"status": says})
}

func (h *Health) version(w http.ResponseWriter, _ *http.Request) {
	answer.JSON(w, http.StatusOK, h.cfg.Version)
}

var errTest = errors.New("health: a test error, raised on request")

// testError fails as a defect would, so that people can see where defects are
// reported.
func (h *Health) testError(w http.ResponseWriter, r *http.Request) {
	if !h.cfg.Allowed(r) {
		answer.Error(w, http.StatusForbidden, "This requires an Auth-Token to authenticate the request")
		return
	}
	panic(errTest)
}
