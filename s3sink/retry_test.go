package s3sink_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"spillway/s3sink"
	"spillway/stream"
)

// TestThrottling checks that a store that takes 150 requests per second and refuses the
// others gets fewer requests, and everything in the end. The answer to a HEAD has only a
// status.
func TestThrottling(t *testing.T) {
	for name, refusal := range map[string]func() *http.Response{
		"SlowDown":          func() *http.Response { return refuse(503, "SlowDown") },
		"Too Many Requests": func() *http.Response { return respond(429, "", nil) },
	} {
		inFakeTime(t, name, func(t *testing.T) { testThrottling(t, refusal) })
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
	// Refused are those that were in flight at the first refusal, and a few while the rate
	// is raised to find out what the store accepts now.
	if refused == 0 || refused > atOnce+files/5 {
		t.Errorf("%d requests were refused; %d were on their way when the first was", refused, atOnce)
	}
	if took := time.Since(begun); took > 3*2*files/rate*time.Second {
		t.Errorf("it took %v at %d requests a second", took, rate)
	}
}

// TestOperationDeadline checks the time limit of an operation whose attempts fail. A body
// adds a second for each MiB.
func TestOperationDeadline(t *testing.T) {
	for name, c := range map[string]struct {
		operation string
		each      time.Duration // until an attempt fails
		at, most  time.Duration // when the operation fails, with the abort of its upload
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
			if late := c.each > 0; late != strings.Contains(err.Error(), "the limit of") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// TestFailuresOfAllRequests checks how many requests are retried while the store fails all
// of them: a hundred, and one more per second.
func TestFailuresOfAllRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{answer: func(string, int, *http.Request) (*http.Response, error) {
			time.Sleep(100 * time.Millisecond)
			return refuse(500, "InternalError"), nil
		}}
		r := newFakeRig(t, store, nil)
		uploads := loadFor(t, r, 4, 5*time.Minute)
		if retries := store.count("HeadObject") - uploads; retries > 100+5*60 {
			t.Errorf("%d retries of %d uploads in 5 minutes", retries, uploads)
		}
	})
}

// loadFor uploads small files for that time, several at once, and returns how many it
// uploaded.
func loadFor(t *testing.T, r *rig, atOnce int, d time.Duration) int {
	t.Helper()
	var n atomic.Int64
	var clients sync.WaitGroup
	begun := time.Now()
	for range atOnce {
		clients.Go(func() {
			for time.Since(begun) < d {
				n.Add(1)
				if _, err := r.upload(t, file{name: "a/1/a", form: stream.AsIs, data: data(10, 1)}); err == nil {
					t.Error("the store fails, and an upload did not")
				}
			}
		})
	}
	clients.Wait()
	return int(n.Load())
}

// TestOutage checks that uploads are stored at once and at full speed when a store answers
// again after half a minute. Some requests fail now and then, as with every store.
func TestOutage(t *testing.T) {
	t.Parallel()
	downs := map[string]func(*http.Request) (*http.Response, error){
		"internal error":   func(*http.Request) (*http.Response, error) { return refuse(500, "InternalError"), nil },
		"slow down":        func(*http.Request) (*http.Response, error) { return refuse(503, "SlowDown"), nil },
		"no body":          func(*http.Request) (*http.Response, error) { return respond(503, "", nil), nil },
		"nobody listening": func(*http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED },
		"silence": func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, context.Cause(req.Context())
		},
	}
	for name, down := range downs {
		inFakeTime(t, name, func(t *testing.T) {
			const outage = 30 * time.Second
			begun := time.Now()
			var hiccups atomic.Int64
			store := &fakeStore{answer: func(_ string, _ int, req *http.Request) (*http.Response, error) {
				time.Sleep(time.Millisecond)
				if time.Since(begun) < outage {
					return down(req)
				}
				if hiccups.Add(1)%20 == 10 {
					return refuse(500, "InternalError"), nil
				}
				return nil, nil
			}}
			r := newFakeRig(t, store, func(cfg *s3sink.Config) {
				cfg.Concurrency, cfg.AttemptTimeout, cfg.MaxBackoff = 64, 10*time.Second, 100*time.Millisecond
			})
			var load sync.WaitGroup
			for range 3 {
				load.Go(func() {
					for time.Since(begun) < outage {
						_, _ = r.upload(t, small("load", 100)...)
						time.Sleep(time.Second)
					}
				})
			}
			time.Sleep(outage)
			for i := range 4 {
				asked := time.Now()
				if _, err := r.upload(t, small(fmt.Sprint(i), 100)...); err != nil {
					t.Errorf("upload %d, %v after the outage: %v", i, time.Since(begun)-outage, err)
				}
				if took := time.Since(asked); took > 4*time.Second {
					t.Errorf("upload %d, %v after the outage, took %v", i, time.Since(begun)-outage, took)
				}
			}
			load.Wait()
		})
	}
}

