package s3sink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"syscall"
	"time"

	"spillway/stream"
)

// Codes for requests that got no valid answer.
const (
	codeNoHost      = "no such host"
	codeDNS         = "no answer from DNS"
	codeRefused     = "connection refused"
	codeUnreachable = "no connection"
	codeSlowConnect = "no connection in time"
	codeLost        = "connection lost"

	codeNoProxy      = "no connection to the proxy"
	codeProxyRefused = "refused by the proxy"

	codePlainPort   = "the port does not speak TLS"
	codeTLSPort     = "the port speaks TLS"
	codeSlowTLS     = "no TLS handshake in time"
	codeTLS         = "TLS handshake failed"
	codeUnknownCA   = "unknown certificate authority"
	codeExpired     = "certificate expired or not yet valid"
	codeOtherHost   = "certificate for another host"
	codeCertificate = "invalid certificate"

	codeTimeout = "no answer in time"
	codeOther   = "no valid answer"
)

// newTransport returns the transport of a sink. roots are the certificate authorities to
// trust; nil: the system's.
func newTransport(cfg Config, roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: checkProxy,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots},
		TLSHandshakeTimeout:    10 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxIdleConns:           cfg.Concurrency,
		MaxIdleConnsPerHost:    cfg.Concurrency,
		IdleConnTimeout:        90 * time.Second,
		DisableCompression:     true, // no Accept-Encoding: see removeAcceptEncoding
	}
}

// A proxyError is the status with which a proxy refused to connect to the store.
type proxyError int

func (e proxyError) Error() string {
	return fmt.Sprintf("the proxy answered %d %s", int(e), http.StatusText(int(e)))
}

// checkProxy returns the refusal of a proxy as an error that codeOf knows.
func checkProxy(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return proxyError(resp.StatusCode)
	}
	return nil
}

// connectionCode returns the code of a request that got no valid answer.
func connectionCode(err error) string {
	op, isOp := errors.AsType[*net.OpError](err)
	_, proxyRefused := errors.AsType[proxyError](err)
	host, isDNS := errors.AsType[*net.DNSError](err)
	_, noAddress := errors.AsType[*net.AddrError](err) // the host has none
	switch {
	case proxyRefused:
		return codeProxyRefused
	case isOp && op.Op == "proxyconnect":
		return codeNoProxy
	case isDNS && host.IsNotFound, noAddress:
		return codeNoHost
	case isDNS:
		return codeDNS
	}
	if code := tlsCode(err); code != "" {
		return code
	}
	if code := timeoutCode(err); code != "" {
		return code
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return codeRefused
	case isOp && op.Op == "dial":
		return codeUnreachable
	case isOp, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return codeLost
	}
	return codeOther
}

// tlsCode returns the code of an error of TLS, or nothing.
func tlsCode(err error) string {
	_, unknownCA := errors.AsType[x509.UnknownAuthorityError](err)
	_, otherHost := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	_, isCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, notTLS := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case unknownCA:
		return codeUnknownCA
	case otherHost:
		return codeOtherHost
	case isInvalid && invalid.Reason == x509.Expired:
		return codeExpired
	case isCertificate:
		return codeCertificate
	case notTLS, errors.Is(err, http.ErrSchemeMismatch):
		return codePlainPort
	case isAlert(err):
		return codeTLS
	}
	return ""
}

// isAlert reports whether TLS ended with an alert, of the server or of this side.
func isAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "remote error" || op.Op == "local error")
}

// timeoutCode returns the code of a request whose time was over, or nothing.
func timeoutCode(err error) string {
	if late, ok := errors.AsType[*stageError](err); ok {
		switch late.stage {
		case resolving:
			return codeDNS
		case connecting:
			return codeSlowConnect
		case handshaking:
			return codeSlowTLS
		case waiting, connected:
		}
		return codeTimeout
	}
	_, slow := errors.AsType[*timeLimitError](err)
	timeout, isNet := errors.AsType[net.Error](err)
	if slow || errors.Is(err, context.DeadlineExceeded) || isNet && timeout.Timeout() {
		return codeTimeout
	}
	return ""
}

// speaksTLS reports whether err comes from sending plain http to a port that speaks TLS.
// Such ports answer with a 400, or with an alert, or close the connection: only a TLS
// handshake tells.
func (s *store) speaksTLS(ctx context.Context, err error) bool {
	failed, ok := errors.AsType[*stream.StoreError](err)
	if !ok || s.endpoint.Scheme != "http" || !slices.Contains([]string{codeLost, codeOther, "HTTP 400", "BadRequest"}, failed.Code) {
		return false
	}
	secure := url.URL{Scheme: "https", Host: s.endpoint.Host, Path: "/"}
	if s.endpoint.Port() == "" {
		secure.Host = net.JoinHostPort(s.endpoint.Hostname(), "80")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, secure.String(), http.NoBody)
	if err != nil {
		return false
	}
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		code := tlsCode(err)
		return code != "" && code != codePlainPort
	}
	_ = resp.Body.Close()
	return resp.TLS != nil
}
