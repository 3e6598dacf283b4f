package fetch

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"spillway/testdata/remote"
)

// TestAddressesOfNames checks that what a name means at the time of the connection decides.
func TestAddressesOfNames(t *testing.T) {
	for _, address := range []string{
		"127.0.0.2", "10.0.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200", "0.0.0.0", "::1", "::ffff:10.0.0.1",
		"fe80::1", "fd00:ec2::254", "64:ff9b::7f00:2", "2002:7f00:2::1", "2001::1",
	} {
		w := newWorld(t)
		w.names.addresses[allowedHost] = []string{address}
		w.mux.Handle("/x.zip", &remote.File{Content: []byte("content")})
		_, _, err := w.fetch(w.at(allowedHost, "/x.zip"))
		if e, ok := errors.AsType[*AddressError](err); !ok || e.Host != allowedHost || e.Addr != netip.MustParseAddr(address).Unmap() && e.Addr != netip.MustParseAddr(address) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestRebinding checks each connection of a download: to the URL, after a redirect, and when it
// is resumed.
func TestRebinding(t *testing.T) {
	content := make([]byte, 100_000)
	for name, path := range map[string]string{"the URL": "/x.zip", "a redirect": "/moved", "a resume": "/broken.zip"} {
		w := newWorld(t)
		rebind := func(h http.Handler) http.HandlerFunc {
			return func(rw http.ResponseWriter, r *http.Request) {
				w.names.next()
				h.ServeHTTP(rw, r)
			}
		}
		w.names.addresses[allowedHost] = []string{"127.0.0.1", "127.0.0.2"}
		w.mux.Handle("/x.zip", &remote.File{Content: content})
		w.mux.Handle("/moved", rebind(http.RedirectHandler("/x.zip", http.StatusFound)))
		w.mux.Handle("/broken.zip", rebind(&remote.File{Content: content, Header: remote.StrongETag(), Breaks: []int{50_000}}))
		if name == "the URL" {
			if got, _, err := w.fetch(w.at(allowedHost, path)); err != nil || len(got) != len(content) {
				t.Errorf("%s: %v", name, err)
			}
			w.names.next()
		}
		_, _, err := w.fetch(w.at(allowedHost, path))
		if e, ok := errors.AsType[*AddressError](err); !ok || e.Addr.String() != "127.0.0.2" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAddressesInURLs checks that the real transport connects to no address of this machine,
// even if the allow list has it.
func TestAddressesInURLs(t *testing.T) {
	server := remote.Start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("connected") }), true)
	port := server.URL[strings.LastIndexByte(server.URL, ':')+1:]
	for _, host := range []string{"127.0.0.1", "localhost", "::1", "::ffff:127.0.0.1", "::", "0.0.0.0"} {
		f := New(Config{Domains: []string{host}, Idle: time.Second})
		u, err := f.Parse("https://" + net.JoinHostPort(host, port) + "/x.zip")
		if err != nil {
			t.Fatal(err)
		}
		d, err := f.Open(t.Context(), u, nil, 0)
		if err == nil {
			d.Close()
		}
		if _, ok := errors.AsType[*AddressError](err); !ok {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// TestSpellingsOfAddresses checks names that some resolvers take for an address of this machine.
func TestSpellingsOfAddresses(t *testing.T) {
	server := remote.Start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("connected") }), true)
	port := server.URL[strings.LastIndexByte(server.URL, ':')+1:]
	short := timeouts{connect: 500 * time.Millisecond, tls: time.Second, header: time.Second}
	for _, host := range []string{"2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "0177.0.0.1", "127.1", "127.0.1", "0", "127.0.0.1.", "localhost."} {
		for _, own := range []bool{false, true} { // Go's resolver, and the system's if cgo is there
			n := network{timeouts: short, allowed: isPublic, resolver: &net.Resolver{PreferGo: own}}
			f := New(Config{Domains: []string{host}, Idle: time.Second, Transport: n.transport()})
			u, err := f.Parse("https://" + host + ":" + port + "/x.zip")
			if err != nil {
				t.Fatal(err)
			}
			d, err := f.Open(t.Context(), u, nil, 0)
			if err == nil {
				d.Close()
				t.Errorf("%s: it is fetched from", host)
			}
		}
	}
}

// TestNoProxy checks that no variable brings in a proxy, which would connect to any address.
func TestNoProxy(t *testing.T) {
	proxy := remote.Start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") }), false)
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	w := newWorld(t)
	w.mux.Handle("/x.zip", &remote.File{Content: []byte("content")})
	if got, _, err := w.fetch(w.at(allowedHost, "/x.zip")); err != nil || string(got) != "content" {
		t.Errorf("%q, %v", got, err)
	}
	// The library reads the variables once: what it keeps, the transport must not ask.
	if defaultNetwork := New(Config{}).transport.(*http.Transport); defaultNetwork.Proxy != nil {
		t.Error("the transport asks for a proxy")
	}
}

func TestUnreachableRemotes(t *testing.T) {
	w := newWorld(t, func(n *network) {
		n.timeouts = timeouts{connect: time.Second, tls: 100 * time.Millisecond, header: 100 * time.Millisecond}
	})
	w.mux.HandleFunc("/hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	raw := func(serve func(net.Conn)) string {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go serve(c)
			}
		}()
		return "https://" + allowedHost + ":" + l.Addr().String()[len("127.0.0.1:"):] + "/x.zip?" + secret
	}
	w.names.addresses["unknown.example.com"] = nil
	w.names.addresses["foreign.example.org"] = []string{"127.0.0.1"}
	w.fetcher.domains = append(w.fetcher.domains, "unknown.example.com", "foreign.example.org")
	for name, c := range map[string]struct{ url, reason string }{
		"a name without address":    {w.at("unknown.example.com", "/x.zip"), "no such host"},
		"a port that nobody serves": {"https://" + allowedHost + ":1/x.zip?" + secret, "connection refused"},
		"another certificate":       {w.at("foreign.example.org", "/x.zip"), "the certificate is for another host, expired, or from an unknown authority"},
		"no answer":                 {w.at(allowedHost, "/hangs"), "no answer in time"},
		"no handshake":              {raw(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), "no answer in time"},
		"no TLS":                    {raw(func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n?"+secret); _ = c.Close() }), "the port does not speak TLS"},
		"closed at once":            {raw(func(c net.Conn) { _ = c.Close() }), ""},
	} {
		_, _, err := w.fetch(c.url)
		e, ok := errors.AsType[*RemoteError](err)
		if !ok || c.reason != "" && e.Reason != c.reason || e.Reason == "" {
			t.Errorf("%s: %v, want %q", name, err, c.reason)
		}
	}
}

// TestAnswersThatAreNotHTTP checks that what a remote sends is not repeated.
func TestAnswersThatAreNotHTTP(t *testing.T) {
	for _, answer := range []string{
		"SECRET\r\n\r\n", "HTTP/1.1 SECRET\r\n\r\n", "HTTP/1.1 200 OK\r\nSECRET\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: SECRET\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: SECRET\r\n\r\n", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("SECRET", maxHeader) + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nSECRET\r\n",
	} {
		w := newWorld(t)
		w.mux.HandleFunc("/x.zip", func(rw http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		})
		_, _, err := w.fetch(w.at(allowedHost, "/x.zip"))
		if _, ok := errors.AsType[*RemoteError](err); !ok {
			t.Errorf("%.40q: %v", answer, err)
		}
	}
}

func TestContextEndsADownload(t *testing.T) {
	w := newWorld(t)
	w.mux.HandleFunc("/hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	w.mux.Handle("/stalls", &remote.File{Content: make([]byte, 1000), Breaks: []int{500}, Stall: true})
	cause := errors.New("cause")
	for _, path := range []string{"/hangs", "/stalls"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
		u, err := w.fetcher.Parse(w.at(allowedHost, path))
		if err != nil {
			t.Fatal(err)
		}
		d, err := w.fetcher.Open(ctx, u, nil, 0)
		if err == nil {
			_, err = io.ReadAll(d)
			d.Close()
		}
		if !errors.Is(err, cause) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
