package health_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"spillway/health"
	"spillway/internal/guard"
	"spillway/stream/budget"
)

// instance is an instance whose state the test sets.
type instance struct {
	*health.Health
	log      *observer.ObservedLogs
	storage  func(context.Context) error
	used     int64
	spilled  int64
	hanging  int
	tasks    []health.Task
	disk     *health.Pressure
	outcomes *health.Outcomes
	holders  []int64
	panics   []error

	checksums string
}

func newInstance(checks ...func() health.Check) *instance {
	core, log := observer.New(zap.DebugLevel)
	i := &instance{log: log, storage: func(context.Context) error { return nil }}
	i.disk = health.NewPressure(health.PressureConfig{Counted: func(health.Trouble, error) {}, Changed: func(health.State, health.Trouble) {}})
	i.outcomes = health.NewOutcomes(health.OutcomeConfig{RoomWait: 30 * time.Second})
	i.Health = health.New(health.Config{
		Version: health.Version{Source: "https://example.com/spillway", Version: "1.2.3", Commit: "abc", Build: "7"},
		Storage: func(ctx context.Context) error { return i.storage(ctx) },
		Explain: func(error) string { return "UploadPart failed: SlowDown. Ask the store." },

		Checksums: func() string { return i.checksums },

		Memory: func() budget.Usage { return budget.Usage{Held: i.used, Total: 100} },
		Spill: func() budget.SpillUsage {
			return budget.SpillUsage{Used: i.spilled, Quota: 100, Hanging: i.hanging, HangsFor: 7 * time.Second}
		},
		Pressure: i.disk,
		Outcomes: i.outcomes,
		Holders:  func() []int64 { return i.holders },
		Checks:   checks,
		Tasks:    func() []health.Task { return i.tasks },
		Allowed:  func(r *http.Request) bool { return r.Header.Get("Auth-Token") == "good" },
		Panicked: func(_ *http.Request, p *guard.PanicError) { i.panics = append(i.panics, p) },
		Log:      zap.New(core),
	})
	return i
}

// trouble makes the disk fail n times.
func (i *instance) trouble(n int) {
	for range n {
		i.disk.Add(health.DiskFailed, syscall.ENOSPC)
	}
}

func (i *instance) do(method, path, token string) (status int, body string) {
	r := httptest.NewRequestWithContext(context.Background(), method, path, nil)
	r.Header.Set("Auth-Token", token)
	w := httptest.NewRecorder()
	i.ServeHTTP(w, r)
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		return w.Code, "Content-Type " + got
	}
	return w.Code, strings.TrimSpace(w.Body.String())
}

// Checks of other packages count as much as those of health.
func TestChecksOfOtherPackages(t *testing.T) {
	for _, tt := range []struct {
		level  health.Level
		status int
	}{{health.OK, 200}, {health.Warning, 200}, {health.Error, 500}} {
		i := newInstance(func() health.Check { return health.Check{Name: "log", Level: tt.level, Message: "Read it."} })
		status, body := i.do(http.MethodGet, "/__heartbeat__", "")
		if want := `"log":"` + tt.level.String() + `"`; status != tt.status || !strings.Contains(body, want) {
			t.Errorf("%v: %d %s, not %d with %s", tt.level, status, body, tt.status, want)
		}
		if told := strings.Contains(body, "Read it."); told != (tt.level != health.OK) {
			t.Errorf("%v: message shown: %v\n%s", tt.level, told, body)
		}
	}
}

