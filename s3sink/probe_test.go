package s3sink_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"spillway/s3sink"
)

// TestProbeHasAnEnd: a store that is silent keeps a probe for as long as its
// context lasts, and not longer.
func TestProbeHasAnEnd(t *testing.T) {
	for _, silent := range []string{"HeadObject", "CreateMultipartUpload", "AbortMultipartUpload"} {
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

// TestProbeOfPermissions: what the credentials lack, a probe finds, of either kind
// of symbols. Without s3:ListBucket, S3 says 403 to a HEAD of what is not there.
func TestProbeOfPermissions(t *testing.T) {
	for _, lacks := range []string{"HeadObject", "CreateMultipartUpload", "AbortMultipartUpload"} {
		for _, under := range []string{"/bucket/v1/", "/bucket/try/v1/"} {
			t.Run(lacks+" "+under, func(t *testing.T) {
				store := &fakeStore{answer: func(op string, _ int, req *http.Request) (*http.Response, error) {
					if op == lacks && strings.HasPrefix(req.URL.Path, under) {
						return refuse(403, "AccessDenied"), nil
					}
					return nil, nil
				}}
				r := newFakeRig(t, store, nil)
				if failed := storeError(t, r.sink.Probe(t.Context())); failed.Op != lacks || "/bucket/"+failed.Key != under+".spillway-probe" {
					t.Errorf("failed at %s of %s", failed.Op, failed.Key)
				}
			})
		}
	}
}

// TestEndpoint: the setting goes before the SDK's environment, and that before AWS.
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
		store.answer = func(_ string, _ int, req *http.Request) (*http.Response, error) {
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
