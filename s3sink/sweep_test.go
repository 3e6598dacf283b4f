package s3sink_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"spillway/s3sink"
	"spillway/stream"
	"spillway/testdata/s3fault"
)

// leave creates n multipart uploads with a part each and never ends them.
func (r *rig) leave(t *testing.T, try bool, n int) {
	t.Helper()
	ctx, share := r.admit(t)
	ctx, batch := r.begin(ctx, share, try)
	for i := range n {
		f := file{name: fmt.Sprintf("left/%d/left", i), form: stream.AsIs, data: data(10, byte(i)), leased: true}
		if _, err := f.write(ctx, share, batch, r.budget.PartSize()); err != nil {
			t.Fatal(err)
		}
	}
	batch.Leave()
	share.Close()
}

func testSweep(t *testing.T, r *rig) {
	r.sink.SetSweepPage(3)
	const n = 8 // pages, the last one not full
	r.leave(t, false, n)
	r.leave(t, true, 2)
	if got := len(r.Uploads(t, r.bucket)); got != n+2 {
		t.Fatalf("%d uploads were left, want %d", got, n+2)
	}
	if aborted, err := r.sink.Sweep(t.Context(), time.Hour); aborted != 0 || err != nil {
		t.Errorf("uploads of this hour: %d aborted, %v", aborted, err)
	}
	// The store's clock has seconds.
	if aborted, err := r.sink.Sweep(t.Context(), -2*time.Second); aborted != n+2 || err != nil {
		t.Errorf("%d aborted, want %d: %v", aborted, n+2, err)
	}
	r.wantNothing(t)
	if aborted, err := r.sink.Sweep(t.Context(), -2*time.Second); aborted != 0 || err != nil {
		t.Errorf("with nothing there: %d aborted, %v", aborted, err)
	}

	// More uploads of one key than fit on a page: the next sweep finds those that one
	// sweep misses.
	for range 5 {
		r.leave(t, false, 2)
	}
	for left := 10; left > 0; {
		aborted, err := r.sink.Sweep(t.Context(), -2*time.Second)
		if aborted == 0 || err != nil {
			t.Fatalf("%d aborted of %d: %v", aborted, left, err)
		}
		left -= aborted
	}
	r.wantNothing(t)
}

// TestSweepPlaces sweeps prefixes that are inside one another, beside other programs'
// uploads.
func TestSweepPlaces(t *testing.T) {
	store := real(t)
	for _, test := range []struct {
		regular, try string
		lists        int
	}{{"v1/", "try/v1/", 2}, {"v1/", "v1/try/", 1}, {"v1/regular/", "v1/", 1}, {"v1/", "v1/", 1}, {"", "try/", 1}} {
		t.Run(fmt.Sprintf("%q %q", test.regular, test.try), func(t *testing.T) {
			r := newRig(t, store, func(cfg *s3sink.Config) { cfg.Prefix, cfg.TryPrefix = test.regular, test.try })
			r.leave(t, false, 1)
			r.leave(t, true, 1)
			ours := len(r.Uploads(t, r.bucket))
			if aborted, err := r.sink.Sweep(t.Context(), -2*time.Second); aborted != ours || err != nil {
				t.Errorf("%d aborted, want %d: %v", aborted, ours, err)
			}
			if lists := r.wire.Attempts()["ListMultipartUploads"]; lists != test.lists {
				t.Errorf("%d lists were asked for, want %d", lists, test.lists)
			}
			r.wantNothing(t)
		})
	}
	others := newRig(t, store, func(cfg *s3sink.Config) { cfg.Prefix, cfg.TryPrefix = "others/", "v2/" })
	others.leave(t, false, 1)
	ours := newRig(t, store, func(cfg *s3sink.Config) { cfg.Bucket = others.bucket })
	if aborted, err := ours.sink.Sweep(t.Context(), -2*time.Second); aborted != 0 || err != nil {
		t.Errorf("others' uploads: %d aborted, %v", aborted, err)
	}
	if left := others.Uploads(t, others.bucket); len(left) != 1 {
		t.Errorf("others' uploads: %v", left)
	}
}

