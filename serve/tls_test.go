package serve

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"testing"

	"go.uber.org/zap"

	"spillway/settings"
	"spillway/testdata/client"
)

// TestHTTPS: with a certificate, the API speaks https, with TLS 1.2 or later.
func TestHTTPS(t *testing.T) {
	cert, key := client.SelfSigned(t)
	if _, err := certificate(&settings.Serve{TLSCert: cert, TLSKey: cert}); err == nil {
		t.Error("a certificate is taken for a key")
	}
	pair, err := certificate(&settings.Serve{TLSCert: cert, TLSKey: key})
	if err != nil {
		t.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, r.Proto)
	})
	e, err := listen(t.Context(), handler, listenConfig{address: "127.0.0.1:0", log: newServerLog(zap.NewNop(), nil), keyPairs: pair})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = e.Serve(e.listener) }() // until it is closed
	defer e.Close()

	roots := x509.NewCertPool()
	data, err := os.ReadFile(cert)
	if err != nil || !roots.AppendCertsFromPEM(data) {
		t.Fatal(err)
	}
	get := func(most uint16) (*http.Response, error) {
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, MaxVersion: most}}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+e.address(), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		return (&http.Client{Transport: transport}).Do(req)
	}
	resp, err := get(tls.VersionTLS13)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "HTTP/1.1" {
		t.Errorf("%q, error %v", body, err)
	}
	if resp, err := get(tls.VersionTLS11); err == nil {
		resp.Body.Close()
		t.Error("TLS 1.1 is spoken")
	}
}
