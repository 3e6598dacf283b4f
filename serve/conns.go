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
	// maxSpareConns is how many connections of a server may wait for a request to be
	// complete, for the next request, or for the end of a refused body.
	maxSpareConns = 512

	// maxMoreConns is how many more connections may be too young to be closed, about to
	// be answered, or closing. The server keeps some closing connections open for half a
	// second, so that the client can read its response.
	maxMoreConns = 1024

	// spareGrace is how long a connection cannot be closed to make room. Most clients send
	// their request with the first packet.
	spareGrace = 500 * time.Millisecond

	// graceBytes is how much of a request a connection in its grace period may have sent.
	// More is a header that was made to stall.
	graceBytes = 4 << 10

	// maxAdminRequests is how many requests to the admin listener keep their connection,
	// however many others come. A live page is one while it is open, a profile for a
	// minute.
	maxAdminRequests = 64

	// maxBeforeRequest is how many bytes a connection may send before its next request is
	// complete: the header, the rest of a TLS handshake, and the start of the body that is
	// read with them. maxHello is the limit for the first TLS message. Without them,
	// crypto/tls would buffer 64 KiB of a message.
	maxBeforeRequest = maxHeaderBytes + 24<<10
	maxHello         = 8 << 10
)

// errBeforeRequest ends a connection that sends too much before a request.
var errBeforeRequest = errors.New("too many bytes before a complete request")

// connLimiter is a listener that bounds the connections of its server. A connection is
// spare while it may be closed to make room. If there are too many, a new one closes the
// oldest spare one that waits for its client. So a client that sends a complete request
// at once, such as a health probe, is served while others stall.
type connLimiter struct {
	net.Listener
	maxSpare int // spare connections; beyond, one that waits is closed
	maxOpen  int // spare connections, closing ones included; beyond, none is accepted
	maxKept  int // requests that keep their connection open

	mu     sync.Mutex // guards the fields below, and those of limitedConn that say so
	spare  list.List  // of *limitedConn, oldest first
	spares int        // in spare, or evicted but not yet closed by the server
	kept   int        // of maxKept
	closed bool
	fewer  chan struct{} // holds a value when spares has decreased or closed is set
}

func newConnLimiter(l net.Listener, maxKept int) *connLimiter {
	return &connLimiter{
		Listener: l, maxSpare: maxSpareConns, maxOpen: maxSpareConns + maxMoreConns, maxKept: maxKept, fewer: make(chan struct{}, 1),
	}
}

// limitedConn is a connection of a connLimiter.
type limitedConn struct {
	*net.TCPConn
	limiter   *connLimiter
	reading   atomic.Bool                 // Read is under way
	writing   atomic.Bool                 // Write is under way
	inRequest atomic.Bool                 // a request is complete and not yet answered
	read      atomic.Int64                // bytes read before the request is complete
	maxRead   atomic.Int64                // limit of read
	arrived   atomic.Pointer[func(n int)] // called with the bytes of each read of a request body; may be nil

	// Guarded by limiter.mu.
	element *list.Element // in limiter.spare; nil while kept, or once evicted
	since   time.Time     // when it became spare, or its last request was answered
	kept    bool
	gone    bool // the server has closed it
}

// Accept waits for a connection. It may close another one to make room.
func (l *connLimiter) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &limitedConn{TCPConn: raw.(*net.TCPConn), limiter: l}
	c.maxRead.Store(maxBeforeRequest)
	if !l.add(c) {
		return nil, errors.Join(net.ErrClosed, c.TCPConn.Close())
	}
	return c, nil
}

