package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"slices"
	"time"
)

const (
	// readHeaderTimeout and idleTimeout bound connections before a request. Bodies of
	// uploads have deadlines of their own, which move as bytes arrive.
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute

	// maxHeaderBytes is where the server stops reading a header, give or take 4 KiB. It
	// then answers 431 in plain text.
	maxHeaderBytes = 16 << 10

	// closeTimeout bounds the wait for connections to end after the uploads.
	closeTimeout = time.Second
)

// endpoint is a server and its listener.
type endpoint struct {
	*http.Server
	listener net.Listener
}

// address returns the address that e listens on.
func (e *endpoint) address() string { return e.listener.Addr().String() }

// listenConfig configures an endpoint.
type listenConfig struct {
	address  string
	log      *log.Logger       // for messages of the server
	maxKept  int               // requests whose connection is not closed if there are too many
	keyPairs []tls.Certificate // certificates for https; none: plain http
}

// listen opens an endpoint. It speaks HTTP/1.1, with TLS too, so that each upload has
// its own connection.
func listen(ctx context.Context, handler http.Handler, cfg listenConfig) (*endpoint, error) {
	raw, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.address)
	if err != nil {
		return nil, err
	}
	limiter := newConnLimiter(raw, cfg.maxKept)
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          cfg.log,
	}
	limiter.limit(server)
	var listener net.Listener = limiter
	if len(cfg.keyPairs) > 0 {
		listener = tlsListener{limiter, newTLSConfig(cfg.keyPairs)}
	}
	return &endpoint{server, listener}, nil
}

// end closes a server when its connections are idle, or after closeTimeout.
func (e *endpoint) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	err := e.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return e.Close()
	}
	return err
}

// endpoints returns all open endpoints.
func (svc *service) endpoints() []*endpoint {
	all := []*endpoint{svc.public, svc.admin, svc.embedded}
	return slices.DeleteFunc(all, func(e *endpoint) bool { return e == nil })
}

// closeListeners closes the listeners of a service that does not start.
func (svc *service) closeListeners() {
	for _, e := range svc.endpoints() {
		_ = e.listener.Close() // nobody has connected yet
	}
}
