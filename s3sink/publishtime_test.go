package s3sink_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"spillway/s3sink"
	"spillway/stream"
)

// TestPublishingHasAnEnd checks that publishing ends although a store answers each
// request, but slowly. What was published stays, the rest is aborted, and a retry is safe.
func TestPublishingHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const entries = 200
		store := &fakeStore{answer: func(op string, _ int, _ *http.Request) (*http.Response, error) {
			if op == "PutObject" {
				time.Sleep(50 * time.Second) // 200 of them, 8 at once, take 21 minutes
			}
			return nil, nil
		}}
		r := newFakeRig(t, store, nil)
		_, share := r.admit(t)
		ctx, batch := r.begin(t.Context(), share, false)
		files := append(small("a", entries-1), file{name: "a/1/staged", form: stream.AsIs, data: data(10, 1), leased: true})
		for _, f := range files {
			if _, err := f.write(ctx, share, batch, r.budget.PartSize()); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		err := batch.Publish()
		share.Close()
		failed := storeError(t, err)
		if failed.Op != "Publish" || failed.Code != "out of time" || !strings.Contains(err.Error(), "its limit of 16m10s for 200 entries") {
			t.Errorf("the error is %v, code %q", err, failed.Code)
		}
		if says := s3sink.Explain(err); !strings.Contains(says, "a retry skips it") {
			t.Errorf("explained as %q", says)
		}
		if took := time.Since(begun); took < 16*time.Minute || took > 17*time.Minute {
			t.Errorf("it took %v", took)
		}
		visible := len(batch.Uploaded())
		if visible == 0 || visible >= entries-1 || visible > store.count("PutObject") {
			t.Errorf("%d of %d entries were published", visible, entries)
		}
		if store.count("CompleteMultipartUpload") > 0 || store.count("AbortMultipartUpload") != 1 {
			t.Error("what was not published was not aborted")
		}
		r.idle(t)
		store.answer = nil
		if again, err := r.upload(t, files...); err != nil || len(again.Uploaded()) != entries {
			t.Errorf("a retry published %d entries: %v", len(again.Uploaded()), err)
		}
	})
}

// TestPublishingTimeGrows checks that publishing has more time for more entries and for more bytes.
func TestPublishingTimeGrows(t *testing.T) {
	const base = 62 * time.Second // of the rig below
	for _, test := range []struct {
		name   string
		files  []file
		disk   int64         // bytes of one more entry, on disk
		each   time.Duration // that a PUT takes
		takes  time.Duration
		stored bool
	}{
		{name: "few entries", files: small("a", 64), each: 9 * time.Second, takes: 72 * time.Second, stored: false},
		{name: "many entries", files: small("a", 400), each: 1500 * time.Millisecond, takes: 75 * time.Second, stored: true},
		{name: "many bytes", disk: 100 << 20, each: 14 * time.Second, takes: 70 * time.Second, stored: true},
	} {
		inFakeTime(t, test.name, func(t *testing.T) {
			store := &fakeStore{}
			r := newFakeRig(t, store, func(cfg *s3sink.Config) {
				cfg.CompleteTimeout, cfg.AttemptTimeout = time.Second, 10*time.Second
				cfg.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
					if req.Method != http.MethodPut {
						return store.RoundTrip(req)
					}
					time.Sleep(test.each)
					_, err := io.Copy(io.Discard, req.Body)
					return wroteBody(req), err
				})
			})
			_, share := r.admit(t)
			defer share.Close()
			ctx, batch := r.begin(t.Context(), share, false)
			defer end(t, batch)
			for _, f := range test.files {
				if _, err := f.write(ctx, share, batch, r.budget.PartSize()); err != nil {
					t.Fatal(err)
				}
			}
			if test.disk > 0 {
				o := batch.Create(stream.Entry{Name: "a/1/large", Form: stream.Gzip})
				if err := o.Commit(ctx, zeros(test.disk), stream.Facts{Size: test.disk}); err != nil {
					t.Fatal(err)
				}
			}
			begun := time.Now()
			err := batch.Publish()
			took := time.Since(begun)
			switch {
			case err == nil != test.stored:
				t.Errorf("after %v: %v", took, err)
			case test.stored && (took < base || took < test.takes):
				t.Errorf("it took %v: the test shows nothing", took)
			}
		})
	}
}
