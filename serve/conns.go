package serve

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxSpareConns is how many connections of a server may wait for a complete
	// request, for another one, or for the end of a refused body.
	maxSpareConns = 512

	// maxMoreConns is how many more there may be that are too young to be closed,
	// are being answered, or are being closed. The server lingers half a second on
	// some of the last, so that the client can read its answer.
	maxMoreConns = 1024

	// spareGrace is how long a connection has for its request before it can be
	// closed to make room. Clients that mean it send it with their first packet.
	spareGrace = 500 * time.Millisecond

	// maxAdminRequests is how many requests to the admin listener keep their
	// connection, however many others come. A live page is one for as long as it
	// is open, a profile for a minute.
	maxAdminRequests = 64

	// maxBeforeRequest is how many bytes a connection may bring before its next
	// request is complete: the header, the rest of a TLS handshake, and what is read
	// ahead of a body. maxHello is how many the TLS client's first message may have.
	// Without them, crypto/tls would buffer 64 KiB of a message.
	maxBeforeRequest = maxHeaderBytes + 24<<10
	maxHello         = 8 << 10

	// graceBytes is how much of a request a connection may have sent to have its
	// grace. More is a header that was meant to stall.
	graceBytes = 4 << 10
)

// errBeforeRequest ends a connection that sends too much without a request.
var errBeforeRequest = errors.New("too many bytes before a complete request")

// connLimiter is a listener that bounds the connections of its server. If there
// are too many, a new one has the oldest closed of those that are spare and wait
// for their client. So whoever sends a complete request at once, such as a health
// probe, is served while others stall.
type connLimiter struct {
	net.Listener
	maxSpare int // beyond, connections that wait are closed
	maxAtAll int // spare ones; beyond, none is accepted
	maxKept  int // requests that keep their connection without asking for it

	mu     sync.Mutex // guards what follows, and the connections' fields that say so
	spare  list.List  // of *limitedConn that may be closed, in the order in which they became so
	spares int        // those in the list, and those closed whose server has not noticed yet
	kept   int        // of maxKept
	closed bool
	fewer  chan struct{} // receives when spares has decreased, and on Close
}

func newConnLimiter(l net.Listener, maxKept int) *connLimiter {
	return &connLimiter{
		Listener: l, maxSpare: maxSpareConns, maxAtAll: maxSpareConns + maxMoreConns, maxKept: maxKept, fewer: make(chan struct{}, 1),
	}
}

// limitedConn is a connection of a connLimiter.
type limitedConn struct {
	*net.TCPConn
	limiter *connLimiter
	reads   atomic.Bool                 // Read is under way
	writes  atomic.Bool                 // Write is under way
	asked   atomic.Bool                 // a request is complete and not yet answered
	taken   atomic.Int64                // bytes read before that
	most    atomic.Int64                // of them
	arrived atomic.Pointer[func(n int)] // called with the bytes of each read of a request's body; may be nil

	// guarded by limiter.mu
	place *list.Element // in limiter.spare; nil while kept, or once evicted
	since time.Time     // when it was put there
	kept  bool
	gone  bool // the server has closed it
}

// Accept waits for a connection. It may close another one for it.
func (l *connLimiter) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &limitedConn{TCPConn: raw.(*net.TCPConn), limiter: l}
	c.most.Store(maxBeforeRequest)
	if !l.add(c) {
		return nil, errors.Join(net.ErrClosed, c.TCPConn.Close())
	}
	return c, nil
}

// add takes c in. It reports false after Close.
func (l *connLimiter) add(c *limitedConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spare.Len() >= l.maxSpare {
		l.evict()
	}
	for l.spares >= l.maxAtAll && !l.closed {
		l.mu.Unlock()
		select {
		case <-l.fewer:
		case <-time.After(spareGrace / 10):
		}
		l.mu.Lock()
		l.evict()
	}
	if l.closed {
		return false
	}
	l.addSpare(c)
	return true
}

// addSpare puts c behind the others that may be closed. The caller holds l.mu.
func (l *connLimiter) addSpare(c *limitedConn) {
	l.spares++
	c.place, c.since = l.spare.PushBack(c), time.Now()
}

// evict closes the oldest spare connection that waits for its client and has had
// its time. The caller holds l.mu.
func (l *connLimiter) evict() {
	for e := l.spare.Front(); e != nil; e = e.Next() {
		c := e.Value.(*limitedConn)
		if time.Since(c.since) < spareGrace && c.taken.Load() <= graceBytes {
			continue
		}
		if c.writes.Load() || c.reads.Load() && !hasArrived(c.TCPConn) {
			l.spare.Remove(e)
			c.place = nil
			_ = c.TCPConn.Close() // the server finds out and calls limitedConn.Close
			return
		}
	}
}

// Close stops the listener. Connections stay.
func (l *connLimiter) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
	return l.Listener.Close()
}

