// Package s3quirk stands before an S3 server and gives it the ways of other stores, and
// of proxies in front of stores. The rest stays real: signatures are checked by the server
// behind it.
package s3quirk

import (
	"bytes"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"testing"

	"spillway/testdata/s3server"
)

// A Quirk changes requests on their way to the server behind next, or its answers.
type Quirk func(next http.Handler) http.Handler

// Before starts a proxy before the server of c and returns its endpoint. The proxy ends with
// the test. The first quirk is the nearest to the client.
func Before(t testing.TB, c s3server.Client, quirks ...Quirk) string {
	t.Helper()
	proxy, err := NewProxy(c.Endpoint, quirks...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL
}

// Proxy passes requests on to a server, with the host that they were sent to, so that
// signatures stay valid.
type Proxy struct {
	http.Handler

	transport *http.Transport
}

// NewProxy returns a proxy before the server at endpoint, a URL without a path. The caller
// closes it when no requests are in flight.
func NewProxy(endpoint string, quirks ...Quirk) (*Proxy, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	p := &Proxy{transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
	p.Handler = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = u.Scheme, u.Host
			r.Out.Host = r.In.Host
		},
		Transport: p.transport,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway) // the sender has gone, mostly
		},
	}
	for _, quirk := range slices.Backward(quirks) {
		p.Handler = quirk(p.Handler)
	}
	return p, nil
}

// Close closes the connections to the server, which waits for them when it ends.
func (p *Proxy) Close() { p.transport.CloseIdleConnections() }

// onRequest returns a quirk that changes requests. If change returns a refusal, the request
// goes no further.
func onRequest(change func(*http.Request) *refusal) Quirk {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if refused := change(r); refused != nil {
				refused.write(w)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// onAnswer returns a quirk that changes answers.
func onAnswer(change func(*http.Request, *answer)) Quirk {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a := &answer{header: http.Header{}, status: http.StatusOK}
			next.ServeHTTP(a, r)
			change(r, a)
			maps.Copy(w.Header(), a.header)
			if r.Method != http.MethodHead {
				w.Header().Del("Content-Length")
			}
			w.WriteHeader(a.status)
			_, _ = w.Write(a.body.Bytes()) // the client may have gone
		})
	}
}

// answer keeps the server's answer until it has been changed.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// refusal is S3's answer to a request that it refuses.
type refusal struct {
	status        int
	code, message string
}

func (r *refusal) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(r.status)
	_, _ = w.Write([]byte(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>` + r.code + `</Code><Message>` + r.message + `</Message></Error>`))
}
