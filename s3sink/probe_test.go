package s3sink_test

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"spillway/s3sink"
)

// probeOperations are the requests of a probe.
var probeOperations = []string{"HeadObject", "GetObject", "PutObject", "CreateMultipartUpload", "UploadPart", "AbortMultipartUpload"}

// denied is the code of a 403. The answer to a HEAD has no body with S3's code.
var denied = map[string]string{
	"HeadObject": "Forbidden", "GetObject": "AccessDenied", "PutObject": "AccessDenied",
	"CreateMultipartUpload": "AccessDenied", "UploadPart": "AccessDenied", "AbortMultipartUpload": "AccessDenied",
}

// TestProbeHasAnEnd checks that a probe of a store that does not answer ends with its
// context.
func TestProbeHasAnEnd(t *testing.T) {
	for _, silent := range probeOperations {
		inFakeTime(t, silent, func(t *testing.T) {
			store := &fakeStore{answer: func(op string, _ int, req *http.Request) (*http.Response, error) {
				if op == silent {
					<-req.Context().Done()
					return nil, context.Cause(req.Context())
				}
				return nil, nil
			}}
			r := newFakeRig(t, store, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			begun := time.Now()
			err := r.sink.Probe(ctx)
			if failed := storeError(t, err); failed.Op != silent || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("failed at %s: %v", failed.Op, err)
			}
			if took := time.Since(begun); took != 5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestProbeOfPermissions checks that a probe finds each missing permission, for regular
// and for try symbols. Without s3:ListBucket, S3 answers 403 to a HEAD of an object that
// does not exist.
func TestProbeOfPermissions(t *testing.T) {
	for _, lacks := range probeOperations {
		for _, under := range []string{"/bucket/v1/", "/bucket/try/v1/"} {
			t.Run(lacks+" "+under, func(t *testing.T) {
				store := &fakeStore{answer: func(op string, _ int, req *http.Request) (*http.Response, error) {
					if op == lacks && strings.HasPrefix(req.URL.Path, under) {
						return refuse(403, "AccessDenied"), nil
					}
					return nil, nil
				}}
				r := newFakeRig(t, store, nil)
				if failed := storeError(t, r.sink.Probe(t.Context())); failed.Op != lacks || !strings.HasPrefix("/bucket/"+failed.Key, under+".spillway-") || failed.Code != denied[lacks] {
					t.Errorf("failed at %s of %s: %s", failed.Op, failed.Key, failed.Code)
				} else if says := s3sink.Explain(failed); !strings.Contains(says, lacks) || !strings.Contains(says, failed.Code) || !strings.Contains(says, "needs s3:") {
					t.Errorf("explained as %q", says)
				}
			})
		}
	}
}

// reply is a store's answer to a request.
type reply func(*http.Request) (*http.Response, error)

// TestProbeSaysWhy checks that a probe's message has S3's error code, if there is one, and
// says what to do.
func TestProbeSaysWhy(t *testing.T) {
	answer := func(status int, code string) reply {
		return func(*http.Request) (*http.Response, error) { return refuse(status, code), nil }
	}
	fail := func(err error) reply {
		return func(*http.Request) (*http.Response, error) { return nil, err }
	}
	change := func(how func(*http.Response)) reply {
		return func(*http.Request) (*http.Response, error) {
			const text = "Spillway wrote this object to see whether uploads can be stored. It may be deleted.\n"
			resp := respond(200, text, http.Header{
				"X-Amz-Meta-Original_size": {strconv.Itoa(len(text))}, "X-Amz-Meta-Original_crc32": {fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(text)))},
				"X-Amz-Meta-Original_md5_hash": {fmt.Sprintf("%x", md5.Sum([]byte(text)))},
			})
			how(resp)
			return resp, nil
		}
	}
	for _, c := range []struct {
		name, operation string
		answer          reply
		code, says      string
	}{
		{"creates work, parts are refused", "UploadPart", answer(503, "SlowDown"), "SlowDown", "overloaded or down"},
		{"objects are refused", "PutObject", answer(503, "SlowDown"), "SlowDown", "overloaded or down"},
		{"refused without a body", "UploadPart", func(*http.Request) (*http.Response, error) { return respond(503, "", nil), nil }, "ServiceUnavailable", "overloaded or down"},
		{"full", "UploadPart", answer(507, "XMinioStorageFull"), "XMinioStorageFull", "is full"},
		{"fails", "CreateMultipartUpload", answer(500, "InternalError"), "InternalError", "has failed"},
		{"no bucket", "CreateMultipartUpload", answer(404, "NoSuchBucket"), "NoSuchBucket", "--s3-bucket"},
		{"credentials", "GetObject", answer(403, "InvalidAccessKeyId"), "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"},
		{"secret", "GetObject", answer(403, "SignatureDoesNotMatch"), "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"},
		{"token", "GetObject", answer(400, "InvalidToken"), "InvalidToken", "AWS_SESSION_TOKEN"},
		{"account", "GetObject", answer(403, "AllAccessDisabled"), "AllAccessDisabled", "account"},
		{"clock", "GetObject", answer(403, "RequestTimeTooSkewed"), "RequestTimeTooSkewed", "clock"},
		{"region", "GetObject", answer(301, "PermanentRedirect"), "PermanentRedirect", "--s3-region"},
		{"nobody listens", "HeadObject", fail(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), "connection refused", "--s3-endpoint"},
		{"no route", "HeadObject", fail(&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}), "no connection", "firewall"},
		{"no such host", "HeadObject", fail(&net.DNSError{Err: "no such host", Name: "s3.invalid", IsNotFound: true}), "no such host", "DNS"},
		{"DNS is down", "HeadObject", fail(&net.DNSError{Err: "server misbehaving", Name: "s3.invalid", IsTemporary: true}), "no answer from DNS", "name servers"},
		{"reset", "UploadPart", fail(&net.OpError{Op: "read", Err: syscall.ECONNRESET}), "connection lost", "closes connections"},
		{"silence", "UploadPart", func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, context.Cause(req.Context())
		}, "no answer in time", "too slow"},
		{"a code that is none", "UploadPart", answer(400, "<b>x</b>\x1b[31m"), "HTTP 400", "not an answer of S3"},
		{"metadata lost", "GetObject", change(func(r *http.Response) { r.Header.Del("X-Amz-Meta-Original_size") }), "metadata lost", "underscores_in_headers"},
		{"metadata changed", "GetObject", change(func(r *http.Response) { r.Header.Set("X-Amz-Meta-Original_md5_hash", "0") }), "metadata lost", "metadata"},
		{"bytes changed", "GetObject", change(func(r *http.Response) { r.Body = io.NopCloser(strings.NewReader("other")) }), "reads back differently", "body"},
		{"checksum wrong", "GetObject", change(func(r *http.Response) { r.Header.Set("X-Amz-Checksum-Crc32", "AAAAAA==") }), "reads back differently", "body"},
		{"hyphens in metadata", "GetObject", change(func(r *http.Response) {
			for name, values := range r.Header {
				r.Header[strings.ReplaceAll(name, "_", "-")] = values
			}
		}), "", ""},
	} {
		inFakeTime(t, c.name, func(t *testing.T) {
			store := &fakeStore{answer: func(op string, _ int, req *http.Request) (*http.Response, error) {
				if op == c.operation {
					return c.answer(req)
				}
				return nil, nil
			}}
			r := newFakeRig(t, store, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			err := r.sink.Probe(ctx)
			if c.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			failed := storeError(t, err)
			says := s3sink.Explain(err)
			if failed.Op != c.operation || failed.Code != c.code || !strings.Contains(says, c.operation) || !strings.Contains(says, c.code) || !strings.Contains(says, c.says) {
				t.Errorf("%s failed with %q, explained as %q; want %s, %q, and that it says %q: %v", failed.Op, failed.Code, says, c.operation, c.code, c.says, err)
			}
			if strings.Contains(says, "secret") || strings.ContainsAny(says, "\x1b<\n") {
				t.Errorf("explained as %q", says)
			}
		})
	}
}

// TestProbeDoesNotWaitForUploads checks that a probe waits neither for slow requests of
// uploads nor for their request rate.
func TestProbeDoesNotWaitForUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		store := &fakeStore{answer: func(op string, _ int, req *http.Request) (*http.Response, error) {
			if op == "HeadObject" && !strings.Contains(req.URL.Path, ".spillway-") {
				<-release
			}
			return nil, nil
		}}
		r := newFakeRig(t, store, nil)
		var uploading sync.WaitGroup
		uploading.Go(func() {
			if _, err := r.upload(t, small("many", 50)...); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		begun := time.Now()
		if err := r.sink.Probe(t.Context()); err != nil || time.Since(begun) > 0 {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		close(release)
		uploading.Wait()
	})
}

// TestProbeAbortsWhatItLeft checks that a probe aborts the upload that the probe before
// had no time to abort, before it creates another.
func TestProbeAbortsWhatItLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs, open, most atomic.Int64
		hangs.Store(1)
		store := &fakeStore{answer: func(op string, _ int, req *http.Request) (*http.Response, error) {
			switch {
			case op == "UploadPart" && hangs.Load() == 1:
				<-req.Context().Done()
				return nil, context.Cause(req.Context())
			case op == "CreateMultipartUpload":
				most.Store(max(most.Load(), open.Add(1)))
			case op == "AbortMultipartUpload" && open.Load() == 0:
				return refuse(404, "NoSuchUpload"), nil
			case op == "AbortMultipartUpload", op == "CompleteMultipartUpload":
				open.Add(-1)
			}
			return nil, nil
		}}
		r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.TryPrefix = cfg.Prefix })
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			wantStoreError(t, r.sink.Probe(ctx))
			cancel()
		}
		hangs.Store(0)
		if err := r.sink.Probe(t.Context()); err != nil {
			t.Error(err)
		}
		// One upload is to be completed, and one is to be aborted.
		if open.Load() != 0 || most.Load() != 2 {
			t.Errorf("%d uploads are unfinished, at most %d were", open.Load(), most.Load())
		}
	})
}

