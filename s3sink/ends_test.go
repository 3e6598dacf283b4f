package s3sink_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"spillway/s3sink"
	"spillway/stream"
)

// TestFailureEndsReading checks that a failure in the background ends the upload's
// context, with the failure as its cause.
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
			b, err := share.Lease(t.Context(), 5<<20)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = b.Write(data(r.budget.PartSize(), 1))
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

// TestCreateOutlivesItsReader checks that the answer to a create is awaited although the
// client has gone: only that answer names the upload to abort.
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
				size = r.budget.PartSize() + 1
			}
			f := file{name: "a/1/a", form: stream.AsIs, data: data(size, 1), leased: true}
			if _, err := f.write(ctx, share, batch, r.budget.PartSize()); parts && !errors.Is(err, gone) {
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

// TestPartOutlivesItsReader checks that the answer to a part that was sent completely is
// awaited although the client has gone: the store might keep a part that arrives after the
// abort. An incomplete part is cut off, and no more of it is sent.
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
					return wroteBody(req), nil
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
			if _, err := f.write(ctx, share, batch, r.budget.PartSize()); err != nil {
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

// TestPublishEndsWithItsUpload checks that the end of the upload's context ends
// publishing. The owner of that context decides whether it may end.
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
		for _, f := range mixed(r.budget.PartSize()) {
			if _, err := f.write(ctx, share, batch, r.budget.PartSize()); err != nil {
				t.Fatal(err)
			}
		}
		time.AfterFunc(15*time.Second, end)
		if err := batch.Publish(); !errors.Is(storeError(t, err), context.Canceled) {
			t.Errorf("got error %v", err)
		}
	})
}

// TestPublishAfterTheReadersEnd checks that an upload that has ended is not published.
func TestPublishAfterTheReadersEnd(t *testing.T) {
	store := &fakeStore{}
	r := newFakeRig(t, store, nil)
	_, share := r.admit(t)
	defer share.Close()
	client, leave := context.WithCancel(t.Context())
	ctx, batch := r.begin(client, share, false)
	f := file{name: "a/1/a", form: stream.AsIs, data: data(10, 1)}
	if _, err := f.write(ctx, share, batch, r.budget.PartSize()); err != nil {
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

// TestAbortRepeats checks that an abort is repeated while the store may still be writing a
// part.
func TestAbortRepeats(t *testing.T) {
	for _, test := range []struct {
		name   string
		part   error // of the first attempt
		gone   int   // the number of the abort that is answered NoSuchUpload; 0: none
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
				if _, err := f.write(ctx, share, batch, r.budget.PartSize()); err != nil {
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

// TestAbortGivesUp checks that Abort returns although the store does not answer.
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
		if _, err := f.write(ctx, share, batch, r.budget.PartSize()); err != nil {
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

// TestAbortAfterSlowParts checks that an object that turns out to be stored already is
// aborted after its parts in flight, however long those take, and that the archive goes
// on.
func TestAbortAfterSlowParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var parts atomic.Int64 // in flight
		store := &fakeStore{}
		r := newFakeRig(t, store, nil)
		f := file{name: "a/1/big", form: stream.AsIs, data: data(r.budget.PartSize()+1, 1)}
		store.answer = func(op string, _ int, _ *http.Request) (*http.Response, error) {
			switch op {
			case "HeadObject": // as for Tecken's objects: the MD5 decides, at the end
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
