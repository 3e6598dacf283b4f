// Package sender says who sent a request: the address, the program and the ID that the
// log, the live page and the answer name it by.
package sender

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Sender describes who sent a request. Its texts are bounded and printable.
type Sender struct {
	Address   netip.Addr `json:"address"`    // of the client; the zero Addr if unknown
	UserAgent string     `json:"user_agent"` // empty if the client states none
	RequestID string     `json:"request_id"` // ASCII without spaces
}

// Network returns the address, or for IPv6 the first 64 bits of it: one client can have all
// addresses that begin with them. It is empty if the address is unknown.
func (s Sender) Network() string {
	switch {
	case !s.Address.IsValid():
		return ""
	case s.Address.Is6():
		return netip.PrefixFrom(s.Address, 64).Masked().String()
	}
	return s.Address.String()
}

// headerRequestID is the field of the request ID, in requests and answers.
const headerRequestID = "X-Request-ID"

type contextKey struct{}

// Of returns the sender of a request whose context comes from [Identify]. Otherwise it
// returns the zero Sender.
func Of(ctx context.Context) Sender {
	s, _ := ctx.Value(contextKey{}).(Sender)
	return s
}

// Identify puts the [Sender] of each request into its context for next, and the request
// ID into the header of the answer.
func Identify(trusted Proxies, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := Sender{Address: trusted.client(r), UserAgent: userAgent(r.UserAgent()), RequestID: requestID(r.Header)}
		w.Header().Set(headerRequestID, s.RequestID)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, s)))
	})
}

// peer returns the address at the other end of the connection.
func peer(r *http.Request) netip.Addr {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return plain(remote.Addr())
}

// plain returns an address without its zone, and an IPv4-mapped IPv6 address as IPv4.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// maxUserAgent bounds a user agent, in bytes.
const maxUserAgent = 200

// userAgent returns text cut to maxUserAgent bytes, with U+FFFD for what is invalid or
// unprintable: control characters, and those that change the direction of text. The
// result does not keep the memory of text.
func userAgent(text string) string {
	const cut = "…"
	var b strings.Builder
	for _, r := range text {
		if !unicode.IsPrint(r) {
			r = utf8.RuneError
		}
		if b.Len()+utf8.RuneLen(r) > maxUserAgent-len(cut) {
			b.WriteString(cut)
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// wellFormed matches the request IDs that are taken over.
var wellFormed = regexp.MustCompile(`^[A-Za-z0-9._~+/=:-]{1,128}$`)

// requestID returns the request ID of a header. It makes a random one unless the header
// has exactly one, and that is well-formed.
func requestID(h http.Header) string {
	if given := h.Values(headerRequestID); len(given) == 1 && wellFormed.MatchString(given[0]) {
		return strings.Clone(given[0])
	}
	return rand.Text()
}