// TestProbeWritesAgain checks that the object is written every hour, and at once if the
// last PutObject of an upload has failed.
func TestProbeWritesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		store := &fakeStore{answer: func(op string, _ int, _ *http.Request) (*http.Response, error) {
			if op == "PutObject" && down.Load() {
				return refuse(403, "AccessDenied"), nil
			}
			return nil, nil
		}}
		r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.TryPrefix = cfg.Prefix })
		probe := func(when string, writes int, ok bool) {
			t.Helper()
			before := store.count("PutObject")
			err := r.sink.Probe(t.Context())
			if n := store.count("PutObject") - before; n != writes || ok != (err == nil) {
				t.Errorf("%s: written %d times, want %d: %v", when, n, writes, err)
			}
		}
		probe("at first", 1, true)
		time.Sleep(time.Hour - time.Second)
		probe("within the hour", 0, true)
		time.Sleep(time.Second)
		probe("after an hour", 1, true)
		down.Store(true)
		probe("with nothing known of it", 0, true)
		if _, err := r.upload(t, small("a", 1)...); err == nil {
			t.Error("an upload is stored")
		}
		probe("after an upload that could not be written", 1, false)
		probe("and again", 1, false)
		down.Store(false)
		probe("well again", 1, true)
		probe("and then", 0, true)
	})
}

