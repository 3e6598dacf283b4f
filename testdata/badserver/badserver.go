// Package badserver has servers on the loopback interface that fail in one way each, for
// tests of what an operator is told. Each ends with the test.
package badserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// listen returns a listener on a free port.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // perhaps again
	return l
}

// Refusing returns the address of a port where nobody listens.
func Refusing(t *testing.T) (address string) {
	t.Helper()
	l := listen(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// Silent accepts connections and never answers.
func Silent(t *testing.T) (address string) {
	t.Helper()
	return serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
}

// Closing closes each connection at its first byte.
func Closing(t *testing.T) (address string) {
	t.Helper()
	return serve(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) })
}

// Mail greets as a mail server does.
func Mail(t *testing.T) (address string) {
	t.Helper()
	return serve(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "220 mail.example.com ESMTP\r\n")
		_, _ = io.Copy(io.Discard, conn)
	})
}

// Alerting is a TLS server that answers plain http with a TLS alert, as many do.
func Alerting(t *testing.T) (address string) {
	t.Helper()
	cert, _ := Certificate(t, time.Hour, "127.0.0.1")
	return serve(t, func(conn net.Conn) {
		secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
		_, _ = io.Copy(io.Discard, secure) // the handshake fails with an alert
	})
}

// serve calls talk with each connection, and closes the connection after it.
func serve(t *testing.T, talk func(net.Conn)) (address string) {
	t.Helper()
	l, ended := listen(t), t.Context()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // the test has ended
			}
			go func() {
				talk(conn)
				_ = conn.Close()
			}()
			go func() {
				<-ended.Done()
				_ = conn.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// Certificate makes a self-signed certificate for a host, a name or an IP address, that is
// valid for that long; less than zero: it has expired. file has it in PEM.
func Certificate(t *testing.T, life time.Duration, host string) (cert tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(life),
		IsCA: true, BasicConstraintsValid: true,
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key}, file
}

// HTTPS serves handler with that certificate.
func HTTPS(t *testing.T, cert tls.Certificate, handler http.Handler) (address string) {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// HTTP serves handler.
func HTTP(t *testing.T, handler http.Handler) (address string) {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// Refusal is an S3 error that answers every request, as S3 answers it: without a body if
// the request is a HEAD.
type Refusal struct {
	Status int
	Code   string
	Header http.Header // more headers; may be nil
	Fields string      // more XML of the error
}

// ServeHTTP implements [http.Handler].
func (f Refusal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	maps.Copy(w.Header(), f.Header)
	w.Header().Set("Content-Type", "application/xml")
	_, _ = io.Copy(io.Discard, r.Body)
	w.WriteHeader(f.Status)
	if r.Method != http.MethodHead {
		_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?>`+"\n<Error><Code>%s</Code><Message>This is a test.</Message>%s<RequestId>1</RequestId></Error>", f.Code, f.Fields)
	}
}

// Website answers every GET and HEAD with a page, and other methods with a 405.
func Website(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
	_, _ = io.Copy(w, strings.NewReader("<html><title>It works!</title>"))
}
