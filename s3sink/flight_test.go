package s3sink_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"spillway/s3sink"
	"spillway/stream"
)

// TestBoundInFlight: however much there is to do, no more requests are at the
// store than the sink may have there.
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

// TestBucketThatHangs: with as many uploads of try symbols as there may be, whose
// bucket is silent, regular ones are published and aborted as if there were none,
// and no more requests are in flight than may be.
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
			begin := func(try bool) (context.Context, *stream.Share, *s3sink.Batch) {
				_, share := r.admit(t)
				ctx, batch := r.begin(t.Context(), share, try)
				return ctx, share, batch
			}
			write := func(ctx context.Context, share *stream.Share, batch *s3sink.Batch, leased bool, n int) (err error) {
				for i := range n {
					f := file{name: fmt.Sprintf("a/1/%d", i), form: stream.AsIs, data: data(10, 1), leased: leased}
					if _, err = f.write(ctx, share, batch, r.memory.PartSize()); err != nil {
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
			synctest.Wait() // all are on their way that may be

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

// TestPauseHoldsNoSlot: between two attempts at one request another is sent.
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
		if _, err := slow.write(ctx, share, batch, r.memory.PartSize()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // its HEAD pauses
		begun := time.Now()
		quick := file{name: "a/1/quick", form: stream.AsIs, data: data(10, 2)}
		if _, err := quick.write(ctx, share, batch, r.memory.PartSize()); err != nil {
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

// TestAttemptDeadline: a store that does not answer is asked again after the
// attempt's time, three times in all.
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

// TestAnswerCutOff: an answer whose body ends early is no answer.
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

// TestFailureEndsReading: what fails in the background ends the context under
// which the archive is read, with the failure as its cause.
func TestFailureEndsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{answer: func(op string, _ int, _ *http.Request) (*http.Response, error) {
			if op == "UploadPart" {
				return refuse(403, "AccessDenied"), nil
			}
			return nil, nil
		}}
		r := newFakeRig(t, store, nil)
		_, share := r.admit(t)
		defer share.Close()
		ctx, batch := r.begin(t.Context(), share, false)
		defer end(t, batch)
		o := batch.Create(stream.Entry{Name: "a/1/a", Form: stream.AsIs})
		for i := range 2 {
			b, err := share.Lease(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = b.Write(data(r.memory.PartSize(), 1))
			_, err = o.Part(ctx, b)
			if i == 0 {
				if err != nil {
					t.Fatal(err)
				}
				<-ctx.Done()
				wantStoreError(t, context.Cause(ctx))
			} else if failed := storeError(t, err); failed.Op != "UploadPart" {
				t.Errorf("failed at %s", failed.Op)
			}
		}
		wantStoreError(t, batch.Publish())
		if n := store.count("AbortMultipartUpload"); n == 0 {
			t.Error("the upload was not aborted")
		}
	})
}

// TestCreateOutlivesItsReader: the answer to a create is waited for though the
// client has gone, since only it names the upload that is to be aborted.
func TestCreateOutlivesItsReader(t *testing.T) {
	for _, parts := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			store := &fakeStore{answer: func(op string, _ int, req *http.Request) (*http.Response, error) {
				if op == "CreateMultipartUpload" {
					select {
					case <-time.After(10 * time.Second):
					case <-req.Context().Done():
						return nil, context.Cause(req.Context())
					}
				}
				return nil, nil
			}}
			r := newFakeRig(t, store, nil)
			_, share := r.admit(t)
			defer share.Close()
			gone := errors.New("the client has gone")
			client, leave := context.WithCancelCause(t.Context())
			ctx, batch := r.begin(client, share, false)
			defer end(t, batch)
			time.AfterFunc(time.Second, func() { leave(gone) })
			size := 10
			if parts {
				size = r.memory.PartSize() + 1
			}
			f := file{name: "a/1/a", form: stream.AsIs, data: data(size, 1), leased: true}
			if _, err := f.write(ctx, share, batch, r.memory.PartSize()); parts && !errors.Is(err, gone) {
				t.Errorf("got error %v, want that %v", err, gone)
			}
			<-client.Done()
			if err := batch.Abort(); err != nil {
				t.Error(err)
			}
			if created, aborted := store.count("CreateMultipartUpload"), store.count("AbortMultipartUpload"); created != 1 || aborted == 0 {
				t.Errorf("%d uploads created, %d aborted", created, aborted)
			}
			if store.count("CompleteMultipartUpload")+store.count("PutObject") > 0 {
				t.Error("published")
			}
		})
	}
}

