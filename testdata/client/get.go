package client

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
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

// AwaitStatus waits until a GET of url is answered with that status.
func AwaitStatus(t *testing.T, url string, want int) {
	t.Helper()
	Until(t, fmt.Sprintf("GET %s: %d", url, want), func() bool { return Get(t, url).Status == want })
}

// Heartbeat is the answer of /__heartbeat__.
type Heartbeat struct {
	Status  int `json:"-"`
	Checks  map[string]string
	Details map[string]struct{ Messages map[string]string }
}

// Message returns the message of a check.
func (h Heartbeat) Message(check string) string {
	return h.Details[check].Messages["spillway."+check]
}

// GetHeartbeat returns the heartbeat of a service.
func GetHeartbeat(t *testing.T, api string) (h Heartbeat) {
	t.Helper()
	got := Get(t, api+"/__heartbeat__")
	if err := json.Unmarshal(got.Body, &h); err != nil {
		t.Fatal(err)
	}
	h.Status = got.Status
	return h
}

// AwaitCheck waits until a check has that state, and returns the heartbeat.
func AwaitCheck(t *testing.T, api, check, state string) (h Heartbeat) {
	t.Helper()
	Until(t, check+": "+state, func() bool {
		h = GetHeartbeat(t, api)
		return h.Checks[check] == state
	})
	return h
}

// CheckState returns the state and the message of one check.
func CheckState(t *testing.T, api, check string) (state, message string) {
	t.Helper()
	h := GetHeartbeat(t, api)
	return h.Checks[check], h.Message(check)
}

// Until waits until a condition holds. what names it.
func Until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	ctx := Within(t)
	for !holds() {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("this never came: %s", what)
		}
	}
}

// Gunzip decompresses data.
func Gunzip(t *testing.T, data []byte) []byte {
	t.Helper()
	out, err := gunzip(data)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func gunzip(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