// add waits for room and makes c spare. It reports false after Close.
func (l *connLimiter) add(c *limitedConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spare.Len() >= l.maxSpare {
		l.evict()
	}
	for l.spares >= l.maxOpen && !l.closed {
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

// addSpare makes c the youngest spare connection. The caller holds l.mu.
func (l *connLimiter) addSpare(c *limitedConn) {
	l.spares++
	c.element, c.since = l.spare.PushBack(c), time.Now()
}

// evict closes the oldest spare connection that waits for its client and is past its
// grace period. The caller holds l.mu.
func (l *connLimiter) evict() {
	for e := l.spare.Front(); e != nil; e = e.Next() {
		c := e.Value.(*limitedConn)
		if time.Since(c.since) < spareGrace && c.read.Load() <= graceBytes {
			continue
		}
		if c.writing.Load() || c.reading.Load() && !hasArrived(c.TCPConn) {
			l.spare.Remove(e)
			c.element = nil
			_ = c.TCPConn.Close() // the server notices and calls limitedConn.Close
			return
		}
	}
}

// Close closes the listener. Connections stay open.
func (l *connLimiter) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
	return l.Listener.Close()
}

// signal wakes add after spares or closed has changed.
func (l *connLimiter) signal() {
	select {
	case l.fewer <- struct{}{}:
	default:
	}
}

// keep keeps the connection open, however many others come, until release is called. It
// must not be called again before that.
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

// leaveSpare removes c from the spare connections. The caller holds limiter.mu.
func (c *limitedConn) leaveSpare() {
	l := c.limiter
	if c.element != nil {
		l.spare.Remove(c.element)
		c.element = nil
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
	c.reading.Store(true)
	defer c.reading.Store(false)
	if c.inRequest.Load() {
		n, err := c.TCPConn.Read(p)
		if arrived := c.arrived.Load(); arrived != nil && n > 0 {
			(*arrived)(n)
		}
		return n, err
	}
	left := c.maxRead.Load() - c.read.Load()
	if left <= 0 {
		return 0, errBeforeRequest
	}
	n, err := c.TCPConn.Read(p[:min(int64(len(p)), left)])
	c.read.Add(int64(n))
	return n, err
}

// Write implements [net.Conn].
func (c *limitedConn) Write(p []byte) (int, error) {
	c.writing.Store(true)
	defer c.writing.Store(false)
	return c.TCPConn.Write(p)
}

// ReadFrom implements [io.ReaderFrom], which the server prefers, by calls of Write.
func (c *limitedConn) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c}, r)
}

// idle records that the request of c has been answered.
func (c *limitedConn) idle() {
	c.read.Store(0)
	c.inRequest.Store(false)
	l := c.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.element != nil {
		l.spare.MoveToBack(c.element)
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
	conn.(*limitedConn).maxRead.Store(maxHello)
	return tls.Server(conn, l.config), nil
}

// newTLSConfig returns the configuration of a tlsListener.
func newTLSConfig(keyPairs []tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates: keyPairs,
		MinVersion:   tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			hello.Conn.(*limitedConn).maxRead.Store(maxBeforeRequest)
			return nil, nil // use this configuration
		},
	}
}

// limitedConnOf returns conn, or the connection under TLS, as a limitedConn.
func limitedConnOf(conn net.Conn) *limitedConn {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	c, _ := conn.(*limitedConn)
	return c
}

type connKey struct{}

// keepConnection keeps the connection of a request open until release is called. ctx is
// the request's.
func keepConnection(ctx context.Context) (release func()) {
	if c, ok := ctx.Value(connKey{}).(*limitedConn); ok {
		return c.keep()
	}
	return func() {}
}

// onArrival calls arrived with the number of bytes of each read from a request's
// connection until stop is called. ctx is the request's. It reports false if the
// connection is not limited.
func onArrival(ctx context.Context, arrived func(n int)) (stop func(), ok bool) {
	c, ok := ctx.Value(connKey{}).(*limitedConn)
	if !ok {
		return func() {}, false
	}
	c.arrived.Store(&arrived)
	return func() { c.arrived.Store(nil) }, true
}

// limit makes server, which serves from l, report the state of its connections to l.
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
			c.inRequest.Store(true)
			defer l.tryKeep(c)()
		}
		next.ServeHTTP(w, r)
	})
}

// tryKeep keeps c open, unless maxKept requests already keep theirs.
func (l *connLimiter) tryKeep(c *limitedConn) (release func()) {
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
