package s3sink_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"spillway/s3sink"
	"spillway/stream"
	"spillway/testdata/s3server"
)

// deafening is a listener whose connections can be made deaf: nothing that their clients
// send arrives any more, and the clients do not notice.
type deafening struct {
	net.Listener
	accepted atomic.Int64
	deaf     atomic.Int64 // connections up to that number are
}

func (l *deafening) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &deafConn{c, l, l.accepted.Add(1)}, err
}

type deafConn struct {
	net.Conn
	listener *deafening
	number   int64
}

func (c *deafConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || c.number > c.listener.deaf.Load() {
			return n, err
		}
	}
}

// TestDeadConnections checks that only one attempt is lost to the dead connections of a
// server that was replaced. The next one dials.
func TestDeadConnections(t *testing.T) {
	handler, err := s3sink.NewEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	listener := &deafening{Listener: server.Listener}
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	r := newRig(t, s3server.NewClient(server.URL, "any", "any"), func(cfg *s3sink.Config) {
		pool := &http.Transport{MaxIdleConnsPerHost: 8}
		t.Cleanup(pool.CloseIdleConnections)
		cfg.Transport, cfg.AttemptTimeout = pool, 500*time.Millisecond
	})
	if _, err := r.upload(t, small("before", 50)...); err != nil {
		t.Fatal(err)
	}
	idle := listener.accepted.Load()
	if idle < 4 {
		t.Fatalf("only %d connections", idle)
	}
	listener.deaf.Store(idle)
	begun := time.Now()
	if _, err := r.upload(t, small("after", 1)...); err != nil {
		t.Error(err)
	}
	t.Logf("%d connections are dead: an upload takes %v", idle, time.Since(begun))
}

// closeCounter counts open bodies.
type closeCounter struct {
	io.Reader
	open *atomic.Int64
}

func (c closeCounter) Close() error {
	c.open.Add(-1)
	return nil
}

// TestAnswersAreClosed checks that the body of every answer is closed, whatever is in it.
func TestAnswersAreClosed(t *testing.T) {
	for name, first := range map[string]func() *http.Response{
		"success":  func() *http.Response { return nil },
		"error":    func() *http.Response { return refuse(500, "InternalError") },
		"too long": func() *http.Response { return respond(200, strings.Repeat(" ", 5<<20), nil) },
		"cut off": func() *http.Response {
			resp := respond(200, "", nil)
			resp.Body = io.NopCloser(errReader{io.ErrUnexpectedEOF})
			return resp
		},
	} {
		inFakeTime(t, name, func(t *testing.T) {
			var open atomic.Int64
			store := &fakeStore{answer: func(_ string, n int, _ *http.Request) (*http.Response, error) {
				if n == 1 {
					return first(), nil
				}
				return nil, nil
			}}
			r := newFakeRig(t, store, func(cfg *s3sink.Config) {
				cfg.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
					resp, err := store.RoundTrip(req)
					if err == nil {
						open.Add(1)
						resp.Body = closeCounter{resp.Body, &open}
					}
					return resp, err
				})
			})
			if _, err := r.upload(t,
				file{name: "a/1/held", form: stream.AsIs, data: data(10, 1)},
				file{name: "a/1/leased", form: stream.AsIs, data: data(10, 1), leased: true},
			); err != nil {
				t.Fatal(err)
			}
			if n := open.Load(); n != 0 {
				t.Errorf("%d bodies were not closed", n)
			}
		})
	}
}
