package upload

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
)

// arrivals is a listener whose connections report what they read, like those of the
// program.
//
// Its methods have value receivers: [goroutines] would take its goroutine for one of an
// upload.
type arrivals struct {
	net.Listener
	reads *atomic.Int64 // of all connections
}

type arrivalsConn struct {
	net.Conn
	reads   *atomic.Int64
	arrived atomic.Pointer[func(n int)]
}

type arrivalsKey struct{}

// watchArrivals makes server serve the connections of the returned listener.
func watchArrivals(server *http.Server, l net.Listener) arrivals {
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, arrivalsKey{}, c)
	}
	return arrivals{l, new(atomic.Int64)}
}

func (a arrivals) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &arrivalsConn{Conn: c, reads: a.reads}, nil
}

func (c *arrivalsConn) Read(p []byte) (int, error) {
	c.reads.Add(1)
	n, err := c.Conn.Read(p)
	if arrived := c.arrived.Load(); arrived != nil && n > 0 {
		(*arrived)(n)
	}
	return n, err
}

// CloseWrite closes the write side, if the connection has one.
func (c *arrivalsConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// onArrival is a [Config.OnArrival].
func onArrival(ctx context.Context, arrived func(n int)) (stop func(), ok bool) {
	c, ok := ctx.Value(arrivalsKey{}).(*arrivalsConn)
	if !ok {
		return func() {}, false
	}
	c.arrived.Store(&arrived)
	return func() { c.arrived.Store(nil) }, true
}