func TestAnswers(t *testing.T) {
	down := func(context.Context) error { return errors.New("connection refused") }
	tests := []struct {
		name         string
		set          func(*instance)
		method, path string
		token        string
		status       int
		body         string
	}{
		{name: "load balancer", path: "/__lbheartbeat__", status: 200, body: `{"status":"ok"}`},
		{name: "load balancer while draining", set: func(i *instance) { i.SetDraining() }, path: "/__lbheartbeat__", status: 503, body: `{"status":"draining"}`},
		{name: "load balancer while the store is down", set: func(i *instance) { i.storage = down }, path: "/__lbheartbeat__", status: 200, body: `{"status":"ok"}`},
		{name: "all ok", path: "/__heartbeat__", status: 200, body: `{"status":"ok","checks":{"janitor":"ok","memory":"ok","spill":"ok","storage":"ok","uploads":"ok"},"details":{}}`},
		{name: "memory is short", set: func(i *instance) { i.used = 90 }, path: "/__heartbeat__", status: 200, body: `{"status":"warning","checks":{"janitor":"ok","memory":"warning","spill":"ok","storage":"ok","uploads":"ok"},"details":{"memory":{"status":"warning","level":30,"messages":{"spillway.memory":"90 of 100 bytes of --memory are in use, so uploads wait for one another. Raise --memory, or add instances."}}}}`},
		{name: "memory is not yet short", set: func(i *instance) { i.used = 89 }, path: "/__heartbeat__", status: 200, body: `{"status":"ok","checks":{"janitor":"ok","memory":"ok","spill":"ok","storage":"ok","uploads":"ok"},"details":{}}`},
		{name: "the disk is short", set: func(i *instance) { i.spilled = 90 }, path: "/__heartbeat__", status: 200, body: `{"status":"warning","checks":{"janitor":"ok","memory":"ok","spill":"warning","storage":"ok","uploads":"ok"},"details":{"spill":{"status":"warning","level":30,"messages":{"spillway.spill":"90 of 100 bytes of --spill-quota are in use, so archives that need the disk wait for one another. Raise --spill-quota, or add instances."}}}}`},
		{name: "load balancer after one trouble", set: func(i *instance) { i.trouble(1) }, path: "/__lbheartbeat__", status: 200, body: `{"status":"ok"}`},
		{name: "load balancer under pressure", set: func(i *instance) { i.trouble(3) }, path: "/__lbheartbeat__", status: 503, body: `{"status":"pressure"}`},
		{name: "one trouble", set: func(i *instance) { i.trouble(1) }, path: "/__heartbeat__", status: 200, body: `{"status":"warning","checks":{"janitor":"ok","memory":"ok","spill":"warning","storage":"ok","uploads":"ok"},"details":{"spill":{"status":"warning","level":30,"messages":{"spillway.spill":"The disk of --spill-dir had trouble (last: disk failed). The log has the system's error. Check that the file system is writable, has free inodes and is not damaged. 3 troubles within 2m0s take this instance out of the load balancer."}}}}`},
		{name: "pressure", set: func(i *instance) { i.trouble(3) }, path: "/__heartbeat__", status: 500, body: `{"status":"error","checks":{"janitor":"ok","memory":"ok","spill":"error","storage":"ok","uploads":"ok"},"details":{"spill":{"status":"error","level":40,"messages":{"spillway.spill":"The disk of --spill-dir is in trouble (last: disk failed). The log has the system's error. Check that the file system is writable, has free inodes and is not damaged. /__lbheartbeat__ answers 503 until the disk works again. Uploads that need no disk go on."}}}}`},
		{name: "the disk hangs", set: func(i *instance) { i.hanging = 2 }, path: "/__heartbeat__", status: 200, body: `{"status":"warning","checks":{"janitor":"ok","memory":"ok","spill":"warning","storage":"ok","uploads":"ok"},"details":{"spill":{"status":"warning","level":30,"messages":{"spillway.spill":"The disk of --spill-dir does not respond. 2 of its calls hang, the oldest for 7s. Check the device or the mount."}}}}`},
		{name: "cleaning hangs", set: func(i *instance) {
			i.tasks = []health.Task{{Name: "a", Failures: 1}, {Name: "b", Failures: 1, HangsSince: time.Now().Add(-time.Minute)}}
		}, path: "/__heartbeat__", status: 500, body: `{"status":"error","checks":{"janitor":"error","memory":"ok","spill":"ok","storage":"ok","uploads":"ok"},"details":{"janitor":{"status":"error","level":40,"messages":{"spillway.janitor":"Cleaning the b has hung for 1m0s. Uploads go on, but leftovers pile up. Check the disk or the store that it cleans."}}}}`},
		{name: "cleaning failed", set: func(i *instance) { i.tasks = []health.Task{{Name: "a"}, {Name: "b", Failures: 1}} }, path: "/__heartbeat__", status: 200, body: `{"status":"warning","checks":{"janitor":"warning","memory":"ok","spill":"ok","storage":"ok","uploads":"ok"},"details":{"janitor":{"status":"warning","level":30,"messages":{"spillway.janitor":"Cleaning the b failed and will be retried. The log says why."}}}}`},
		{name: "cleaning fails again and again", set: func(i *instance) { i.tasks = []health.Task{{Name: "a", Failures: 1}, {Name: "b", Failures: 3}} }, path: "/__heartbeat__", status: 500, body: `{"status":"error","checks":{"janitor":"error","memory":"ok","spill":"ok","storage":"ok","uploads":"ok"},"details":{"janitor":{"status":"error","level":40,"messages":{"spillway.janitor":"Cleaning the b has failed 3 times in a row. Uploads go on, but leftovers pile up. The log says why."}}}}`},
		{name: "the version", path: "/__version__", status: 200, body: `{"source":"https://example.com/spillway","version":"1.2.3","commit":"abc","build":"7"}`},
		{name: "the test error without a token", path: "/__error__", status: 403, body: `{"error":"This requires an Auth-Token to authenticate the request","detail":"Send a token that may upload in the header Auth-Token.","upload_id":null}`},
		{name: "the test error", path: "/__error__", token: "good", status: 500, body: `{"error":"Internal Server Error","detail":"This is a defect of the server. Those who run it find it in its log.","upload_id":null}`},
		{name: "another method", method: "POST", path: "/__version__", status: 405, body: `{"error":"Method Not Allowed (POST): /__version__","detail":"This path answers GET and HEAD.","upload_id":null}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := newInstance()
			if tt.set != nil {
				tt.set(i)
			}
			status, body := i.do(max(tt.method, "GET"), tt.path, tt.token)
			if status != tt.status || body != tt.body {
				t.Errorf("got %d %s\nwant %d %s", status, body, tt.status, tt.body)
			}
		})
	}
}

// TestChecksums checks that the heartbeat says by what the store checks what it gets.
func TestChecksums(t *testing.T) {
	for _, tt := range []struct {
		checksums string
		err       error
		says      string
	}{
		{"Checked by MD5.", nil, `"details":{"storage":{"status":"ok","level":0,"messages":{"spillway.storage":"Checked by MD5."}}}`},
		{"", nil, `"details":{}`},
		{"Checked by MD5.", errors.New("down"), `"messages":{"spillway.storage":"Uploads cannot be stored`},
	} {
		i := newInstance()
		i.checksums = tt.checksums
		i.storage = func(context.Context) error { return tt.err }
		if _, body := i.do("GET", "/__heartbeat__", ""); !strings.Contains(body, tt.says) {
			t.Errorf("%q, %v: %s", tt.checksums, tt.err, body)
		}
	}
}

func TestStoreDown(t *testing.T) {
	i := newInstance()
	i.storage = func(context.Context) error { return errors.New("the secret words of the store") }
	status, body := i.do("GET", "/__heartbeat__", "")
	var answer struct {
		Status  string
		Checks  map[string]string
		Details map[string]struct{ Messages map[string]string }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	if status != 500 || answer.Status != "error" || answer.Checks["storage"] != "error" || answer.Checks["memory"] != "ok" {
		t.Errorf("got %d %s", status, body)
	}
	if !strings.Contains(answer.Details["storage"].Messages["spillway.storage"], "UploadPart failed: SlowDown. Ask the store.") || strings.Contains(body, "secret") {
		t.Errorf("the message does not say what to do, or quotes the store: %s", body)
	}
	i.do("GET", "/__heartbeat__", "") // the result is reused and not logged again
	if i.log.FilterField(zap.Error(errors.New("the secret words of the store"))).Len() != 1 {
		t.Errorf("the store's error is not logged once: %v", i.log.All())
	}
}

func TestTestErrorNeedsAToken(t *testing.T) {
	i := newInstance()
	i.do("GET", "/__error__", "bad")
	if len(i.panics) != 0 {
		t.Errorf("without a token: %v", i.panics)
	}
	i.do("GET", "/__error__", "good")
	if len(i.panics) != 1 || !strings.Contains(i.panics[0].Error(), "a test error") {
		t.Errorf("with a token: %v", i.panics)
	}
}

// Many heartbeats at once probe the store at most once in ten seconds, and wait for
// it at most five.
func TestHeartbeatsDoNotLoadTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		i := newInstance()
		i.storage = func(ctx context.Context) error { // hangs
			asked++
			<-ctx.Done()
			return context.Cause(ctx)
		}
		began := time.Now()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if status, body := i.do("GET", "/__heartbeat__", ""); status != 500 {
					t.Errorf("got %d %s", status, body)
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took != 5*time.Second || asked != 1 {
			t.Errorf("20 heartbeats with a hanging store took %v and probed it %d times, want 5s and once", took, asked)
		}
		i.storage = func(context.Context) error { asked++; return nil }
		time.Sleep(10*time.Second - time.Nanosecond)
		if status, _ := i.do("GET", "/__heartbeat__", ""); status != 500 || asked != 1 {
			t.Errorf("within ten seconds: status %d, %d probes", status, asked)
		}
		time.Sleep(1 * time.Nanosecond)
		if status, _ := i.do("GET", "/__heartbeat__", ""); status != 200 || asked != 2 {
			t.Errorf("after ten seconds: status %d, %d probes", status, asked)
		}
	})
}
