package client

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"
)

// Response is the answer to a GET.
type Response struct {
	Status int
	Body   []byte
}

// Get asks for url. The body is as it was sent, and may be gzip.
func Get(t *testing.T, url string) Response {
	t.Helper()
	req, err := http.NewRequestWithContext(Within(t), http.MethodGet, url, http.NoBody)
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
	return Response{resp.StatusCode, body}
}

// AwaitStatus asks until the answer has that status.
func AwaitStatus(t *testing.T, url string, want int) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	ctx := Within(t)
	for Get(t, url).Status != want {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s never answers %d", url, want)
		}
	}
}

// Heartbeat is what the heartbeat says.
type Heartbeat struct {
	Status  int `json:"-"`
	Checks  map[string]string
	Details map[string]struct{ Messages map[string]string }
}

// Message is what it says of a check.
func (h Heartbeat) Message(check string) string {
	return h.Details[check].Messages["spillway."+check]
}

// GetHeartbeat asks for the heartbeat of a service.
func GetHeartbeat(t *testing.T, api string) (h Heartbeat) {
	t.Helper()
	got := Get(t, api+"/__heartbeat__")
	if err := json.Unmarshal(got.Body, &h); err != nil {
		t.Fatal(err)
	}
	h.Status = got.Status
	return h
}

// AwaitCheck asks until a check is at that level, and returns what the heartbeat
// says then.
func AwaitCheck(t *testing.T, api, check, level string) Heartbeat {
	t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	ctx := Within(t)
	for {
		h := GetHeartbeat(t, api)
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

// CheckState returns what the heartbeat says of one check.
func CheckState(t *testing.T, api, check string) (state, message string) {
	t.Helper()
	var b struct {
		Checks  map[string]string
		Details map[string]struct{ Messages map[string]string }
	}
	if err := json.Unmarshal(Get(t, api+"/__heartbeat__").Body, &b); err != nil {
		t.Fatal(err)
	}
	return b.Checks[check], b.Details[check].Messages["spillway."+check]
}

// Until waits until something holds.
func Until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	ctx := Within(t)
	for !holds() {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

// Gunzip decompresses data.
func Gunzip(t *testing.T, data []byte) []byte {
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
