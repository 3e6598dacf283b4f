package s3sink_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"spillway/s3sink"
	"spillway/testdata/s3server"
)

// deafening is a listener whose connections can be made deaf: from then on nothing
// that their clients send arrives, and nothing tells the clients so.
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

// TestDeadConnections: a server that is replaced leaves connections behind that
// lead nowhere. One attempt finds that out, and the next one connects anew.
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