// TestSpellOfThrottling checks that a store that refuses a third of the requests for a few
// seconds gets all of them again soon afterwards.
func TestSpellOfThrottling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const spell, soon = 4 * time.Second, 20 * time.Second
		begun := time.Now()
		var n atomic.Int64
		store := &fakeStore{answer: func(string, int, *http.Request) (*http.Response, error) {
			time.Sleep(10 * time.Millisecond)
			if n.Add(1)%3 == 0 && time.Since(begun) < spell {
				return refuse(503, "SlowDown"), nil
			}
			return nil, nil
		}}
		r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.Concurrency = 64 })
		var load sync.WaitGroup
		for range 3 {
			load.Go(func() {
				for time.Since(begun) < spell {
					_, _ = r.upload(t, small("load", 100)...)
				}
			})
		}
		load.Wait()
		for time.Since(begun) < spell+soon {
			if _, err := r.upload(t, small("b", 1)...); err != nil {
				t.Error(err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		asked := time.Now()
		if _, err := r.upload(t, small("a", 300)...); err != nil {
			t.Error(err)
		}
		if took := time.Since(asked); took > 4*time.Second {
			t.Errorf("600 requests take %v, %v after the last refusal", took, asked.Sub(begun)-spell)
		}
	})
}

// small returns n small files of a module of that name.
func small(module string, n int) (files []file) {
	for i := range n {
		files = append(files, file{name: fmt.Sprintf("%s/1/%d", module, i), form: stream.AsIs, data: data(10, byte(i))})
	}
	return files
}

// TestRetriesAreNotUsedUp checks that requests to a store that fails now and then,
// sometimes twice in a row, are always retried.
func TestRetriesAreNotUsedUp(t *testing.T) {
	t.Parallel()
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

// credentialsSource is a server of credentials that claim to be valid for an hour: key1,
// key2 and so on. New sinks without credentials of their own use it.
type credentialsSource struct {
	down    atomic.Bool
	fetched atomic.Int64
}

func newCredentialsSource(t *testing.T) *credentialsSource {
	t.Helper()
	s := &credentialsSource{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := s.fetched.Add(1)
		if s.down.Load() {
			http.Error(w, "down", http.StatusBadRequest) // 500 would be retried
			return
		}
		fmt.Fprintf(w, `{"AccessKeyId": "key%d", "SecretAccessKey": "secret", "Token": "token", "Expiration": %q}`,
			n, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.URL)
	return s
}

// withoutCredentials makes a sink take its credentials from the environment.
func withoutCredentials(cfg *s3sink.Config) {
	cfg.AccessKey, cfg.SecretKey, cfg.MaxBackoff = "", "", time.Millisecond
}

// TestExpiredCredentials checks that credentials that the store refuses are fetched again,
// although they claim to be valid.
func TestExpiredCredentials(t *testing.T) {
	for name, f := range map[string]file{
		"HeadObject":            {name: "a/1/a", form: stream.AsIs, data: data(10, 1)},
		"CreateMultipartUpload": {name: "a/1/a", form: stream.AsIs, data: data(6<<20, 1), unstated: true},
	} {
		t.Run(name, func(t *testing.T) {
			source := newCredentialsSource(t)
			store := &fakeStore{answer: func(_ string, _ int, req *http.Request) (*http.Response, error) {
				if strings.Contains(req.Header.Get("Authorization"), "Credential=key1/") {
					return refuse(400, "ExpiredToken"), nil // the answer to a HEAD does not show the code
				}
				return nil, nil
			}}
			r := newFakeRig(t, store, withoutCredentials)
			if _, err := r.upload(t, f); err != nil {
				t.Error(err)
			}
			if n := source.fetched.Load(); n != 2 || store.count(name) < 2 {
				t.Errorf("credentials were fetched %d times, want 2", n)
			}
		})
	}
}

// TestGoodCredentials checks that an answer that only seems to say that credentials have
// expired causes neither many fetches nor the loss of good credentials.
func TestGoodCredentials(t *testing.T) {
	bad := func(heads int) *fakeStore {
		return &fakeStore{answer: func(operation string, n int, _ *http.Request) (*http.Response, error) {
			if operation == "HeadObject" && n <= heads {
				return refuse(400, "InvalidRequest"), nil
			}
			return nil, nil
		}}
	}
	f := file{name: "a/1/a", form: stream.AsIs, data: data(10, 1)}
	t.Run("bad requests", func(t *testing.T) {
		source := newCredentialsSource(t)
		store := bad(1000)
		r := newFakeRig(t, store, withoutCredentials)
		for range 10 {
			_, err := r.upload(t, f)
			wantStoreError(t, err)
		}
		if n := source.fetched.Load(); n != 2 {
			t.Errorf("credentials were fetched %d times for %d requests, want 2", n, store.count("HeadObject"))
		}
	})
	t.Run("source down", func(t *testing.T) {
		source := newCredentialsSource(t)
		r := newFakeRig(t, bad(2), withoutCredentials)
		if err := r.sink.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		source.down.Store(true)
		if _, err := r.upload(t, f); err != nil {
			t.Error(err)
		}
		if n := source.fetched.Load(); n < 2 {
			t.Errorf("credentials were fetched %d times, want them to be fetched again", n)
		}
	})
}
