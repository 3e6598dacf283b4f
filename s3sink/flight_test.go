package s3sink_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"spillway/s3sink"
	"spillway/stream"
	"spillway/stream/budget"
)

// TestBoundInFlight checks that no more requests are in flight than the sink may have.
func TestBoundInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		store := &fakeStore{answer: func(string, int, *http.Request) (*http.Response, error) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return nil, nil
		}}
		r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.Concurrency = 3 })
		var files []file
		for i := range 30 {
			files = append(files, file{name: fmt.Sprintf("a/1/%d", i), form: stream.AsIs, data: data(10, byte(i)), leased: i%5 == 0})
		}
		begun := time.Now()
		if _, err := r.upload(t, files...); err != nil {
			t.Fatal(err)
		}
		if most.Load() != 3 {
			t.Errorf("%d requests at once, want 3", most.Load())
		}
		// 30 HEAD, 24 PUT, 6 of each of create, part and complete.
		if got, atMost := time.Since(begun), 30*time.Second; got > atMost {
			t.Errorf("took %s, want at most %s", got, atMost)
		}
	})
}

// TestBucketThatHangs checks that regular symbols are published and aborted while as many
// uploads of try symbols as possible wait for a bucket that never answers, and that no
// more requests are in flight than the sink may have.
func TestBucketThatHangs(t *testing.T) {
	for _, concurrency := range []int{2, 3, 8, 64} {
		inFakeTime(t, fmt.Sprint(concurrency), func(t *testing.T) {
			var now, most atomic.Int64
			store := &fakeStore{answer: func(_ string, _ int, req *http.Request) (*http.Response, error) {
				most.Store(max(most.Load(), now.Add(1)))
				defer now.Add(-1)
				if strings.HasPrefix(req.URL.Path, "/silent/") {
					<-req.Context().Done()
					return nil, context.Cause(req.Context())
				}
				time.Sleep(100 * time.Millisecond)
				return nil, nil
			}}
			r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.Concurrency, cfg.TryBucket = concurrency, "silent" })
			begin := func(try bool) (context.Context, *budget.Share, *s3sink.Batch) {
				_, share := r.admit(t)
				ctx, batch := r.begin(t.Context(), share, try)
				return ctx, share, batch
			}
			write := func(ctx context.Context, share *budget.Share, batch *s3sink.Batch, leased bool, n int) (err error) {
				for i := range n {
					f := file{name: fmt.Sprintf("a/1/%d", i), form: stream.AsIs, data: data(10, 1), leased: leased}
					if _, err = f.write(ctx, share, batch, r.budget.PartSize()); err != nil {
						break
					}
				}
				return err
			}

			ctx, share, silent := begin(true)
			defer share.Close()
			var writing sync.WaitGroup
			defer writing.Wait()
			defer end(t, silent)
			writing.Go(func() { _ = write(ctx, share, silent, false, 3*concurrency) })
			synctest.Wait() // as many as possible are in flight

			begun := time.Now()
			for _, publish := range []bool{true, false} {
				ctx, share, batch := begin(false)
				defer share.Close()
				if err := write(ctx, share, batch, true, 3); err != nil {
					t.Fatal(err)
				}
				if publish {
					if err := batch.Publish(); err != nil {
						t.Errorf("not published: %v", err)
					}
				}
				time.Sleep(3 * time.Second) // all are staged
				end(t, batch)
			}
			if aborted := store.count("AbortMultipartUpload"); aborted != 3 {
				t.Errorf("%d of 3 uploads were aborted", aborted)
			}
			if took := time.Since(begun); took > 15*time.Second {
				t.Errorf("it took %v", took)
			}
			if got := most.Load(); got > int64(concurrency) {
				t.Errorf("%d requests at once, want at most %d", got, concurrency)
			}
		})
	}
}

