package s3sink_test

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

// TestSweepBelievesTheStoresClock checks that the age of an upload is measured by the
// store's clock, while ours is wrong.
func TestSweepBelievesTheStoresClock(t *testing.T) {
	for name, wrong := range map[string]time.Duration{"ours is fast": 48 * time.Hour, "ours is slow": -48 * time.Hour, "ours is right": 0} {
		inFakeTime(t, name, func(t *testing.T) {
			at := func(age time.Duration) time.Time { return time.Now().Add(-wrong - age).UTC() }
			r, store := newListingRig(t, func(prefix, _ string) (*http.Response, error) {
				if prefix != "v1/" {
					return listed("", false), nil
				}
				resp := listed("", false,
					pending{"v1/left", "1", at(25 * time.Hour).Format(time.RFC3339)},
					pending{"v1/live", "2", at(time.Minute).Format(time.RFC3339)},
				)
				resp.Header.Set("Date", at(0).Format(http.TimeFormat))
				return resp, nil
			}, nil)
			aborted, err := r.sink.Sweep(t.Context(), 24*time.Hour)
			if got := store.aborted(); aborted != 1 || err != nil || !slices.Equal(got, []string{"v1/left"}) {
				t.Errorf("%d aborted, %v: %q", aborted, err, got)
			}
		})
	}
	t.Run("the store does not say", func(t *testing.T) {
		r, store := newListingRig(t, func(prefix, _ string) (*http.Response, error) {
			resp := listed("", false, old(prefix+"a"))
			resp.Header.Del("Date")
			return resp, nil
		}, nil)
		aborted, err := r.sink.Sweep(t.Context(), 24*time.Hour)
		wantStoreError(t, err)
		if got := store.aborted(); aborted != 0 || len(got) > 0 {
			t.Errorf("%d aborted: %q", aborted, got)
		}
	})
}
