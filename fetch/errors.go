package fetch

import (
	"errors"
	"fmt"
	"net/http"

	"spillway/internal/neterr"
)

// No error of this package contains the query of a URL, which is often a secret.

// An InsecureError says that a URL is not https, or has a user or password.
type InsecureError struct {
	User bool // it has a user or password
}

func (e *InsecureError) Error() string {
	if e.User {
		return "fetch: the URL has a user or password"
	}
	return "fetch: the URL is not https"
}

// An InvalidError says that something is not a URL with a host, or too long.
type InvalidError struct {
	From string // the URL that redirects to it, as [Shown] returns it; empty: none
}

func (e *InvalidError) Error() string {
	what := "the URL"
	if e.From != "" {
		what = "a redirect from " + e.From
	}
	return fmt.Sprintf("fetch: %s has no host, is malformed, or longer than %d bytes", what, MaxURL)
}

// A DomainError says that a host is not on the allow list.
type DomainError struct {
	Host string // without a port
}

func (e *DomainError) Error() string { return fmt.Sprintf("fetch: the host %q is not allowed", e.Host) }

// A RedirectsError says that there are too many redirects.
type RedirectsError struct {
	URL string // the first one, as [Shown] returns it
}

func (e *RedirectsError) Error() string {
	return fmt.Sprintf("fetch: more than %d redirects from %s", maxRedirects, e.URL)
}

// A StatusError says that the remote did not answer with the file.
type StatusError struct {
	URL    string // as [Shown] returns it
	Status int
}

func (e *StatusError) Error() string { return fmt.Sprintf("fetch: %s: status %d", e.URL, e.Status) }

// Temporary reports whether a retry may help.
func (e *StatusError) Temporary() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return e.Status >= http.StatusInternalServerError
}

// An EncodingError says that the remote has encoded the file, although it was asked not to.
type EncodingError struct {
	URL      string // as [Shown] returns it
	Encoding string
}

func (e *EncodingError) Error() string {
	return fmt.Sprintf("fetch: %s: it has the Content-Encoding %q", e.URL, e.Encoding)
}

// A RemoteError says that the remote cannot be reached, or that a download broke off. A retry
// may help.
type RemoteError struct {
	URL    string // as [Shown] returns it
	Reason string // what happened, e.g. "connection refused"
	Offset int64  // where it broke off; 0 if the download had not begun

	// Changed says that the file is not what it was, or that the remote gives no ranges of it
	// any more. It can be downloaded from its start: see [Download.Rewind].
	Changed bool
}

func (e *RemoteError) Error() string {
	return fmt.Sprintf("fetch: %s: at byte %d: %s", e.URL, e.Offset, e.Reason)
}

// Why a download broke off.
var (
	errStalled = errors.New("nothing arrived in time")
	errSlow    = errors.New("too little arrived in time")
	errLength  = errors.New("more arrived than the remote had stated")
)

// reason puts an error of the transport into words. The text of the error itself may repeat
// what the remote sent, and so the URL.
func reason(err error) string {
	for _, known := range []error{errStalled, errSlow, errLength} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return neterr.Reason(err)
}
