package s3sink_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"spillway/internal/s3event"
	"spillway/s3sink"
	"spillway/stream"
)

// TestOperationsAreTold: each operation of an upload is told once, with all its attempts, with
// the upload's context, and with the code of the failure that ended it.
func TestOperationsAreTold(t *testing.T) {
	type key struct{}
	small, large := file{name: "a/1/a", form: stream.AsIs, data: data(10, 1)}, file{name: "b/1/b", form: stream.AsIs, data: data(5<<20, 2), leased: true}
	for name, c := range map[string]struct {
		file   file
		answer func(operation string, n int) *http.Response
		want   []string // name, part, attempts, status, bytes, code
	}{
		"small": {small, nil, []string{"HeadObject 0 1 404 0 ", "PutObject 0 1 200 10 "}},
		"in parts": {large, nil, []string{
			"CompleteMultipartUpload 0 1 200 0 ", "CreateMultipartUpload 0 1 200 0 ", "HeadObject 0 1 404 0 ", "UploadPart 1 1 200 5242880 ",
		}},
		"retried": {small, func(operation string, n int) *http.Response {
			if operation == "PutObject" && n <= 2 {
				return refuse(500, "InternalError")
			}
			return nil
		}, []string{"HeadObject 0 1 404 0 ", "PutObject 0 3 200 30 "}},
		"refused": {small, func(operation string, _ int) *http.Response {
			if operation == "PutObject" {
				return refuse(403, "AccessDenied")
			}
			return nil
		}, []string{"HeadObject 0 1 404 0 ", "PutObject 0 1 403 10 AccessDenied"}},
		"aborted": {large, func(operation string, _ int) *http.Response {
			switch operation {
			case "CompleteMultipartUpload":
				return refuse(403, "AccessDenied")
			case "AbortMultipartUpload":
				return refuse(404, "NoSuchUpload")
			}
			return nil
		}, []string{
			"AbortMultipartUpload 0 1 404 0 ", "CompleteMultipartUpload 0 1 403 0 AccessDenied", "CreateMultipartUpload 0 1 200 0 ", "HeadObject 0 1 404 0 ",
			"UploadPart 1 1 200 5242880 ",
		}},
	} {
		inFakeTime(t, name, func(t *testing.T) {
			store := &fakeStore{}
			if c.answer != nil {
				store.answer = func(operation string, n int, _ *http.Request) (*http.Response, error) {
					return c.answer(operation, n), nil
				}
			}
			var (
				mu  sync.Mutex
				got []string
			)
			r := newFakeRig(t, store, func(cfg *s3sink.Config) {
				cfg.OnOperation = func(ctx context.Context, o s3event.Operation) {
					mu.Lock()
					defer mu.Unlock()
					bytes := o.Sent
					if o.Name == "CompleteMultipartUpload" {
						bytes = 0 // as long as the SDK makes it
					}
					got = append(got, fmt.Sprint(o.Name, " ", o.Part, o.Attempts, o.Status, bytes, " ", o.Code))
					if o.Bucket != "bucket" || o.Key != "v1/"+c.file.name || o.Began.IsZero() || o.Took < o.InFlight || o.Attempts > 1 && o.Took < 10*time.Millisecond {
						t.Errorf("%+v", o)
					}
					if ctx.Value(key{}) != "upload" {
						t.Errorf("%s has another context than its upload", o.Name)
					}
				}
			})
			ctx, share := r.admit(t)
			defer share.Close()
			ctx, batch := r.begin(context.WithValue(ctx, key{}, "upload"), share, false)
			defer end(t, batch)
			if _, err := c.file.write(ctx, share, batch, r.budget.PartSize()); err != nil {
				t.Fatal(err)
			}
			if err := batch.Publish(); (err != nil) != strings.Contains(strings.Join(c.want, ""), "AccessDenied") {
				t.Error(err)
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}