// TestProbeNeedsNoDelete checks that a probe succeeds without the permission to delete,
// and leaves its object.
func TestProbeNeedsNoDelete(t *testing.T) {
	store := &fakeStore{answer: func(op string, _ int, _ *http.Request) (*http.Response, error) {
		if op == "DeleteObject" {
			return refuse(403, "AccessDenied"), nil
		}
		return nil, nil
	}}
	if err := newFakeRig(t, store, nil).sink.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestProbesOfManyInstances checks that a probe writes its object again if another
// instance deletes it before it is read.
func TestProbesOfManyInstances(t *testing.T) {
	for deletions, ok := range map[int]bool{1: true, 2: true, 100: false} {
		store := &fakeStore{answer: func(op string, n int, _ *http.Request) (*http.Response, error) {
			if op == "GetObject" && n <= deletions {
				return refuse(404, "NoSuchKey"), nil
			}
			return nil, nil
		}}
		r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.TryPrefix = cfg.Prefix })
		if err := r.sink.Probe(t.Context()); ok != (err == nil) {
			t.Errorf("deleted %d times: %v", deletions, err)
		}
	}
}

// TestEndpoint checks that the setting overrides the SDK's environment, which overrides
// AWS.
func TestEndpoint(t *testing.T) {
	for _, c := range []struct{ setting, environment, host string }{
		{"", "", "s3.us-east-1.amazonaws.com"},
		{"", "http://127.0.0.2:2", "127.0.0.2:2"},
		{"http://127.0.0.1:1", "", "127.0.0.1:1"},
		{"http://127.0.0.1:1", "http://127.0.0.2:2", "127.0.0.1:1"},
	} {
		t.Setenv("AWS_ENDPOINT_URL_S3", c.environment)
		store := &fakeStore{}
		hosts := map[string]bool{}
		var mu sync.Mutex
		store.answer = func(_ string, _ int, req *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			hosts[req.URL.Host] = true
			return nil, nil
		}
		r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.Endpoint = c.setting })
		if err := r.sink.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(hosts) != 1 || !hosts[c.host] {
			t.Errorf("setting %q, environment %q: asked %v, want %s", c.setting, c.environment, hosts, c.host)
		}
	}
}
