package s3sink_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"spillway/s3sink"
)

// TestProbeIsPatient checks that a probe succeeds although one request fails, whichever that
// is.
func TestProbeIsPatient(t *testing.T) {
	for _, fails := range append([]string{"CompleteMultipartUpload", "DeleteObject"}, probeOperations...) {
		inFakeTime(t, fails, func(t *testing.T) {
			store := &fakeStore{answer: func(op string, n int, _ *http.Request) (*http.Response, error) {
				if op == fails && n == 1 {
					return refuse(500, "InternalError"), nil
				}
				return nil, nil
			}}
			r := newFakeRig(t, store, nil)
			begun := time.Now()
			if err := r.sink.Probe(t.Context()); err != nil || time.Since(begun) > 4*time.Second {
				t.Errorf("after %v: %v", time.Since(begun), err)
			}
		})
	}
}

// TestProbeCosts counts the requests of a probe. A healthy store gets those of an entry and
// of the probe's object. A check that fails is repeated once, if an upload would have
// retried it. A HEAD that is refused is followed by a GET.
func TestProbeCosts(t *testing.T) {
	healthy := map[string]int{
		"HeadObject": 1, "PutObject": 1, "GetObject": 2, "DeleteObject": 2,
		"CreateMultipartUpload": 3, "UploadPart": 2, "CompleteMultipartUpload": 1, "AbortMultipartUpload": 2,
	}
	for _, c := range []struct {
		name, operation string
		answer          reply
		more            map[string]int // than a healthy store gets
	}{
		{"healthy", "", nil, nil},
		{"HEAD, 403", "HeadObject", func(*http.Request) (*http.Response, error) { return refuse(403, "AccessDenied"), nil }, map[string]int{"GetObject": 1, "DeleteObject": -2}},
		{"HEAD, 503", "HeadObject", func(*http.Request) (*http.Response, error) { return refuse(503, "SlowDown"), nil }, map[string]int{"HeadObject": 1, "GetObject": 2, "DeleteObject": -2}},
		{"HEAD, no connection", "HeadObject", func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}, map[string]int{"HeadObject": 1, "DeleteObject": -2}},
		{"object, 403", "PutObject", func(*http.Request) (*http.Response, error) { return refuse(403, "AccessDenied"), nil }, map[string]int{
			"GetObject": -1, "DeleteObject": -2,
		}},
		{"object, 500", "PutObject", func(*http.Request) (*http.Response, error) { return refuse(500, "InternalError"), nil }, map[string]int{
			"PutObject": 1, "GetObject": -1, "DeleteObject": -2,
		}},
	} {
		inFakeTime(t, c.name, func(t *testing.T) {
			store := &fakeStore{answer: func(op string, _ int, req *http.Request) (*http.Response, error) {
				if op == c.operation {
					return c.answer(req)
				}
				return nil, nil
			}}
			r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.TryPrefix = cfg.Prefix })
			if err := r.sink.Probe(t.Context()); (err == nil) != (c.operation == "") {
				t.Error(err)
			}
			for operation, n := range healthy {
				if got, want := store.count(operation), n+c.more[operation]; got != want {
					t.Errorf("%s: %d requests, want %d", operation, got, want)
				}
			}
		})
	}
}

// TestLastErrorIsKept checks that an operation that runs out of time, or whose context
// ends, returns the code of its last attempt.
func TestLastErrorIsKept(t *testing.T) {
	hang := func(req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, context.Cause(req.Context())
	}
	for _, c := range []struct {
		name    string
		answers []reply // the last one again and again
		code    string
	}{
		{"a refusal", []reply{func(*http.Request) (*http.Response, error) { return refuse(503, "SlowDown"), nil }}, "SlowDown"},
		{"no connection", []reply{func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}}, "connection refused"},
		{"a hang after a refusal", []reply{func(*http.Request) (*http.Response, error) { return refuse(503, "SlowDown"), nil }, hang}, "no answer in time"},
	} {
		inFakeTime(t, c.name, func(t *testing.T) {
			store := &fakeStore{answer: func(op string, n int, req *http.Request) (*http.Response, error) {
				if op == "PutObject" {
					return c.answers[min(n, len(c.answers))-1](req)
				}
				return nil, nil
			}}
			r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.AttemptTimeout = time.Second })
			_, err := r.upload(t, small("a", 1)...)
			if failed := storeError(t, err); failed.Op != "PutObject" || failed.Code != c.code || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s failed: %s: %v; want %s", failed.Op, failed.Code, err, c.code)
			}
		})
	}
}
