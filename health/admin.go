package health

import (
	"embed"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"
	"time"

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
// and the profiles. It changes nothing and is unauthenticated, so what it listens
// on is for those who run the service.
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
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(adminWrite)) // pages have times of their own
		header := w.Header()
		header.Set("Content-Security-Policy", contentPolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		h.guard(w, r, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case !h.isOurs(r.Host):
				answer.Error(w, http.StatusMisdirectedRequest, fmt.Sprintf("%q is not a name of this server. Use an IP address, localhost, or a name in --admin-hosts.", r.Host))
			case fromElsewhere(r):
				answer.Error(w, http.StatusForbidden, "Other sites may link to the live page, and to nothing else here")
			default:
				mux.ServeHTTP(w, r)
			}
		})
	})
}

// isOurs reports whether host, that of a request with its port, is an IP address,
// localhost, or a configured name. Any other name may be that of a web page that
// has had it resolve to this server (DNS rebinding), whatever address it listens
// on.
func (h *Health) isOurs(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err == nil || strings.EqualFold(host, "localhost") {
		return true
	}
	return slices.ContainsFunc(h.cfg.AdminHosts, func(name string) bool { return strings.EqualFold(name, host) })
}

// fromElsewhere reports whether a browser says that the page of another origin
// makes the request. A link to the live page is let through: the page shows
// nothing to whoever links to it, and no site can embed it. Everything else either
// costs something, as profiles do, or has no reason to be linked to.
func fromElsewhere(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin": // no browser, typed or bookmarked, our own page
		return false
	}
	link := r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
	return !link || r.URL.Path != "/"
}
