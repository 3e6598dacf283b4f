package s3sink_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"spillway/s3sink"
	"spillway/testdata/s3quirk"
)

// TestSweepOfBlindLists checks that a sweep aborts what is under its prefixes where a list with
// a prefix is empty, and leaves what other programs have begun.
func TestSweepOfBlindLists(t *testing.T) {
	server := real(t)
	endpoint := s3quirk.Before(t, server, s3quirk.Minio(t, server))
	r := newRig(t, server, func(cfg *s3sink.Config) { cfg.Endpoint = endpoint })
	others := newRig(t, server, func(cfg *s3sink.Config) { cfg.Bucket, cfg.Prefix = r.bucket, "others/" })
	others.leave(t, false, 1)
	if aborted, err := r.sink.Sweep(t.Context(), -2*time.Second); aborted != 0 || err != nil {
		t.Errorf("nothing of ours: %d aborted, %v", aborted, err)
	}
	r.leave(t, false, 3)
	r.leave(t, true, 2)
	if aborted, err := r.sink.Sweep(t.Context(), time.Hour); aborted != 0 || err != nil {
		t.Errorf("uploads of this hour: %d aborted, %v", aborted, err)
	}
	if aborted, err := r.sink.Sweep(t.Context(), -2*time.Second); aborted != 5 || err != nil {
		t.Errorf("%d aborted, want 5: %v", aborted, err)
	}
	if left := r.Uploads(t, r.bucket); len(left) != 1 || !strings.HasPrefix(left[0].Key, "others/") {
		t.Errorf("left: %v", left)
	}
	r.wire.Forget()
	if _, err := r.sink.Sweep(t.Context(), -2*time.Second); err != nil {
		t.Error(err)
	}
	if got := r.wire.Attempts(); got["CreateMultipartUpload"] > 0 {
		t.Errorf("the second sweep tries again how the store lists: %v", got)
	}
}

// TestSweepFindsNothing checks what a sweep makes of an empty list. It begins an upload of its
// own to see whether a store lists uploads at all, and aborts it.
func TestSweepFindsNothing(t *testing.T) {
	for _, test := range []struct {
		name  string
		shows func(prefix string) bool // whether the upload is listed
		lists int                      // requests of two sweeps
		fails bool
	}{
		{"by prefix", func(prefix string) bool { return strings.HasPrefix("v1/.spillway-probe", prefix) }, 1 + 1 + 1, false},
		{"without a prefix only", func(prefix string) bool { return prefix == "" }, 1 + 2 + 1 + 2, false},
		{"for a key only", func(prefix string) bool { return prefix == "v1/.spillway-probe" }, 1 + 3 + 1 + 2, false},
		{"never", func(string) bool { return false }, 2 * (1 + 3), true},
	} {
		inFakeTime(t, test.name, func(t *testing.T) {
			store := &fakeStore{}
			r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.TryPrefix = cfg.Prefix })
			store.answer = func(op string, _ int, req *http.Request) (*http.Response, error) {
				if op != "ListMultipartUploads" {
					return nil, nil
				}
				if created := store.count("CreateMultipartUpload"); test.shows(req.URL.Query().Get("prefix")) && created > store.count("AbortMultipartUpload") {
					return listed("", false, pending{"v1/.spillway-probe", "the-upload", time.Now().UTC().Format(time.RFC3339Nano)}), nil
				}
				return listed("", false), nil
			}
			for range 2 {
				aborted, err := r.sink.Sweep(t.Context(), time.Hour)
				if aborted != 0 || test.fails != (err != nil) {
					t.Errorf("%d aborted: %v", aborted, err)
				}
				if err != nil && !strings.Contains(err.Error(), "does not list") {
					t.Errorf("fails with %v", err)
				}
			}
			created, aborted := store.count("CreateMultipartUpload"), store.count("AbortMultipartUpload")
			if lists := store.count("ListMultipartUploads"); lists != test.lists || created != aborted || !test.fails && created != 1 {
				t.Errorf("%d lists, want %d; %d uploads created, %d aborted", lists, test.lists, created, aborted)
			}
		})
	}
}

// TestSweepOfLongLists checks that a list that does not fit is read as far as it does, and that
// the next sweeps read the rest.
func TestSweepOfLongLists(t *testing.T) { synctest.Test(t, testSweepOfLongLists) }

func testSweepOfLongLists(t *testing.T) {
	for name, marks := range map[string]bool{"with markers": true, "without markers": false} {
		const n = 5000
		var uploads []pending
		for i := range n {
			uploads = append(uploads, old(fmt.Sprintf("v1/%04d&amp;%s", i, strings.Repeat("x", 1000))))
		}
		gone := map[string]bool{}
		r, store := newListingRig(t, func(_, marker string) (*http.Response, error) {
			var left []pending
			for _, u := range uploads {
				key := strings.Replace(u.Key, "&amp;", "&", 1)
				if !gone[key] && (!marks || key > marker) {
					left = append(left, u)
				}
			}
			return listed("", false, left...), nil
		}, func(key string) *http.Response {
			gone[key] = true
			return respond(204, "", nil)
		})
		total := 0
		for range 3 {
			aborted, err := r.sink.Sweep(t.Context(), time.Hour)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			total += aborted
		}
		if total != n || len(store.aborted()) != n {
			t.Errorf("%s: %d aborted, %d requests, want %d", name, total, len(store.aborted()), n)
		}
	}
}
