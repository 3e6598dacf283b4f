package observe_test

import (
	"io"
	"log"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// oneConn is a listener that accepts one connection.
type oneConn struct {
	conns chan net.Conn
}

func (l oneConn) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (oneConn) Close() error   { return nil }
func (oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// A client that does not read its response loses its connection after a while.
func TestUnreadAnswersOfProbes(t *testing.T) {
	for _, c := range []struct {
		name    string
		path    string
		handler func(*instance) http.Handler
		within  time.Duration
	}{
		{"probe", "/__version__", func(i *instance) http.Handler { return i.health }, 30 * time.Second},
		{"admin", "/metrics", func(i *instance) http.Handler { return i }, 10 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				conns := make(chan net.Conn, 1)
				conns <- there
				server := &http.Server{Handler: c.handler(newInstance()), ErrorLog: log.New(io.Discard, "", 0)}
				served := make(chan struct{})
				go func() {
					defer close(served)
					_ = server.Serve(oneConn{conns})
				}()
				began := time.Now()
				if _, err := io.WriteString(here, "GET "+c.path+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				// The server reads in the background, to notice when the client leaves. A
				// write fails once the server has closed the connection.
				for {
					if _, err := here.Write([]byte("G")); err != nil {
						break
					}
				}
				if took := time.Since(began); took != c.within {
					t.Errorf("closed after %v, want %v", took, c.within)
				}
				close(conns)
				<-served
			})
		})
	}
}
