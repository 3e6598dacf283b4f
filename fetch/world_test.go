package fetch

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"spillway/testdata/remote"
)

// secret is in the query of every URL of these tests, and in no error.
const secret = "sig=SECRET"

// allowedHost and otherHost are on the allow list. The certificate of httptest is for both.
const (
	allowedHost = "files.example.com"
	otherHost   = "more.example.com"
)

// names is DNS: the addresses of each name, one after the other, the last one for ever.
type names struct {
	mu        sync.Mutex
	addresses map[string][]string
}

// lookup returns the address of a name, which may be asked for again at once.
func (n *names) lookup(name string) (address string, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.addresses[strings.ToLower(strings.TrimSuffix(name, "."))]
	if len(all) == 0 {
		return "", false
	}
	return all[0], true
}

// next goes on to the next address of every name.
func (n *names) next() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, all := range n.addresses {
		if len(all) > 1 {
			n.addresses[name] = all[1:]
		}
	}
}

// resolver asks n by the DNS protocol.
func (n *names) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go n.serve(there)
		return here, nil
	}}
}

// serve answers queries of a stream (RFC 1035, section 4.2.2).
func (n *names) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		query := make([]byte, int(length[0])<<8|int(length[1]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		reply := n.reply(query)
		if _, err := conn.Write(append([]byte{byte(len(reply) >> 8), byte(len(reply))}, reply...)); err != nil {
			return
		}
	}
}

// reply answers a query with one question.
func (n *names) reply(query []byte) []byte {
	var labels []string
	at := 12
	for query[at] != 0 {
		size := int(query[at])
		labels = append(labels, string(query[at+1:at+1+size]))
		at += 1 + size
	}
	question := query[12 : at+5]
	kind := query[at+2]
	address, found := n.lookup(strings.Join(labels, "."))
	header := []byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}
	if !found {
		header[3] |= 3 // no such name
		return append(header, question...)
	}
	data := netip.MustParseAddr(address).AsSlice()
	if want := map[byte]int{1: net.IPv4len, 28: net.IPv6len}[kind]; want != len(data) {
		return append(header, question...) // it has no such address
	}
	header[7] = 1
	record := append([]byte{0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, byte(len(data))}, data...)
	return append(append(header, question...), record...)
}

// world is a server, a DNS in which allowed hosts have its address, and a Fetcher that takes
// the server's address for a public one.
type world struct {
	t       *testing.T
	server  *httptest.Server
	mux     *http.ServeMux
	names   *names
	fetcher *Fetcher
	port    string
}

func newWorld(t *testing.T, change ...func(*network)) *world {
	t.Helper()
	w := &world{t: t, mux: http.NewServeMux(), names: &names{addresses: map[string][]string{
		allowedHost: {"127.0.0.1"}, otherHost: {"127.0.0.1"}, "other.example.com": {"127.0.0.1"},
	}}}
	w.server = remote.Start(t, w.mux, true)
	w.port = w.server.URL[strings.LastIndexByte(w.server.URL, ':')+1:]
	roots := x509.NewCertPool()
	roots.AddCert(w.server.Certificate())
	n := network{timeouts: defaultTimeouts, roots: roots, resolver: w.names.resolver(), allowed: func(a netip.Addr) bool {
		return a == netip.MustParseAddr("127.0.0.1") || isPublic(a)
	}}
	for _, c := range change {
		c(&n)
	}
	w.fetcher = New(Config{Domains: []string{"Files.Example.Com", otherHost}, Idle: 10 * time.Second, Transport: n.transport()})
	return w
}

// at returns the URL of a path at a host.
func (w *world) at(host, path string) string {
	return "https://" + host + ":" + w.port + path + "?" + secret
}

// fetch downloads a URL.
func (w *world) fetch(text string) (content []byte, d *Download, err error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	defer func() {
		if err != nil && strings.Contains(err.Error(), "SECRET") {
			w.t.Errorf("the error has the query: %v", err)
		}
	}()
	u, err := w.fetcher.Parse(text)
	if err != nil {
		return nil, nil, err
	}
	if d, err = w.fetcher.Open(ctx, u, nil, 0); err != nil {
		return nil, nil, err
	}
	defer d.Close()
	content, err = io.ReadAll(d)
	return content, d, err
}

// found reports whether err is, or wraps, an error that equals want.
func found(err, want error) bool {
	return err != nil && want != nil && (err.Error() == want.Error() || errors.Is(err, want))
}