func TestSweepFaults(t *testing.T) {
	t.Parallel()
	store := real(t)
	for _, call := range []string{"ListMultipartUploads v1/", "AbortMultipartUpload v1/left/1/left"} {
		for _, kind := range []s3fault.Kind{s3fault.InternalError, s3fault.Timeout, s3fault.Reset} {
			for _, applied := range []bool{false, true} {
				for _, always := range []bool{false, true} {
					fault := s3fault.Fault{Call: call, Kind: kind, Applied: applied, Always: always}
					t.Run(fault.String(), func(t *testing.T) {
						t.Parallel()
						r := newRig(t, store, func(cfg *s3sink.Config) { cfg.AttemptTimeout = attemptTimeout / 4 })
						r.leave(t, false, 3)
						r.wire.Inject(&fault)
						aborted, err := r.sink.Sweep(t.Context(), -2*time.Second)
						if r.wire.Failed() == 0 {
							t.Fatal("nothing has failed")
						}
						r.wire.Inject(nil)
						if always {
							wantStoreError(t, err)
							if call != "ListMultipartUploads v1/" && aborted != 2 {
								t.Errorf("%d of the others were aborted, want 2", aborted)
							}
						} else if err != nil {
							t.Errorf("one fault was too much: %v", err)
						}
						if _, err := r.sink.Sweep(t.Context(), -2*time.Second); err != nil {
							t.Error(err)
						}
						r.wantNothing(t)
					})
				}
			}
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	r := newRig(t, store, nil)
	_, err := r.sink.Sweep(ended, time.Hour)
	wantStoreError(t, err)
}

// pending is the unfinished uploads of a store, as it lists them.
type pending struct {
	Key, UploadID, Initiated string // Initiated is left out if it is empty
}

// listed is an answer to ListMultipartUploads.
func listed(next string, more bool, uploads ...pending) *http.Response {
	var b strings.Builder
	fmt.Fprintf(&b, "<ListMultipartUploadsResult><IsTruncated>%t</IsTruncated>", more)
	if next != "" {
		fmt.Fprintf(&b, "<NextKeyMarker>%s</NextKeyMarker><NextUploadIdMarker>id</NextUploadIdMarker>", next)
	}
	for _, u := range uploads {
		fmt.Fprintf(&b, "<Upload><Key>%s</Key><UploadId>%s</UploadId>", u.Key, u.UploadID)
		if u.Initiated != "" {
			fmt.Fprintf(&b, "<Initiated>%s</Initiated>", u.Initiated)
		}
		b.WriteString("</Upload>")
	}
	b.WriteString("</ListMultipartUploadsResult>")
	// The time of the store's clock, which a header has in seconds.
	return respond(200, b.String(), http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}})
}

// ancient is when uploads were created that any sweep aborts.
const ancient = "1999-01-01T00:00:00.000Z"

// old returns an upload of that key that any sweep aborts.
func old(key string) pending { return pending{key, "id-" + key, ancient} }

// newListingRig returns a rig whose store lists unfinished uploads as in pages: for each
// prefix, what follows a marker.
func newListingRig(t *testing.T, pages func(prefix, marker string) (*http.Response, error), abort func(key string) *http.Response) (*rig, *fakeStore) {
	t.Helper()
	store := &fakeStore{answer: func(op string, _ int, req *http.Request) (*http.Response, error) {
		query := req.URL.Query()
		switch {
		case op == "ListMultipartUploads":
			if query.Has("upload-id-marker") {
				t.Error("a page is asked for by the marker of an upload")
			}
			return pages(query.Get("prefix"), query.Get("key-marker"))
		case op == "AbortMultipartUpload" && abort != nil:
			return abort(strings.TrimPrefix(req.URL.Path, "/bucket/")), nil
		}
		return nil, nil
	}}
	return newFakeRig(t, store, nil), store
}

