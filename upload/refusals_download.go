package upload

import (
	"errors"
	"fmt"
	"net/http"

	"spillway/fetch"
	"spillway/internal/outcome"
)

// verdictOnDownload is the part of the table for archives that are fetched from a URL. No
// text has the query of a URL, or an address.
func verdictOnDownload(err error) (verdict, bool) {
	bad := func(message, detail string) (verdict, bool) {
		return refused(http.StatusBadRequest, outcome.BadURL, message, detail), true
	}
	notAllowed := func(host, detail string) (verdict, bool) {
		return bad(fmt.Sprintf("Not an allowed domain ('%s') to download from.", host), detail)
	}
	if e, ok := errors.AsType[*fetch.InvalidError](err); ok {
		what := "The URL"
		if e.From != "" {
			what = e.From + " redirects to a URL that"
		}
		return bad("Enter a valid URL.", fmt.Sprintf("%s has no host, is malformed, or is longer than %s.", what, size(fetch.MaxURL)))
	}
	if e, ok := errors.AsType[*fetch.InsecureError](err); ok {
		if e.User {
			return bad("Insecure URL", "The URL, or one that it redirects to, has a user or a password. Leave them out.")
		}
		return bad("Insecure URL", "The URL, or one that it redirects to, does not begin with https://.")
	}
	if e, ok := errors.AsType[*fetch.DomainError](err); ok {
		return notAllowed(e.Host, fmt.Sprintf("The URL, or one that it redirects to, is on the host '%s', which is not in --download-domains.", e.Host))
	}
	if e, ok := errors.AsType[*fetch.AddressError](err); ok {
		return notAllowed(e.Host, fmt.Sprintf("The host '%s' has an address that is not public.", e.Host))
	}
	if e, ok := errors.AsType[*fetch.RedirectsError](err); ok {
		return bad("Too many redirects trying to open "+e.URL, "At most 5 redirects are followed. Send the URL that they lead to.")
	}
	if e, ok := errors.AsType[*fetch.EncodingError](err); ok {
		return bad(fmt.Sprintf("The file at %s has the Content-Encoding %s", e.URL, e.Encoding),
			"The host has encoded the archive, although it was asked not to. Have it serve the archive as it is.")
	}
	return verdictOnRemote(err)
}

// verdictOnRemote is the part for the host of a URL.
func verdictOnRemote(err error) (verdict, bool) {
	later := func(message, detail string) (verdict, bool) {
		v := retryLater(outcome.Refused, outcome.RemoteDown, detail)
		v.message = message
		return v, true
	}
	if e, ok := errors.AsType[*fetch.StatusError](err); ok {
		answered := fmt.Sprintf("The host of the archive answered with status %d.", e.Status)
		switch {
		case e.Temporary():
			return later(fmt.Sprintf("%s errored (%d)", e.URL, e.Status), answered)
		case e.Status >= http.StatusBadRequest:
			return refused(http.StatusBadRequest, outcome.BadURL, fmt.Sprintf("%s can't be found (%d)", e.URL, e.Status),
				answered+" Check that the URL is right and has not expired."), true
		}
		return refused(http.StatusBadRequest, outcome.BadURL, "non-200 status code when retrieving "+e.URL, answered+" It has to be 200."), true
	}
	if e, ok := errors.AsType[*fetch.RemoteError](err); ok {
		detail := fmt.Sprintf("The host of the archive cannot be reached: %s.", e.Reason)
		if e.Offset > 0 {
			detail = fmt.Sprintf("The download broke off at byte %d: %s.", e.Offset, e.Reason)
		}
		return later("ConnectionError trying to open "+e.URL, detail)
	}
	return verdict{}, false
}