// TestPartOutlivesItsReader: the answer to a part that has been sent whole is
// waited for though the client has gone, since the store might keep a part that
// it gets to see after the abort. A part of which something is still to be sent
// is cut off, and nothing more of it is sent.
func TestPartOutlivesItsReader(t *testing.T) {
	for _, whole := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var inFlight atomic.Bool
			store := &fakeStore{answer: func(op string, _ int, req *http.Request) (*http.Response, error) {
				if op == "AbortMultipartUpload" && inFlight.Load() {
					t.Error("aborted while a part is in flight")
				}
				return nil, nil
			}}
			slow := roundTripper(func(req *http.Request) (*http.Response, error) {
				if req.Method != http.MethodPut {
					return store.RoundTrip(req)
				}
				inFlight.Store(true)
				defer inFlight.Store(false)
				n := req.ContentLength
				if !whole {
					n--
				}
				if _, err := io.CopyN(io.Discard, req.Body, n); err != nil {
					return nil, err
				}
				select {
				case <-time.After(10 * time.Second):
					return respond(200, "", http.Header{"Etag": {`"tag"`}}), nil
				case <-req.Context().Done():
					if n, _ := req.Body.Read(make([]byte, 1)); n > 0 {
						t.Error("the last byte can still be read")
					}
					return nil, context.Cause(req.Context())
				}
			})
			r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.Transport = slow })
			_, share := r.admit(t)
			defer share.Close()
			client, leave := context.WithCancel(t.Context())
			ctx, batch := r.begin(client, share, false)
			f := file{name: "a/1/a", form: stream.AsIs, data: data(1000, 1), leased: true}
			if _, err := f.write(ctx, share, batch, r.memory.PartSize()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			leave()
			begun := time.Now()
			if err := batch.Abort(); err != nil {
				t.Error(err)
			}
			if waited := time.Since(begun) >= 10*time.Second; waited != whole {
				t.Errorf("sent whole: %t, waited for: %t", whole, waited)
			}
			if store.count("AbortMultipartUpload") == 0 {
				t.Error("not aborted")
			}
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// TestPublishEndsWithItsUpload: the end of the upload's context stops publishing.
// Whoever ends it decides whether it may.
func TestPublishEndsWithItsUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{answer: func(op string, _ int, req *http.Request) (*http.Response, error) {
			if op == "UploadPart" || op == "PutObject" {
				select {
				case <-time.After(10 * time.Second):
				case <-req.Context().Done():
					return nil, context.Cause(req.Context())
				}
			}
			return nil, nil
		}}
		r := newFakeRig(t, store, nil)
		_, share := r.admit(t)
		defer share.Close()
		upload, end := context.WithCancel(t.Context())
		ctx, batch := r.begin(upload, share, false)
		for _, f := range mixed(r.memory.PartSize()) {
			if _, err := f.write(ctx, share, batch, r.memory.PartSize()); err != nil {
				t.Fatal(err)
			}
		}
		time.AfterFunc(15*time.Second, end)
		if err := batch.Publish(); !errors.Is(storeError(t, err), context.Canceled) {
			t.Errorf("got error %v", err)
		}
	})
}

// TestPublishAfterTheReadersEnd: a reader that has been ended is not published.
func TestPublishAfterTheReadersEnd(t *testing.T) {
	store := &fakeStore{}
	r := newFakeRig(t, store, nil)
	_, share := r.admit(t)
	defer share.Close()
	client, leave := context.WithCancel(t.Context())
	ctx, batch := r.begin(client, share, false)
	f := file{name: "a/1/a", form: stream.AsIs, data: data(10, 1)}
	if _, err := f.write(ctx, share, batch, r.memory.PartSize()); err != nil {
		t.Fatal(err)
	}
	leave()
	if err := batch.Publish(); !errors.Is(storeError(t, err), context.Canceled) {
		t.Errorf("got error %v", err)
	}
	if store.count("PutObject") > 0 {
		t.Error("published")
	}
}

