package s3sink_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"spillway/s3sink"
	"spillway/stream"
)

// TestThrottling: a store that takes a hundred and fifty requests a second, and
// refuses the others, is asked less often, and gets everything in the end. The
// answer to a HEAD says no more than its status.
// The SDK's limiter waits for parts of a nanosecond, which never pass in fake
// time.
func TestThrottling(t *testing.T) {
	for name, refusal := range map[string]func() *http.Response{
		"SlowDown":          func() *http.Response { return refuse(503, "SlowDown") },
		"Too Many Requests": func() *http.Response { return respond(429, "", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait, mostly
			testThrottling(t, refusal)
		})
	}
}

func testThrottling(t *testing.T, refusal func() *http.Response) {
	const files, rate, atOnce = 300, 150, 64
	var mu sync.Mutex
	refused, room, second := 0, rate, time.Now()
	store := &fakeStore{answer: func(string, int, *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(second) >= time.Second {
			room, second = rate, now
		}
		if room == 0 {
			refused++
			return refusal(), nil
		}
		room--
		return nil, nil
	}}
	r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.Concurrency = atOnce })
	var all []file
	for i := range files {
		all = append(all, file{name: fmt.Sprintf("a/1/%d", i), form: stream.AsIs, data: data(10, byte(i))})
	}
	begun := time.Now()
	batch, err := r.upload(t, all...)
	if err != nil {
		t.Fatalf("after %v, %d times refused: %v", time.Since(begun), refused, err)
	}
	if n := len(batch.Uploaded()); n != files {
		t.Errorf("%d of %d stored", n, files)
	}
	t.Logf("%d requests in %v, of which %d were refused before", 2*files, time.Since(begun), refused)
	if refused == 0 || refused > atOnce {
		t.Errorf("%d requests were refused; %d were on their way when the first was", refused, atOnce)
	}
}

// TestOperationDeadline: however long it goes on with attempts that fail, an
// operation has an end. What has a body has a second more for each MiB.
func TestOperationDeadline(t *testing.T) {
	for name, c := range map[string]struct {
		operation string
		each      time.Duration // until an attempt fails
		at, most  time.Duration // when all of it has, the abort of an upload included
	}{
		"slow failures":      {"HeadObject", 55 * time.Second, 180 * time.Second, 180 * time.Second},
		"of a part":          {"UploadPart", 65 * time.Second, 195 * time.Second, 205 * time.Second},
		"silence":            {"HeadObject", time.Hour, 180 * time.Second, 180 * time.Second},
		"silence for a part": {"UploadPart", time.Hour, 195 * time.Second, 205 * time.Second},
		"quick failures":     {"HeadObject", 0, time.Second, 60 * time.Second},
	} {
		inFakeTime(t, name, func(t *testing.T) {
			store := &fakeStore{answer: func(op string, _ int, req *http.Request) (*http.Response, error) {
				if op != c.operation {
					return nil, nil
				}
				select {
				case <-time.After(c.each):
					return refuse(500, "InternalError"), nil
				case <-req.Context().Done():
					return nil, context.Cause(req.Context())
				}
			}}
			r := newFakeRig(t, store, nil)
			size := 10
			if c.operation == "UploadPart" {
				size = 5 << 20
			}
			begun := time.Now()
			_, err := r.upload(t, file{name: "a/1/a", form: stream.AsIs, data: data(size, 1), leased: size > 10})
			wantStoreError(t, err)
			if took := time.Since(begun); took < c.at || took > c.most {
				t.Errorf("failed after %v, want %v to %v: %v", took, c.at, c.most, err)
			}
			if late := c.each > 0; late != strings.Contains(err.Error(), "all attempts together") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// TestFailuresOfAllRequests: while the store fails all the time, not every
// request is tried as often as it may be.
func TestFailuresOfAllRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{answer: func(string, int, *http.Request) (*http.Response, error) { return refuse(500, "InternalError"), nil }}
		r := newFakeRig(t, store, nil)
		const uploads = 200
		for range uploads {
			if _, err := r.upload(t, file{name: "a/1/a", form: stream.AsIs, data: data(10, 1)}); err == nil {
				t.Fatal("no error")
			}
		}
		if n := store.count("HeadObject"); n > 2*uploads {
			t.Errorf("%d requests of %d uploads", n, uploads)
		}
	})
}

// TestRetriesAreNotUsedUp: a store that fails now and then, sometimes twice in a
// row, is tried again however long that goes on.
func TestRetriesAreNotUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		store := &fakeStore{answer: func(string, int, *http.Request) (*http.Response, error) {
			if n.Add(1)%20 < 2 {
				return refuse(500, "InternalError"), nil
			}
			return nil, nil
		}}
		r := newFakeRig(t, store, nil)
		for i := range 3000 {
			if _, err := r.upload(t, file{name: "a/1/a", form: stream.AsIs, data: data(10, 1)}); err != nil {
				t.Fatalf("upload %d: %v", i, err)
			}
		}
	})
}

// TestExpiredCredentials: credentials that the store does not take any more are
// fetched again, although they say of themselves that they are good.
func TestExpiredCredentials(t *testing.T) {
	var fetched atomic.Int64
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"AccessKeyId": "key%d", "SecretAccessKey": "secret", "Token": "token", "Expiration": %q}`,
			fetched.Add(1), time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	defer source.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", source.URL)
	for name, f := range map[string]file{
		"HeadObject":            {name: "a/1/a", form: stream.AsIs, data: data(10, 1)},
		"CreateMultipartUpload": {name: "a/1/a", form: stream.AsIs, data: data(6<<20, 1), unstated: true},
	} {
		t.Run(name, func(t *testing.T) {
			fetched.Store(0)
			store := &fakeStore{answer: func(operation string, _ int, req *http.Request) (*http.Response, error) {
				switch {
				case !strings.Contains(req.Header.Get("Authorization"), "Credential=key1/"):
					return nil, nil
				case operation == "HeadObject":
					return respond(400, "", nil), nil // no body says what is wrong
				}
				return refuse(400, "ExpiredToken"), nil
			}}
			r := newFakeRig(t, store, func(cfg *s3sink.Config) {
				cfg.AccessKey, cfg.SecretKey, cfg.MaxBackoff = "", "", time.Millisecond
			})
			if _, err := r.upload(t, f); err != nil {
				t.Error(err)
			}
			if n := fetched.Load(); n != 2 || store.count(name) < 2 {
				t.Errorf("credentials were fetched %d times, want 2", n)
			}
		})
	}
}
