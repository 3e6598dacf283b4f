// Package fetch downloads archives from URLs that clients name.
//
// A client must not reach through it what the client itself cannot: every URL, also one that a
// redirect leads to, is https and its host on an allow list, and connections are made to public
// addresses only. The address is checked when the connection is made, so it does not matter
// what a name has meant before. No proxy is used, whatever the environment says.
//
// A download that breaks off goes on where it was, if the remote can prove that the file is
// still the same. See [Download].
package fetch

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"spillway/internal/account"
)

// maxRedirects is how many redirects are followed.
const maxRedirects = 5

// Config configures a [Fetcher].
type Config struct {
	Domains []string      // host names that archives may come from; case is ignored
	Idle    time.Duration // ends a download from which nothing arrives for that long

	// Any is for development: any host, address and port may be fetched from, over plain
	// http as well.
	Any bool

	// Transport sends the requests. If nil, one that connects to public addresses only,
	// or to any if Any is set.
	Transport http.RoundTripper

	// OnRequest, if not nil, is called at the end of each request of a download, with a
	// context that is derived from that of [Fetcher.Open]. It must not block.
	OnRequest func(context.Context, Request)
}

// A Fetcher opens downloads.
type Fetcher struct {
	domains   []string // in lower case
	any       bool
	idle      time.Duration
	transport http.RoundTripper
}

// New returns a Fetcher.
func New(cfg Config) *Fetcher {
	f := &Fetcher{any: cfg.Any, idle: cfg.Idle, transport: cfg.Transport}
	for _, d := range cfg.Domains {
		f.domains = append(f.domains, strings.ToLower(d))
	}
	if f.transport == nil {
		n := network{timeouts: defaultTimeouts, allowed: isPublic}
		if cfg.Any {
			n.allowed = nil
		}
		f.transport = n.transport()
	}
	if cfg.OnRequest != nil {
		f.transport = &watchedTransport{f.transport, cfg.OnRequest}
	}
	return f
}

// Open begins the download of a URL that [Fetcher.Parse] has returned, and follows redirects.
// ctx ends the download; the caller closes it. Time in which it waits for the remote goes to a,
// which may be nil.
//
// If tail is not 0, the first request asks for the last tail bytes only. If the remote gives
// them, and has a strong validator, the file is read in ranges: see [Download.Range]. If not,
// it is read from its start. A remote that does not know ranges answers with the file at once.
//
// The error is ctx's cause, an [*InvalidError], [*InsecureError] or [*DomainError] of a
// redirect, an [*AddressError], [*RedirectsError], [*StatusError], [*EncodingError] or
// [*RemoteError].
func (f *Fetcher) Open(ctx context.Context, u *url.URL, a *account.Account, tail int) (*Download, error) {
	d := &Download{fetcher: f, ctx: ctx, account: a}
	first := u
	for {
		answer, err := d.get(u, tailHeader(tail)) //nolint:contextcheck // d has ctx
		if err != nil {
			return nil, err
		}
		location := answer.header.Get("Location")
		if !isRedirect(answer.status) || location == "" {
			d.url = u
			if tail > 0 && answer.status != http.StatusOK && !isFinal(answer.status) {
				if d.beginTail(answer, tail) {
					return d, nil
				}
				tail = 0
				continue
			}
			if err := d.begin(answer); err != nil {
				answer.close()
				return nil, err
			}
			return d, nil
		}
		answer.close()
		if len(d.redirects) == maxRedirects {
			return nil, &RedirectsError{URL: Shown(first)}
		}
		if u, err = f.follow(u, location); err != nil {
			return nil, err
		}
		d.redirects = append(d.redirects, u)
	}
}

// isFinal reports whether a status would be the same without a Range: there is no such file, or
// there are too many requests.
func isFinal(status int) bool {
	return status == http.StatusNotFound || status == http.StatusGone || status == http.StatusTooManyRequests
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}
