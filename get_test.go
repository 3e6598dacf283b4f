package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"
)

// response is the answer to a GET.
type response struct {
	status int
	body   []byte
}

func get(t *testing.T, url string) response {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip") // as it is, not expanded by the client
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{resp.StatusCode, body}
}

// awaitAnswer asks until the answer has that status.
func awaitAnswer(t *testing.T, url string, want int) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	ctx := within(t)
	for get(t, url).status != want {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s never answers %d", url, want)
		}
	}
}

// heartbeat is what the heartbeat says.
type heartbeat struct {
	status  int `json:"-"`
	Checks  map[string]string
	Details map[string]struct{ Messages map[string]string }
}

// message is what it says of a check.
func (h heartbeat) message(check string) string {
	return h.Details[check].Messages["spillway."+check]
}

func askHeartbeat(t *testing.T, api string) (h heartbeat) {
	t.Helper()
	got := get(t, api+"/__heartbeat__")
	if err := json.Unmarshal(got.body, &h); err != nil {
		t.Fatal(err)
	}
	h.status = got.status
	return h
}

// awaitCheck asks until a check is at that level, and returns what the heartbeat
// says then.
func awaitCheck(t *testing.T, api, check, level string) heartbeat {
	t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	ctx := within(t)
	for {
		h := askHeartbeat(t, api)
		if h.Checks[check] == level {
			return h
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s is never %q: %+v", check, level, h)
		}
	}
}

// beat is what the heartbeat says of one check.
func beat(t *testing.T, api, check string) (state, message string) {
	t.Helper()
	var b struct {
		Checks  map[string]string
		Details map[string]struct{ Messages map[string]string }
	}
	if err := json.Unmarshal(get(t, api+"/__heartbeat__").body, &b); err != nil {
		t.Fatal(err)
	}
	return b.Checks[check], b.Details[check].Messages["spillway."+check]
}

// until waits until something holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	ctx := within(t)
	for !holds() {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

func gunzip(t *testing.T, data []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
