package s3sink_test

import (
	"net/http"
	"testing"
	"time"

	"spillway/stream"
)

// TestNothingWaitsForARequest checks that no lock is held during a request. While the
// store does not answer the request that publishes or aborts an object, the batch's other
// methods return.
func TestNothingWaitsForARequest(t *testing.T) {
	for _, test := range []struct {
		name, operation string
		leased, abort   bool
	}{
		{"PutObject", "PutObject", false, false},
		{"CompleteMultipartUpload", "CompleteMultipartUpload", true, false},
		{"AbortMultipartUpload", "AbortMultipartUpload", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			arrived, answer := make(chan struct{}), make(chan struct{})
			store := &fakeStore{answer: func(op string, _ int, _ *http.Request) (*http.Response, error) {
				if op == test.operation {
					close(arrived)
					<-answer
				}
				return nil, nil
			}}
			r := newFakeRig(t, store, nil)
			_, share := r.admit(t)
			ctx, batch := r.begin(t.Context(), share, false)
			f := file{name: "a/1/a", form: stream.AsIs, data: data(10, 1), leased: test.leased}
			o, err := f.write(ctx, share, batch, r.budget.PartSize())
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				if test.abort {
					batch.DropObject(o) // Publish aborts it
				}
				ended <- batch.Publish()
				share.Close()
			}()
			<-arrived

			returned := make(chan struct{})
			go func() {
				defer close(returned)
				if names := batch.Uploaded(); len(names) > 0 {
					t.Errorf("uploaded %q, which nothing has answered", names)
				}
				_, _, _ = batch.Skipped(), batch.Sent(), batch.Unfinished()
				batch.DropObject(o)
				if err := batch.Abort(); err != nil {
					t.Error(err)
				}
			}()
			select {
			case <-returned:
			case <-time.After(10 * time.Second):
				t.Error("the methods of the batch wait for the request")
			}
			close(answer)
			if err := <-ended; err != nil {
				t.Error(err)
			}
			<-returned
			if published := len(batch.Uploaded()) == 1; published == test.abort {
				t.Errorf("published: %t", published)
			}
		})
	}
}
