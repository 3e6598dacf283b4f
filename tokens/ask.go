package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"spillway/internal/neterr"
)

const (
	// authInfoPath is where an upstream describes a token.
	authInfoPath = "/upload/auth_info/"

	// maxAuthInfo bounds the body of an answer, in bytes. Tecken's has a few hundred, and some
	// kilobytes where it also has the settings of telemetry.
	maxAuthInfo = 64 << 10

	// maxEmail is the longest email address, in bytes (RFC 5321, section 4.5.3.1, rounded up).
	maxEmail = 320
)

// An AskError says that an upstream gave no usable answer about a token.
type AskError struct {
	Result Result
	Reason string // for people; nothing in it comes from the upstream
}

func (e *AskError) Error() string { return "tokens: asking --tokens-upstream: " + e.Reason }

// A Result is how a request to an upstream ended, as a label of metrics.
type Result string

const (
	Accepted    Result = "accepted"
	Unknown     Result = "unknown"     // the upstream does not know the token
	Expired     Result = "expired"     // the token has expired
	Forbidden   Result = "forbidden"   // the token may not upload
	Probed      Result = "probed"      // it does not know a token that was made up to probe it
	Throttled   Result = "throttled"   // HTTP 429
	Failed      Result = "failed"      // HTTP 5xx
	Unreachable Result = "unreachable" // no answer
	Invalid     Result = "invalid"     // not as Tecken answers
)

// Results returns all results.
func Results() []Result {
	return []Result{Accepted, Unknown, Expired, Forbidden, Probed, Throttled, Failed, Unreachable, Invalid}
}

// resultOf returns the result of a request that ended with err.
func resultOf(err error) Result {
	if e, ok := errors.AsType[*AskError](err); ok {
		return e.Result
	}
	switch {
	case err == nil:
		return Accepted
	case errors.Is(err, ErrExpired):
		return Expired
	case errors.Is(err, ErrForbidden):
		return Forbidden
	}
	return Unknown
}

// newClient returns a client that sends tokens to one host only: it follows no redirect, and
// plain http never goes through a proxy.
func newClient(transport http.RoundTripper) *http.Client {
	if transport == nil {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(true) // a request that times out takes its connection with it
		transport = &http.Transport{
			Proxy: func(r *http.Request) (*url.URL, error) {
				if r.URL.Scheme != "https" {
					return nil, nil
				}
				return http.ProxyFromEnvironment(r)
			},
			Protocols:              protocols,
			MaxResponseHeaderBytes: maxAuthInfo,
			MaxIdleConnsPerHost:    2 * maxAsking,
			IdleConnTimeout:        time.Minute,
			DisableCompression:     true, // so that the limit of the body holds for what is received
		}
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// ask asks the upstream about a token. The error is [ErrUnknown], [ErrExpired],
// [ErrForbidden] or an [*AskError].
func (u *Upstream) ask(ctx context.Context, given string) (Token, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.url, http.NoBody)
	if err != nil {
		return Token{}, &AskError{Invalid, "the URL is malformed"}
	}
	req.Header.Set("Auth-Token", given)
	req.Header.Set("User-Agent", u.cfg.UserAgent)
	req.Header["Idempotency-Key"] = nil // sends none, but repeats the request on another connection if an idle one was closed
	resp, err := u.client.Do(req)
	if err != nil {
		return Token{}, unreachable(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAuthInfo+1))
	switch {
	case err != nil:
		return Token{}, unreachable(err)
	case len(body) > maxAuthInfo:
		return Token{}, &AskError{Invalid, "the answer is too long"}
	}
	switch status := resp.StatusCode; {
	case status == http.StatusOK:
		return parseAuthInfo(given, body, time.Now())
	case status == http.StatusForbidden:
		return Token{}, parseRefusal(body)
	case status == http.StatusTooManyRequests:
		return Token{}, &AskError{Throttled, "HTTP 429 (too many requests)"}
	case status >= http.StatusInternalServerError:
		return Token{}, &AskError{Failed, fmt.Sprintf("HTTP %d", status)}
	case status >= http.StatusMultipleChoices && status < http.StatusBadRequest:
		return Token{}, &AskError{Invalid, fmt.Sprintf("a redirect (HTTP %d), which is not followed", status)}
	default:
		return Token{}, &AskError{Invalid, fmt.Sprintf("HTTP %d", status)}
	}
}

// unreachable puts an error of the client into words.
func unreachable(err error) error {
	reason := neterr.Reason(err)
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "proxyconnect" {
		reason = "the proxy of HTTPS_PROXY: " + reason
	}
	return &AskError{Unreachable, reason}
}

// parseAuthInfo returns the token that an answer with status 200 describes.
func parseAuthInfo(given string, body []byte, now time.Time) (Token, error) {
	var info struct {
		Email     string `json:"email"`
		UserID    int    `json:"user_id"`
		OnlyTry   *bool  `json:"try_symbols"`
		ExpiresAt int64  `json:"token_expires_at"` // seconds since 1970
	}
	if json.Unmarshal(body, &info) != nil || info.OnlyTry == nil || info.ExpiresAt <= 0 || !isEmail(info.Email) || len(info.Email) > maxEmail {
		return Token{}, &AskError{Invalid, "HTTP 200 with a body that is not Tecken's"}
	}
	token := Token{ID: info.UserID, Email: info.Email, SHA256: Digest(given), Permissions: []string{PermissionUpload}, ExpiresAt: time.Unix(info.ExpiresAt, 0)}
	if *info.OnlyTry {
		token.Permissions = []string{PermissionUploadTry}
	}
	if token.lifeAt(now) == expired {
		return Token{}, ErrExpired
	}
	return token, nil
}

// parseRefusal returns what an answer with status 403 means. Tecken refuses tokens in JSON.
// Whatever it says there, the token may not upload. Any other 403 is somebody else's, such as
// a firewall's.
func parseRefusal(body []byte) error {
	var refusal struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &refusal) != nil || refusal.Error == "" {
		return &AskError{Invalid, "HTTP 403 with a body that is not Tecken's"}
	}
	switch {
	case refusal.Error == "API Token not matched":
		return ErrUnknown
	case refusal.Error == "API Token found but expired":
		return ErrExpired
	case strings.HasPrefix(refusal.Error, "This requires an Auth-Token"):
		return &AskError{Invalid, "HTTP 403: it says that there is no token. Does a proxy drop the header Auth-Token, or has it ENABLE_TOKENS_AUTHENTICATION=false?"}
	}
	return ErrForbidden // "Forbidden", "API Token matched but user not active" and the like
}
