package health

import (
	"embed"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"

	"spillway/health/answer"
)

// page is the live page: files as they are, which need no build.
//
//go:embed page
var page embed.FS

// contentPolicy lets the page have its own files and nothing else. Names in
// archives are what clients choose.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Admin returns the handler of the admin listener: the live page, the metrics
// and the profiles. It changes nothing and asks nobody who they are, so what
// it listens on is for those who run the service.
func (h *Health) Admin() http.Handler {
	mux := http.NewServeMux()
	for path, name := range map[string]string{
		"/{$}": "index.html", "/page.css": "page.css", "/page.js": "page.js", "/draw.js": "draw.js", "/icon.svg": "icon.svg",
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, page, "page/"+name)
		})
	}
	mux.HandleFunc("/events", h.live.serve)
	mux.Handle("/metrics", h.cfg.Metrics.handler(h.cfg.Log))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answer.Error(w, http.StatusNotFound, http.StatusText(http.StatusNotFound))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", contentPolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		h.guard(w, r, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case !sameHost(r):
				answer.Error(w, http.StatusMisdirectedRequest, fmt.Sprintf("This is not %q. Use localhost or the address.", r.Host))
			case r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate":
				answer.Error(w, http.StatusForbidden, "This is not for other sites' pages")
			default:
				mux.ServeHTTP(w, r)
			}
		})
	})
}

// sameHost reports whether the request names the host that it has reached. On a
// loopback address only those of this machine may look, and a page of some
// other site that has its name resolve to that address (DNS rebinding) is none
// of them.
func sameHost(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if ok && !local.IP.IsLoopback() {
		return true
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost")
}