// aborted returns the keys of the uploads that the sweep aborted, in order.
func (s *fakeStore) aborted() []string {
	var keys []string
	for _, r := range s.sent("AbortMultipartUpload") {
		_, key, _ := strings.Cut(r.url, "/bucket/")
		key, _, _ = strings.Cut(key, "?")
		keys = append(keys, key)
	}
	return keys
}

// TestSweepAge checks that uploads are aborted that are older than the age, and that
// uploads are left if their age is not known or they are not ours.
func TestSweepAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(age time.Duration) string { return time.Now().Add(-age).UTC().Format(time.RFC3339Nano) }
		r, store := newListingRig(t, func(prefix, _ string) (*http.Response, error) {
			if prefix != "v1/" {
				return listed("", false), nil
			}
			return listed("", false,
				pending{"v1/a", "1", at(24*time.Hour + time.Second)},
				pending{"v1/b", "2", at(24 * time.Hour)},
				pending{"v1/c", "3", at(24*time.Hour - time.Second)},
				pending{"v1/d", "4", at(1000 * time.Hour)},
				pending{"v1/e", "5", at(-time.Hour)},
				pending{"v1/f", "6", ""},
				pending{"v2/g", "7", at(1000 * time.Hour)},
			), nil
		}, nil)
		aborted, err := r.sink.Sweep(t.Context(), 24*time.Hour)
		if got, want := store.aborted(), []string{"v1/a", "v1/d"}; aborted != 2 || err != nil || !slices.Equal(got, want) {
			t.Errorf("%d aborted, %v: %q, want %q", aborted, err, got, want)
		}
	})
}

// TestSweepPages checks stores that page in their own ways.
func TestSweepPages(t *testing.T) {
	for _, test := range []struct {
		name    string
		page    func(marker string, n int) *http.Response // n is 1 for the first page
		pages   int
		aborted []string
		stuck   bool
	}{
		{"marker of the last key", func(marker string, _ int) *http.Response {
			return map[string]*http.Response{
				"":     listed("v1/b", true, old("v1/a"), old("v1/b")),
				"v1/b": listed("v1/c", true, old("v1/c")),
				"v1/c": listed("", false, old("v1/d")),
			}[marker]
		}, 3, []string{"v1/a", "v1/b", "v1/c", "v1/d"}, false},
		{"no marker", func(marker string, _ int) *http.Response {
			return map[string]*http.Response{
				"":     listed("", true, old("v1/a"), old("v1/b")),
				"v1/b": listed("", false, old("v1/c")),
			}[marker]
		}, 2, []string{"v1/a", "v1/b", "v1/c"}, false},
		{"a page without uploads", func(marker string, _ int) *http.Response {
			return map[string]*http.Response{
				"":     listed("v1/b", true),
				"v1/b": listed("", false, old("v1/c")),
			}[marker]
		}, 2, []string{"v1/c"}, false},
		{"a page begins with the key of its marker", func(_ string, n int) *http.Response {
			return map[int]*http.Response{
				1: listed("v1/a", true, pending{"v1/a", "1", ancient}, pending{"v1/a", "2", ancient}),
				2: listed("v1/a", true, pending{"v1/a", "3", ancient}, pending{"v1/a", "4", ancient}),
				3: listed("", false, pending{"v1/a", "5", ancient}),
			}[n]
		}, 3, slices.Repeat([]string{"v1/a"}, 5), false},
		{"the same page for ever", func(string, int) *http.Response {
			return listed("v1/b", true, old("v1/a"), old("v1/b"))
		}, 2, []string{"v1/a", "v1/b", "v1/a", "v1/b"}, true},
		{"a marker that goes back", func(marker string, _ int) *http.Response {
			if marker == "" {
				return listed("v1/b", true, old("v1/b"))
			}
			return listed("v1/a", true, old("v1/c"))
		}, 2, []string{"v1/b", "v1/c"}, true},
		{"more of nothing", func(string, int) *http.Response { return listed("", true) }, 1, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			pages := 0
			r, store := newListingRig(t, func(prefix, marker string) (*http.Response, error) {
				if prefix != "v1/" {
					return listed("", false), nil
				}
				pages++
				return test.page(marker, pages), nil
			}, nil)
			aborted, err := r.sink.Sweep(t.Context(), time.Hour)
			if got := store.aborted(); aborted != len(got) || !slices.Equal(got, test.aborted) {
				t.Errorf("%d aborted: %q, want %q", aborted, got, test.aborted)
			}
			if pages != test.pages || test.stuck != (err != nil) {
				t.Errorf("%d pages, want %d: %v", pages, test.pages, err)
			}
			if test.stuck {
				if failed := storeError(t, err); failed.Op != "ListMultipartUploads" || failed.Key != "v1/" {
					t.Errorf("failed at %s of %q", failed.Op, failed.Key)
				}
			}
		})
	}
}