// TestPauseHoldsNoSlot checks that a request is sent between two attempts at another one.
func TestPauseHoldsNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{answer: func(op string, n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return refuse(500, "InternalError"), nil
			}
			return nil, nil
		}}
		r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.Concurrency = 1 })
		slow := file{name: "a/1/slow", form: stream.AsIs, data: data(10, 1)}
		_, share := r.admit(t)
		defer share.Close()
		ctx, batch := r.begin(t.Context(), share, false)
		defer end(t, batch)
		if _, err := slow.write(ctx, share, batch, r.budget.PartSize()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // its HEAD pauses
		begun := time.Now()
		quick := file{name: "a/1/quick", form: stream.AsIs, data: data(10, 2)}
		if _, err := quick.write(ctx, share, batch, r.budget.PartSize()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := store.count("HeadObject"); n != 2 || time.Since(begun) != 0 {
			t.Errorf("%d requests after %s, want 2 at once", n, time.Since(begun))
		}
		if err := batch.Publish(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestAttemptDeadline checks that a request without an answer is retried after the timeout
// of an attempt, three times in all.
func TestAttemptDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{answer: func(op string, n int, req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, context.Cause(req.Context())
		}}
		r := newFakeRig(t, store, nil)
		begun := time.Now()
		_, err := r.upload(t, file{name: "a/1/a", form: stream.AsIs, data: data(10, 1)})
		wantStoreError(t, err)
		if n := store.count("HeadObject"); n != 3 {
			t.Errorf("%d attempts, want 3", n)
		}
		if got := time.Since(begun); got < 3*time.Minute || got > 3*time.Minute+20*time.Second {
			t.Errorf("gave up after %s, want three times 60 s and the pauses between", got)
		}
	})
}

// TestAnswerCutOff checks that a request is retried if its answer is cut off.
func TestAnswerCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{answer: func(op string, n int, req *http.Request) (*http.Response, error) {
			if op == "CreateMultipartUpload" && n == 1 {
				resp := respond(200, "", nil)
				resp.Body = io.NopCloser(errReader{io.ErrUnexpectedEOF})
				return resp, nil
			}
			return nil, nil
		}}
		r := newFakeRig(t, store, nil)
		if _, err := r.upload(t, file{name: "a/1/a", form: stream.AsIs, data: data(10, 1), leased: true}); err != nil {
			t.Fatal(err)
		}
		if n := store.count("CreateMultipartUpload"); n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
	})
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// TestHeldWhileOthersWait checks that an object is staged instead of held if another
// upload has begun to wait for memory since its buffer was taken.
func TestHeldWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		r := newFakeRig(t, store, nil)
		_, share := r.admit(t)
		defer share.Close()
		ctx, batch := r.begin(t.Context(), share, false)
		defer end(t, batch)
		var bodies []*budget.Buffer
		for {
			b, ok := share.Hold(1 << 20)
			if !ok {
				break
			}
			bodies = append(bodies, b)
		}
		_, other := r.admit(t)
		defer other.Close()
		leased := make(chan error)
		go func() {
			var err error
			for range 4 {
				var b *budget.Buffer
				if b, err = other.Lease(t.Context(), 5<<20); err != nil {
					break
				}
				defer b.Release()
			}
			leased <- err
		}()
		synctest.Wait()
		for i, b := range bodies {
			f := file{name: fmt.Sprintf("a/1/%d", i), form: stream.AsIs, data: data(1<<20, byte(i))}
			_, _ = b.Write(f.data)
			if err := batch.Create(f.entry()).Commit(ctx, b, f.facts()); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-leased; err != nil {
			t.Errorf("the other upload got no memory: %v", err)
		}
		if err := batch.Publish(); err != nil {
			t.Fatal(err)
		}
		if got := len(batch.Uploaded()); got != len(bodies) || store.count("PutObject") == 0 {
			t.Errorf("%d of %d objects uploaded, %d of them held to the end", got, len(bodies), store.count("PutObject"))
		}
	})
}
