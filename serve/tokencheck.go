package serve

import (
	"fmt"
	"strings"
	"time"

	"spillway/health"
	"spillway/tokens"
)

// maxNamedTokens is how many tokens that expire soon the heartbeat names.
const maxNamedTokens = 5

func (svc *service) checkTokens() health.Check { return tokensCheck(svc.tokens.Status()) }

// tokensCheck is the check of tokens in that state. It warns if the tokens file cannot be
// used, because uploads go on with the tokens in force; if some of these expire soon; and if
// --tokens-upstream cannot be asked. It is an error if no token may upload.
func tokensCheck(s tokens.Status) health.Check {
	var all []string
	usable := s.Usable
	if s.Upstream != nil {
		usable += s.Upstream.Accepted
	}
	none := usable == 0 && (s.Upstream == nil || s.Upstream.Reason != "")
	if none && s.Upstream == nil {
		all = append(all, "No token may upload: there are none, or all have expired. Every upload gets a 403. Create a token with spillway token create.")
	}
	if s.Err != nil {
		all = append(all, fmt.Sprintf("The file of --tokens-file cannot be used: %s. Its tokens of %v ago stay in force: new tokens do not work yet, and revoked ones still do. A restart would fail. Fix the file. The log says more.",
			s.Reason, time.Since(s.AsOf).Round(time.Second)))
	}
	if w := upstreamWarning(s.Upstream); w != "" {
		all = append(all, w)
	}
	if w := expiryWarning(s.Expiring); w != "" {
		all = append(all, w)
	}
	check := health.Check{Name: "tokens", Message: strings.Join(all, " ")}
	switch {
	case none:
		check.Level = health.Error
	case len(all) > 0:
		check.Level = health.Warning
	}
	return check
}

// upstreamWarning says what is wrong with --tokens-upstream; "" if nothing is. It does not name
// the server, because the heartbeat is public.
func upstreamWarning(s *tokens.UpstreamStatus) string {
	switch {
	case s == nil:
		return ""
	case s.Reason != "":
		return fmt.Sprintf("The server of --tokens-upstream cannot be asked about tokens (%s), for %v. The %d of its tokens that it accepted within the last day work until they expire. "+
			"Its other tokens get a 503, which clients retry. Check that server, the URL, and the network. A restart of this instance would forget the tokens.",
			s.Reason, time.Since(s.Since).Round(time.Second), s.Accepted)
	case s.Failure != "":
		return fmt.Sprintf("The server of --tokens-upstream answers probes, but failed the last request about a token (%s). Check its log.", s.Failure)
	}
	return ""
}

// expiryWarning says which tokens expire soon; "" if none does. It names them by their digests
// only, because the heartbeat is public.
func expiryWarning(expiring []tokens.Expiry) string {
	var named []string
	for _, e := range expiring[:min(len(expiring), maxNamedTokens)] {
		named = append(named, e.Digest+" on "+e.At.UTC().Format(time.DateOnly))
	}
	if more := len(expiring) - maxNamedTokens; more > 0 {
		named = append(named, fmt.Sprintf("and %d more", more))
	}
	const advice = "spillway token list says whose. Create new ones, hand them out, then revoke the old ones."
	switch n := len(expiring); n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("1 token expires within 30 days: %s. %s", named[0], advice)
	default:
		return fmt.Sprintf("%d tokens expire within 30 days: %s. %s", n, strings.Join(named, ", "), advice)
	}
}
