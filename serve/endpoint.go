package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"time"
)

const (
	// readHeaderTimeout and idleTimeout bound what is no upload yet: the bodies
	// of uploads have deadlines of their own, which move as bytes arrive.
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute

	// maxHeaderBytes is where the server stops reading a header, give or take
	// 4 KiB. It then answers 431 in plain text.
	maxHeaderBytes = 16 << 10

	// closeTimeout is how long connections get to end after the uploads have.
	closeTimeout = time.Second
)

// endpoint is a server and what it listens on.
type endpoint struct {
	*http.Server
	listener net.Listener
}

// address is where clients reach e.
func (e *endpoint) address() string { return e.listener.Addr().String() }

// listenConfig is how an endpoint listens.
type listenConfig struct {
	address  string
	log      *log.Logger       // of the server
	maxKept  int               // requests that keep their connection when there are too many
	keyPairs []tls.Certificate // if there are any, the endpoint is https
}

// listen makes an endpoint. It speaks HTTP/1.1, also as https, so that each
// upload has a connection to itself.
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

// end closes a server once its connections are idle, or when they take too long.
func (e *endpoint) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	err := e.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return e.Close()
	}
	return err
}

// endpoints are all servers. The last of them may be nil.
func (svc *service) endpoints() []*endpoint {
	return []*endpoint{svc.public, svc.admin, svc.embedded}
}

func (svc *service) closeListeners() {
	for _, e := range svc.endpoints() {
		if e != nil {
			// It has never been served from: there is nothing to lose.
			_ = e.listener.Close()
		}
	}
}
