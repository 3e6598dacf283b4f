package observe_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"spillway/internal/outcome"
	"spillway/observe"
)

// moment is a message to a page, as far as the tests need it.
type moment struct {
	Now     struct{ Memory, Spill, Free, Received, Sent int64 }
	Uploads []struct {
		ID    int64
		Stage string
		Shape struct {
			Filename     string
			ArchiveBytes int64 `json:"archive_bytes"`
			At           string
		}
		Spent []float64
	}
	Ended []struct {
		ID      int64
		Outcome string
		Spent   []float64
	}
	Refusals []struct {
		ID          int64
		Message     string
		Status      int
		Count       int
		First, Last time.Time
		Sender      struct {
			Address   string
			RequestID string `json:"request_id"`
		}
		Digests []string
	}
	Outcomes map[string]int
	Checks   []struct{ Name, Level, Message string }
	Pressure struct {
		State  string
		Events []struct{ What, Text string }
	}
	Labels  []string
	History []json.RawMessage
}

// watchPage opens the event stream of a page. next returns the next message.
func watchPage(t *testing.T, base string) (next func() (event string, m moment)) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", base+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("status %d, %v", resp.StatusCode, resp.Header)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return func() (event string, m moment) {
		t.Helper()
		for lines.Scan() {
			switch name, value, _ := strings.Cut(lines.Text(), ": "); name {
			case "event":
				event = value
			case "data":
				if err := json.Unmarshal([]byte(value), &m); err != nil {
					t.Fatal(err)
				}
			case "":
				return event, m
			}
		}
		return "", m
	}
}

// A page shows an upload from its beginning to its end, and trouble with the disk.
func TestLivePageEvents(t *testing.T) {
	i := newInstance()
	i.used, i.spilled = 70, 30
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() { defer close(watched); i.Watch(ctx) }()
	server := httptest.NewServer(i)
	defer server.Close()
	e := ended(outcome.Stored, outcome.NoReason)
	e.Shape.Filename = "<b>\n\u2028data: x"
	upload := i.uploads.Begin(7, observe.Sender{}, func() observe.Progress {
		return observe.Progress{Stage: outcome.Receiving, Expected: 2000, Shape: e.Shape, Spent: e.Spent}
	})

	next := watchPage(t, server.URL)
	event, m := next()
	if event != "beginning" || strings.Join(m.Labels, " ") != "client memory s3 disk remote cpu" || len(m.History) == 0 || m.Pressure.State != "calm" {
		t.Fatalf("first message: %s %+v", event, m)
	}
	for len(m.Uploads) == 0 {
		if event, m = next(); event == "" {
			t.Fatal("the upload is never shown")
		}
	}
	if u := m.Uploads[0]; u.ID != 7 || u.Stage != "receiving" || u.Shape.Filename != e.Shape.Filename || u.Shape.ArchiveBytes != 1000 || u.Spent[0] != 3 {
		t.Errorf("upload under way: %+v", u)
	}
	if m.Now.Memory != 70 || m.Now.Spill != 30 {
		t.Errorf("in use: %+v", m.Now)
	}
	upload.End(e)
	i.trouble(3)
	for len(m.Ended) == 0 {
		if event, m = next(); event == "" {
			t.Fatal("the upload's end is never shown")
		}
	}
	if u := m.Ended[0]; u.ID != 7 || u.Outcome != "stored" || len(m.Uploads) != 0 || m.Outcomes["stored"] != 1 {
		t.Errorf("ended upload: %+v", m)
	}
	for m.Pressure.State != "out" {
		if event, m = next(); event == "" {
			t.Fatal("the trouble is never shown")
		}
	}
	if n := len(m.Pressure.Events); n != 4 || m.Pressure.Events[3].What != "out" {
		t.Errorf("events: %+v", m.Pressure.Events)
	}

	// A later page gets everything. At the end all are closed.
	if event, m := watchPage(t, server.URL)(); event != "beginning" || len(m.Ended) != 1 {
		t.Errorf("first message of a second page: %s %+v", event, m)
	}
	cancel()
	<-watched
	for event != "" {
		event, _ = next()
	}
	if status, _ := openPage(t, server.URL); status != http.StatusServiceUnavailable {
		t.Errorf("after the end: status %d", status)
	}
}

// openPage opens the event stream of a page, and closes it at once.
func openPage(t *testing.T, base string) (status int, header http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", base+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode, resp.Header
}

// The 33rd page is refused.
func TestTooManyLivePages(t *testing.T) {
	i := newInstance()
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() { defer close(watched); i.Watch(ctx) }()
	server := httptest.NewServer(i)
	defer server.Close()
	defer func() { cancel(); <-watched }()
	for range 32 {
		watchPage(t, server.URL)()
	}
	if status, header := openPage(t, server.URL); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("the 33rd page: %d %v", status, header)
	}
}

// fetch returns the headers that a browser adds to a request (W3C, "Fetch Metadata Request Headers").
func fetch(site, mode, dest string) http.Header {
	return http.Header{"Sec-Fetch-Site": {site}, "Sec-Fetch-Mode": {mode}, "Sec-Fetch-Dest": {dest}}
}