// signal says that spares or closed has changed.
func (l *connLimiter) signal() {
	select {
	case l.fewer <- struct{}{}:
	default:
	}
}

// keep has the connection stay open, however many others come, until release is
// called. It is not called again before that.
func (c *limitedConn) keep() (release func()) {
	l := c.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	c.kept = true
	if !c.gone {
		c.leaveSpare()
	}
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		c.kept = false
		if !c.gone {
			l.addSpare(c)
		}
	})
}

// leaveSpare takes c out of those that may be closed. The caller holds the
// limiter's lock.
func (c *limitedConn) leaveSpare() {
	l := c.limiter
	if c.place != nil {
		l.spare.Remove(c.place)
		c.place = nil
	}
	l.spares--
	l.signal()
}

// Close implements [net.Conn].
func (c *limitedConn) Close() error {
	c.limiter.mu.Lock()
	if !c.gone {
		c.gone = true
		if !c.kept {
			c.leaveSpare()
		}
	}
	c.limiter.mu.Unlock()
	return c.TCPConn.Close()
}

// Read implements [net.Conn].
func (c *limitedConn) Read(p []byte) (int, error) {
	c.reads.Store(true)
	defer c.reads.Store(false)
	if c.asked.Load() {
		n, err := c.TCPConn.Read(p)
		if arrived := c.arrived.Load(); arrived != nil && n > 0 {
			(*arrived)(n)
		}
		return n, err
	}
	left := c.most.Load() - c.taken.Load()
	if left <= 0 {
		return 0, errBeforeRequest
	}
	n, err := c.TCPConn.Read(p[:min(int64(len(p)), left)])
	c.taken.Add(int64(n))
	return n, err
}

// Write implements [net.Conn].
func (c *limitedConn) Write(p []byte) (int, error) {
	c.writes.Store(true)
	defer c.writes.Store(false)
	return c.TCPConn.Write(p)
}

// ReadFrom implements [io.ReaderFrom], which the server prefers to Write.
func (c *limitedConn) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c}, r)
}

// idle notes that the request of c has been answered.
func (c *limitedConn) idle() {
	c.taken.Store(0)
	c.asked.Store(false)
	l := c.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.place != nil {
		l.spare.MoveToBack(c.place)
		c.since = time.Now()
	}
}

// tlsListener accepts TLS connections from a connLimiter.
type tlsListener struct {
	*connLimiter
	config *tls.Config
}

// Accept implements [net.Listener].
func (l tlsListener) Accept() (net.Conn, error) {
	conn, err := l.connLimiter.Accept()
	if err != nil {
		return nil, err
	}
	conn.(*limitedConn).most.Store(maxHello)
	return tls.Server(conn, l.config), nil
}

// newTLSConfig returns the configuration of a tlsListener.
func newTLSConfig(keyPairs []tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates: keyPairs,
		MinVersion:   tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			hello.Conn.(*limitedConn).most.Store(maxBeforeRequest)
			return nil, nil // go on with this configuration
		},
	}
}

// limitedConnOf is the limitedConn that conn is, or is TLS over.
func limitedConnOf(conn net.Conn) *limitedConn {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	c, _ := conn.(*limitedConn)
	return c
}

type connKey struct{}

// keepConnection has the connection of a request stay open until release is
// called. ctx is the request's.
func keepConnection(ctx context.Context) (release func()) {
	if c, ok := ctx.Value(connKey{}).(*limitedConn); ok {
		return c.keep()
	}
	return func() {}
}

// onArrival has arrived called with the bytes of each read from a request's connection
// until stop is called. ctx is the request's. It reports false if it is of no
// limitedConn.
func onArrival(ctx context.Context, arrived func(n int)) (stop func(), ok bool) {
	c, ok := ctx.Value(connKey{}).(*limitedConn)
	if !ok {
		return func() {}, false
	}
	c.arrived.Store(&arrived)
	return func() { c.arrived.Store(nil) }, true
}

// limit has server, which serves from l, tell l what its connections are doing.
func (l *connLimiter) limit(server *http.Server) {
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, limitedConnOf(conn))
	}
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		if c := limitedConnOf(conn); c != nil && state == http.StateIdle {
			c.idle()
		}
	}
	next := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*limitedConn); ok {
			c.asked.Store(true)
			defer l.keepSome(c)()
		}
		next.ServeHTTP(w, r)
	})
}

// keepSome keeps c unless maxKept requests do so already.
func (l *connLimiter) keepSome(c *limitedConn) (release func()) {
	l.mu.Lock()
	full := l.kept >= l.maxKept
	if !full {
		l.kept++
	}
	l.mu.Unlock()
	if full {
		return func() {}
	}
	unkeep := c.keep()
	return func() {
		unkeep()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.kept--
	}
}
