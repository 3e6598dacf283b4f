package observe

import (
	"context"
	"embed"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"spillway/health"
	"spillway/internal/answer"
	"spillway/internal/guard"
	"spillway/stream/budget"
	"spillway/tokens"
)

// page holds the files of the live page. They need no build.
//
//go:embed page
var page embed.FS

const (
	// contentPolicy restricts the page to its own files. Names in archives are chosen
	// by clients.
	contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

	// adminWrite bounds a request. Otherwise a client that does not read its response
	// would keep the connection.
	adminWrite = 10 * time.Minute
)

// AdminConfig configures an [Admin]. Every field must be set unless it says
// otherwise. The functions wait for nothing but a lock.
type AdminConfig struct {
	Version  health.Version
	Health   *health.Health
	Pressure *health.Pressure
	Outcomes *health.Outcomes

	Uploads  *Uploads
	Metrics  *Metrics
	Reporter *Reporter // may be nil
	Tracer   *Tracer   // may be nil

	Memory     func() budget.Usage      // what is in use of the memory budget
	MemoryIdle func() int64             // bytes kept for the next upload
	Spill      func() budget.SpillUsage // what is in use of the disk quota
	Tasks      func() []health.Task     // the state of each cleaning task
	Tokens     func() tokens.Status     // the state of the tokens file

	// DroppedLines returns how many lines of the log were dropped.
	DroppedLines func() int

	// Hosts are the names by which requests may address the admin listener, beside IP
	// addresses and localhost. May be nil.
	Hosts []string

	// Panicked is called with a panic of a request.
	Panicked func(*http.Request, *guard.PanicError)

	Log *zap.Logger
}

// Admin is the http.Handler of the admin listener: the live page, the metrics and the
// profiles. It changes nothing. It is unauthenticated: only those who run the service
// may reach it.
type Admin struct {
	cfg  AdminConfig
	live *live
	mux  *http.ServeMux
}

// NewAdmin returns an Admin. It adds gauges to the metrics; call it once for each
// Metrics.
func NewAdmin(cfg AdminConfig) *Admin {
	a := &Admin{cfg: cfg, mux: http.NewServeMux()}
	a.live = newLive(&a.cfg)
	cfg.Metrics.registry.MustRegister(gauges{&a.cfg, a.live.clients})
	for path, name := range map[string]string{
		"/{$}": "index.html", "/page.css": "page.css", "/page.js": "page.js", "/panels.js": "panels.js", "/draw.js": "draw.js", "/icon.svg": "icon.svg",
	} {
		a.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, page, "page/"+name)
		})
	}
	a.mux.HandleFunc("/events", a.live.serve)
	a.mux.Handle("/metrics", cfg.Metrics.handler(cfg.Log))
	a.mux.HandleFunc("/debug/pprof/", pprof.Index)
	a.mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	a.mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	a.mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	a.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answer.Error(w, http.StatusNotFound, http.StatusText(http.StatusNotFound), "The live page is at /, and metrics are at /metrics.")
	})
	return a
}

// Watch samples what the live page shows until ctx ends. Then it closes the pages
// that are open.
func (a *Admin) Watch(ctx context.Context) { a.live.run(ctx) }

// ServeHTTP serves GET and HEAD.
func (a *Admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(adminWrite)) // live pages have their own
	header := w.Header()
	header.Set("Content-Security-Policy", contentPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
	answer.ReadOnly(w, r, a.serve, func(p *guard.PanicError) { a.cfg.Panicked(r, p) })
}

func (a *Admin) serve(w http.ResponseWriter, r *http.Request) {
	switch {
	case !a.isOurs(r.Host):
		answer.Error(w, http.StatusMisdirectedRequest, fmt.Sprintf("%q is not a name of this server", r.Host),
			"Use an IP address, localhost, or a name in --admin-hosts.")
	case crossSite(r):
		answer.Error(w, http.StatusForbidden, "Other sites may link to the live page only", "Open the address itself, not from another site.")
	default:
		a.mux.ServeHTTP(w, r)
	}
}

// isOurs reports whether host, which may have a port, is an IP address, localhost or
// a configured name. With any other name the request may come from a web page whose
// name was made to resolve to this server (DNS rebinding), whatever address the
// server listens on.
func (a *Admin) isOurs(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err == nil || strings.EqualFold(host, "localhost") {
		return true
	}
	return slices.ContainsFunc(a.cfg.Hosts, func(name string) bool { return strings.EqualFold(name, host) })
}

// crossSite reports whether a browser says that a page of another origin makes the
// request. Links to the live page are allowed: the linking site sees nothing of it,
// and no site can embed it. All else either costs something, as profiles do, or has
// no reason to be linked to.
func crossSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin": // no browser; typed or bookmarked; our own page
		return false
	}
	link := r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
	return !link || r.URL.Path != "/"
}
