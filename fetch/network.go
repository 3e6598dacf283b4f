package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// timeouts bound the steps before a body.
type timeouts struct {
	connect time.Duration // DNS and TCP, all addresses of a host together
	tls     time.Duration
	header  time.Duration // from the request to the end of the answer's header
}

var defaultTimeouts = timeouts{connect: 10 * time.Second, tls: 10 * time.Second, header: 30 * time.Second}

// maxHeader bounds the header of an answer, in bytes.
const maxHeader = 64 << 10

// network is how remotes are reached.
type network struct {
	timeouts
	allowed  func(netip.Addr) bool // addresses that may be connected to; nil: any
	resolver *net.Resolver         // nil: the system's
	roots    *x509.CertPool        // nil: the system's
}

// A connection that is not used for idleConn is closed. At most idleConns to a host are kept: as
// many as there are downloads at once, usually.
const (
	idleConn  = 5 * time.Second
	idleConns = 64
)

// transport returns a transport for HTTP/1.1: HTTP/2 would buffer megabytes for each download.
// Ranges of a file share a connection.
func (n network) transport() *http.Transport {
	dialer := &net.Dialer{Timeout: n.connect, Resolver: n.resolver}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy: nil, // a proxy would connect to whatever address it finds
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			checked := *dialer
			checked.Control = func(_, address string, _ syscall.RawConn) error { return n.check(host, address) }
			return checked.DialContext(ctx, network, address)
		},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: n.roots},
		TLSHandshakeTimeout:    n.tls,
		ResponseHeaderTimeout:  n.header,
		MaxResponseHeaderBytes: maxHeader,
		Protocols:              protocols,
		IdleConnTimeout:        idleConn,
		MaxIdleConnsPerHost:    idleConns,
		DisableCompression:     true, // the file as it is, so that its ranges are those of the archive
	}
}

// check checks an address of a host, right before a connection to it is made.
func (n network) check(host, address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if n.allowed != nil && !n.allowed(to.Addr()) {
		return &AddressError{Host: host, Addr: to.Addr()}
	}
	return nil
}