// TestAbortRepeats: while a part may still be at work in the store, one abort
// is not enough.
func TestAbortRepeats(t *testing.T) {
	for _, test := range []struct {
		name   string
		part   error // of the first attempt
		gone   int   // the abort that is told that there is no such upload; 0: none
		aborts int
	}{
		{"parts ended clearly", nil, 0, 1},
		{"attempt reset, upload lingers", syscall.ECONNRESET, 3, 3},
		{"attempt reset, upload gone", syscall.ECONNRESET, 2, 2},
		{"attempt reset, never said to be gone", syscall.ECONNRESET, 0, 6},
		{"gone before", nil, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &fakeStore{answer: func(op string, n int, _ *http.Request) (*http.Response, error) {
					switch {
					case op == "UploadPart" && n == 1:
						return nil, test.part
					case op == "AbortMultipartUpload" && n == test.gone:
						return refuse(404, "NoSuchUpload"), nil
					}
					return nil, nil
				}}
				r := newFakeRig(t, store, nil)
				_, share := r.admit(t)
				defer share.Close()
				ctx, batch := r.begin(t.Context(), share, false)
				f := file{name: "a/1/a", form: stream.AsIs, data: data(10, 1), leased: true}
				if _, err := f.write(ctx, share, batch, r.memory.PartSize()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				if err := batch.Abort(); err != nil {
					t.Error(err)
				}
				if n := store.count("AbortMultipartUpload"); n != test.aborts {
					t.Errorf("%d requests to abort, want %d", n, test.aborts)
				}
			})
		})
	}
}

// TestAbortGivesUp: a store that answers no abort does not keep its caller.
func TestAbortGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{answer: func(op string, n int, req *http.Request) (*http.Response, error) {
			if op == "AbortMultipartUpload" {
				<-req.Context().Done()
				return nil, context.Cause(req.Context())
			}
			return nil, nil
		}}
		r := newFakeRig(t, store, nil)
		_, share := r.admit(t)
		defer share.Close()
		ctx, batch := r.begin(t.Context(), share, false)
		f := file{name: "a/1/a", form: stream.AsIs, data: data(10, 1), leased: true}
		if _, err := f.write(ctx, share, batch, r.memory.PartSize()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		begun := time.Now()
		wantStoreError(t, batch.Abort())
		if got := time.Since(begun); got > 31*time.Second {
			t.Errorf("gave up after %s", got)
		}
	})
}

// TestAbortAfterSlowParts: an object that turns out to be stored already is
// given up after its parts in flight, however long those take, and the archive
// goes on.
func TestAbortAfterSlowParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var parts atomic.Int64 // in flight
		store := &fakeStore{}
		r := newFakeRig(t, store, nil)
		f := file{name: "a/1/big", form: stream.AsIs, data: data(r.memory.PartSize()+1, 1)}
		store.answer = func(op string, _ int, _ *http.Request) (*http.Response, error) {
			switch op {
			case "HeadObject": // as Tecken's objects: the MD5 tells, at the end
				facts := f.facts()
				return respond(200, "", http.Header{
					"X-Amz-Meta-Original_size":     {fmt.Sprint(facts.Size)},
					"X-Amz-Meta-Original_md5_hash": {fmt.Sprintf("%x", facts.MD5)},
				}), nil
			case "UploadPart":
				parts.Add(1)
				time.Sleep(40 * time.Second)
				parts.Add(-1)
			case "AbortMultipartUpload":
				if parts.Load() > 0 {
					t.Error("aborted while a part is in flight")
				}
				time.Sleep(20 * time.Second)
			}
			return nil, nil
		}
		batch, err := r.upload(t, f)
		if err != nil || len(batch.Skipped()) != 1 || store.count("UploadPart") == 0 || store.count("AbortMultipartUpload") != 1 {
			t.Errorf("skipped %q after %d parts and %d aborts: %v", batch.Skipped(), store.count("UploadPart"), store.count("AbortMultipartUpload"), err)
		}
	})
}

// TestHeldWhileOthersWait: an object whose body is to be held is staged instead
// when somebody has begun to wait for its room since that was taken.
func TestHeldWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		r := newFakeRig(t, store, nil)
		_, share := r.admit(t)
		defer share.Close()
		ctx, batch := r.begin(t.Context(), share, false)
		defer end(t, batch)
		var bodies []*stream.Buffer
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
				var b *stream.Buffer
				if b, err = other.Lease(t.Context()); err != nil {
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
