package s3sink_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"spillway/s3sink"
	"spillway/stream"
)

// pipes is a network in memory, which works in fake time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// newHTTPRig returns a rig whose sink sends HTTP to the store, with its own transport. The
// caller calls end.
func newHTTPRig(t *testing.T, store *fakeStore) (r *rig, end func()) {
	t.Helper()
	network := &pipes{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		resp, err := store.RoundTrip(req)
		if err != nil {
			panic(http.ErrAbortHandler) // the connection ends
		}
		defer resp.Body.Close()
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(network)
	}()
	var transport *http.Transport
	r = newFakeRig(t, store, func(cfg *s3sink.Config) {
		transport = s3sink.NewTransport(*cfg, nil)
		transport.DialContext = network.dial
		transport.Proxy = nil
		cfg.Transport = transport
	})
	return r, func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		<-served
	}
}

// silent waits for the end of the request.
func silent(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, context.Cause(req.Context())
}

// TestCompleteTakesMinutes checks how long CompleteMultipartUpload may take: longer than
// any other request, but not forever.
func TestCompleteTakesMinutes(t *testing.T) {
	staged := file{name: "a/1/a", form: stream.AsIs, data: data(10, 1), leased: true}
	for name, test := range map[string]struct {
		answer   func(n int, req *http.Request) (*http.Response, error)
		stored   bool
		requests int
		took     time.Duration
	}{
		"answers after 200 s": {
			answer: func(int, *http.Request) (*http.Response, error) {
				time.Sleep(200 * time.Second)
				return nil, nil
			},
			stored: true, requests: 1, took: 200 * time.Second,
		},
		"answers the second request": {
			answer: func(n int, req *http.Request) (*http.Response, error) {
				if n == 1 {
					return silent(req)
				}
				return nil, nil
			},
			stored: true, requests: 2, took: 5 * time.Minute,
		},
		"never answers": {
			answer: func(_ int, req *http.Request) (*http.Response, error) { return silent(req) },
			stored: false, requests: 2, took: 10 * time.Minute,
		},
	} {
		inFakeTime(t, name, func(t *testing.T) {
			store := &fakeStore{answer: func(op string, n int, req *http.Request) (*http.Response, error) {
				if op == "CompleteMultipartUpload" {
					return test.answer(n, req)
				}
				return nil, nil
			}}
			r, end := newHTTPRig(t, store)
			defer end()
			begun := time.Now()
			batch, err := r.upload(t, staged)
			if test.stored && err != nil || len(batch.Uploaded()) == 1 != test.stored {
				t.Errorf("uploaded %q: %v", batch.Uploaded(), err)
			}
			if !test.stored {
				if failed := storeError(t, err); failed.Code != "no answer in time" || failed.Op != "CompleteMultipartUpload" {
					t.Errorf("%s: %s", failed.Op, failed.Code)
				}
				if store.count("AbortMultipartUpload") == 0 {
					t.Error("the upload was not aborted")
				}
			}
			if n := store.count("CompleteMultipartUpload"); n != test.requests {
				t.Errorf("%d requests, want %d", n, test.requests)
			}
			if took := time.Since(begun); took < test.took || took > test.took+15*time.Second {
				t.Errorf("it took %v, want %v", took, test.took)
			}
		})
	}
}

// TestOtherAnswersBeginSoon checks that any other request is retried if the store does not
// begin to answer within 30 s.
func TestOtherAnswersBeginSoon(t *testing.T) {
	for _, operation := range []string{"HeadObject", "PutObject", "UploadPart"} {
		inFakeTime(t, operation, func(t *testing.T) {
			store := &fakeStore{answer: func(op string, n int, req *http.Request) (*http.Response, error) {
				if op == operation && n == 1 {
					return silent(req)
				}
				return nil, nil
			}}
			r, end := newHTTPRig(t, store)
			defer end()
			begun := time.Now()
			f := file{name: "a/1/a", form: stream.AsIs, data: data(10, 1), leased: operation == "UploadPart"}
			if _, err := r.upload(t, f); err != nil {
				t.Error(err)
			}
			if took := time.Since(begun); took < 30*time.Second || took > 35*time.Second {
				t.Errorf("it took %v, want 30s and a pause", took)
			}
		})
	}
}

// zeros is a body on disk of that many bytes.
type zeros int64

func (z zeros) ReadAt(p []byte, off int64) (int, error) {
	n := min(int64(len(p)), int64(z)-off)
	clear(p[:n])
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

func (z zeros) Size() int64 { return int64(z) }
func (zeros) Memory() int64 { return 0 }
func (zeros) Held() bool    { return true }
func (zeros) Release()      {}

// TestCompleteTimeGrows checks that a large object has more time to be completed: a store
// may copy its bytes and look at each part.
func TestCompleteTimeGrows(t *testing.T) {
	const size = 160 << 20 // adds 5 s, and 1.6 s for 32 parts, to the first second
	for _, test := range []struct {
		takes  time.Duration
		stored bool
	}{
		{7 * time.Second, true},
		{8 * time.Second, false},
	} {
		inFakeTime(t, fmt.Sprint(test.takes), func(t *testing.T) {
			store := &fakeStore{answer: func(op string, _ int, req *http.Request) (*http.Response, error) {
				if op == "CompleteMultipartUpload" {
					select {
					case <-time.After(test.takes):
					case <-req.Context().Done():
						return nil, context.Cause(req.Context())
					}
				}
				return nil, nil
			}}
			r := newFakeRig(t, store, func(cfg *s3sink.Config) {
				cfg.CompleteTimeout = time.Second
				cfg.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
					if req.Method != http.MethodPut {
						return store.RoundTrip(req)
					}
					_, err := io.Copy(io.Discard, req.Body) // and nothing keeps it
					return wroteBody(req), err
				})
			})
			_, share := r.admit(t)
			defer share.Close()
			ctx, batch := r.begin(t.Context(), share, false)
			defer end(t, batch)
			o := batch.Create(stream.Entry{Name: "a/1/large", Form: stream.Gzip})
			if err := o.Commit(ctx, zeros(size), stream.Facts{Size: size}); err != nil {
				t.Fatal(err)
			}
			if err := batch.Publish(); err == nil != test.stored {
				t.Errorf("stored: %v, want %t", err, test.stored)
			}
		})
	}
}

// TestCompletesLeaveRoom checks that other uploads are published while many take minutes
// to be completed.
func TestCompletesLeaveRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const concurrency, many = 8, 20
		store := &fakeStore{answer: func(op string, _ int, req *http.Request) (*http.Response, error) {
			if op == "CompleteMultipartUpload" {
				time.Sleep(200 * time.Second)
			}
			return nil, nil
		}}
		r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.Concurrency = concurrency })
		_, share := r.admit(t)
		defer share.Close()
		ctx, batch := r.begin(t.Context(), share, false)
		defer end(t, batch)
		for i := range many {
			f := file{name: fmt.Sprint("a/1/", i), form: stream.AsIs, data: data(10, 1), leased: true}
			if _, err := f.write(ctx, share, batch, r.budget.PartSize()); err != nil {
				t.Fatal(err)
			}
		}
		published := make(chan error, 1)
		go func() { published <- batch.Publish() }()
		time.Sleep(time.Minute)
		begun := time.Now()
		if _, err := r.upload(t, small("b", 100)...); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the other upload took %v", took)
		}
		if err := <-published; err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > (many/(concurrency-2)+1)*200*time.Second {
			t.Errorf("%d uploads took %v", many, took)
		}
	})
}
