package s3sink_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"
)

// TestProbeHasAnEnd: a store that is silent keeps a probe for as long as its
// context lasts, and not longer.
func TestProbeHasAnEnd(t *testing.T) {
	for _, silent := range []string{"CreateMultipartUpload", "AbortMultipartUpload"} {
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
