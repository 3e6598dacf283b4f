package s3fault

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"
)

// Proxy stands before an S3 server, passes requests on, counts them, and fails
// some on the connection that they came on. Signatures stay valid: requests are
// passed on with the host that they were sent to.
type Proxy struct {
	Injector

	forward *httputil.ReverseProxy
	rate    atomic.Int64 // bytes of a request's body a second; 0: as they come
}

// NewProxy returns a proxy before the server at endpoint, a URL without a path.
func NewProxy(endpoint string) (*Proxy, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	return &Proxy{forward: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = u.Scheme, u.Host
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway) // the sender has gone, mostly
		},
	}}, nil
}

// SlowDown has the bodies of requests taken at so many bytes a second, also those
// under way; 0: as they come.
func (p *Proxy) SlowDown(rate int64) { p.rate.Store(rate) }

// slowBody is a body that is read slowly.
type slowBody struct {
	io.ReadCloser
	rate *atomic.Int64 // bytes a second; 0: as they come
}

func (b *slowBody) Read(p []byte) (int, error) {
	const pauses = 20 // a second
	rate := b.rate.Load()
	if rate == 0 {
		return b.ReadCloser.Read(p)
	}
	time.Sleep(time.Second / pauses)
	return b.ReadCloser.Read(p[:min(int64(len(p)), max(1, rate/pauses))])
}

// ServeHTTP implements [http.Handler].
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength > 0 {
		r.Body = &slowBody{r.Body, &p.rate}
	}
	call := Call(r)
	f := p.next(call)
	if f == nil {
		p.forward.ServeHTTP(w, r)
		return
	}
	if f.Applied {
		p.forward.ServeHTTP(&lost{header: http.Header{}}, r)
	}
	p.fail(w, r, f, call)
}

// fail answers a request as the fault has it.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, f *Fault, call string) {
	switch f.Kind {
	case ResetInBody:
		_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
		reset(w)
		return
	case Timeout:
		// The body is left where it is.
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	status, contentType, body := f.Kind.answer(call)
	switch f.Kind {
	case Reset:
		reset(w)
	case CutAnswer:
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		reset(w)
	default:
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // a HEAD's goes nowhere
	}
}

// reset has the connection end with a reset.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// lost is where an answer goes that nobody gets.
type lost struct{ header http.Header }

func (l *lost) Header() http.Header         { return l.header }
func (l *lost) Write(p []byte) (int, error) { return len(p), nil }
func (l *lost) WriteHeader(int)             {}