// TestSweepRefused checks that a store that refuses every abort gets one request for each
// upload, and that its answers do not fill the memory.
func TestSweepRefused(t *testing.T) { synctest.Test(t, testSweepRefused) }

func testSweepRefused(t *testing.T) {
	const n = 1000
	var uploads []pending
	for i := range n {
		uploads = append(uploads, old(fmt.Sprintf("v1/%03d", i)))
	}
	r, store := newListingRig(t, func(prefix, _ string) (*http.Response, error) {
		if prefix != "v1/" {
			return nil, syscall.ECONNREFUSED
		}
		return listed("", false, uploads...), nil
	}, func(key string) *http.Response {
		if key == "v1/500" {
			return respond(204, "", nil)
		}
		return refuse(403, "AccessDenied")
	})
	aborted, err := r.sink.Sweep(t.Context(), time.Hour)
	if got := len(store.aborted()); got != n || aborted != 1 {
		t.Errorf("%d aborts, of which %d went well; want %d and 1", got, aborted, n)
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("got error %v", err)
	}
	errs := joined.Unwrap()
	for _, err := range errs {
		wantStoreError(t, err)
	}
	if last := errs[len(errs)-1]; len(errs) != 21 || !strings.Contains(last.Error(), "980 more failures") {
		t.Errorf("%d errors, the last of them %v", len(errs), last)
	}
}

// TestSweepDown checks that a bucket is swept although the other one cannot be listed.
func TestSweepDown(t *testing.T) {
	for _, down := range []string{"v1/", "try/v1/", ""} {
		inFakeTime(t, "down: "+down, func(t *testing.T) {
			r, _ := newListingRig(t, func(prefix, _ string) (*http.Response, error) {
				if down == "" || prefix == down {
					return nil, syscall.ECONNREFUSED
				}
				return listed("", false, old(prefix+"a")), nil
			}, nil)
			aborted, err := r.sink.Sweep(t.Context(), time.Hour)
			if failed := storeError(t, err); failed.Op != "ListMultipartUploads" {
				t.Errorf("failed at %s", failed.Op)
			}
			if want := min(len(down), 1); aborted != want {
				t.Errorf("%d aborted, want %d", aborted, want)
			}
		})
	}
}

// TestSweepHangs checks that a sweep of a store that does not answer ends with its
// context.
func TestSweepHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		store.answer = func(op string, _ int, req *http.Request) (*http.Response, error) {
			if op == "ListMultipartUploads" {
				return listed("", false, slices.Repeat([]pending{old("v1/a")}, 10)...), nil
			}
			<-req.Context().Done()
			return nil, context.Cause(req.Context())
		}
		r := newFakeRig(t, store, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		begun := time.Now()
		aborted, err := r.sink.Sweep(ctx, time.Hour)
		wantStoreError(t, err)
		if took := time.Since(begun); aborted != 0 || took != 5*time.Minute {
			t.Errorf("%d aborted after %s", aborted, took)
		}
		// One abort that was tried three times, one that was cut off, and one that was not
		// tried, like the other destination.
		if n := strings.Count(err.Error(), "\n") + 1; n != 4 {
			t.Errorf("%d errors: %v", n, err)
		}
	})
}