func TestAdminListener(t *testing.T) {
	i := newInstance()
	server := httptest.NewServer(i)
	defer server.Close()
	for _, c := range []struct {
		name, method, path string
		header             http.Header
		host               string
		status             int
		contentType        string
	}{
		{name: "page", path: "/", status: 200, contentType: "text/html; charset=utf-8"},
		{name: "style", path: "/page.css", status: 200, contentType: "text/css; charset=utf-8"},
		{name: "script", path: "/page.js", status: 200, contentType: "text/javascript; charset=utf-8"},
		{name: "panels", path: "/panels.js", status: 200, contentType: "text/javascript; charset=utf-8"},
		{name: "drawing", path: "/draw.js", status: 200, contentType: "text/javascript; charset=utf-8"},
		{name: "icon", path: "/icon.svg", status: 200, contentType: "image/svg+xml"},
		{name: "metrics", path: "/metrics", status: 200},
		{name: "profiles", path: "/debug/pprof/", status: 200},
		{name: "a profile", path: "/debug/pprof/goroutine?debug=1", status: 200},
		{name: "unknown path", path: "/page/", status: 404, contentType: "application/json"},
		{name: "file of the page by its source path", path: "/page/index.html", status: 404},
		{name: "POST", method: "POST", path: "/metrics", status: 405, contentType: "application/json"},
		{name: "by localhost", path: "/", host: "localhost:8001", status: 200},
		{name: "by an address", path: "/", host: "[::1]:8001", status: 200},
		{name: "by a configured name", path: "/metrics", host: "Spillway.example.com:8001", status: 200},
		{name: "by another name, as after rebinding", path: "/", host: "evil.example.com", status: 421},
		{name: "by a name below a configured one", path: "/", host: "x.spillway.example.com", status: 421},
		{name: "script of another site", path: "/events", header: fetch("cross-site", "cors", "empty"), status: 403},
		{name: "script of the same site", path: "/events", header: fetch("same-site", "cors", "empty"), status: 403},
		{name: "script of the live page", path: "/metrics", header: fetch("same-origin", "cors", "empty"), status: 200},
		{name: "typed address", path: "/debug/pprof/", header: fetch("none", "navigate", "document"), status: 200},
		{name: "a link to the page", path: "/", header: fetch("cross-site", "navigate", "document"), status: 200},
		{name: "the page in a frame", path: "/", header: fetch("cross-site", "navigate", "iframe"), status: 403},
		{name: "a link to the profiles", path: "/debug/pprof/", header: fetch("cross-site", "navigate", "document"), status: 403},
		{name: "a link to a profile", path: "/debug/pprof/profile", header: fetch("same-site", "navigate", "document"), status: 403},
		{name: "a link to the metrics", path: "/metrics", header: fetch("cross-site", "navigate", "document"), status: 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.header != nil {
				r.Header = c.header
			}
			if c.host != "" {
				r.Host = c.host
			}
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if resp.StatusCode != c.status || c.contentType != "" && resp.Header.Get("Content-Type") != c.contentType {
				t.Errorf("got %d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
			}
			if policy := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") {
				t.Errorf("policy %q", policy)
			}
			if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Error("X-Content-Type-Options is not nosniff")
			}
		})
	}
}

// On an address other than loopback, names must be configured as well.
func TestAdminHostOnAnyAddress(t *testing.T) {
	i := newInstance()
	for host, status := range map[string]int{
		"evil.example.com": 421, "": 421, "spillway.example.com": 200, "203.0.113.7:8001": 200, "[2001:db8::7]": 200, "localhost": 200,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 8001}))
		r.Host = host
		w := httptest.NewRecorder()
		i.ServeHTTP(w, r)
		if w.Code != status {
			t.Errorf("Host %q: %d, want %d", host, w.Code, status)
		}
	}
}

// An open page does not probe the store. It shows what the last probe found.
func TestLivePageHasTheChecks(t *testing.T) {
	i := newInstance()
	probes := 0
	i.storage = func(context.Context) error { probes++; return errCut }
	ctx, cancel := context.WithCancel(t.Context())
	go i.Watch(ctx)
	server := httptest.NewServer(i)
	defer server.Close()
	defer cancel() // closes the page
	next := watchPage(t, server.URL)
	_, m := next()
	if c := m.Checks[0]; c.Name != "storage" || c.Level != "unknown" || probes != 0 {
		t.Errorf("before the first heartbeat: %+v, after %d probes", c, probes)
	}
	i.probe("/__heartbeat__", "")
	for m.Checks[0].Level == "unknown" {
		if event, later := next(); event == "" {
			t.Fatal("the heartbeat's result is never shown")
		} else {
			m = later
		}
	}
	if c := m.Checks[0]; c.Level != "error" || c.Message == "" || probes != 1 {
		t.Errorf("after it: %+v, after %d probes", c, probes)
	}
	var names []string
	for _, c := range m.Checks {
		names = append(names, c.Name)
	}
	if all := strings.Join(names, " "); all != "storage uploads spill memory janitor" {
		t.Errorf("checks: %s", all)
	}
}
