package fetch

import (
	"net/url"
	"slices"
	"strings"
)

// MaxURL bounds a URL, in bytes.
const MaxURL = 8 << 10

// Shown returns the part of a URL that may be shown: without its query, which is often a
// signature, without its fragment, and without user and password.
func Shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// Parse parses a URL and checks whether it may be fetched, as far as the URL tells. The error
// is an [*InvalidError], an [*InsecureError] or a [*DomainError].
func (f *Fetcher) Parse(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || len(text) > MaxURL {
		return nil, &InvalidError{} // err quotes the URL
	}
	return u, f.check(u, "")
}

// follow returns the URL that a redirect from u leads to, after the same checks.
func (f *Fetcher) follow(u *url.URL, location string) (*url.URL, error) {
	next, err := u.Parse(location)
	if err != nil || len(next.String()) > MaxURL {
		return nil, &InvalidError{From: Shown(u)}
	}
	return next, f.check(next, Shown(u))
}

// check checks a URL. from is that of an [*InvalidError].
func (f *Fetcher) check(u *url.URL, from string) error {
	if u.Scheme != "https" && (u.Scheme != "http" || !f.any) {
		return &InsecureError{}
	}
	if u.User != nil {
		return &InsecureError{User: true}
	}
	host := u.Hostname()
	if host == "" || u.Opaque != "" {
		return &InvalidError{From: from}
	}
	if !f.any && !slices.Contains(f.domains, strings.ToLower(host)) {
		return &DomainError{Host: host}
	}
	return nil
}
