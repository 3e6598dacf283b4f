package serve

import (
	"strings"
	"testing"
	"time"

	"spillway/health"
	"spillway/tokens"
)

// The check is an error only if no token may upload.
func TestTokensCheck(t *testing.T) {
	down := func(accepted int) *tokens.UpstreamStatus {
		return &tokens.UpstreamStatus{Reason: "HTTP 502", Since: time.Now().Add(-3 * time.Minute), Accepted: accepted}
	}
	soon := []tokens.Expiry{{Digest: "1a2b3c4d"}}
	for _, c := range []struct {
		name    string
		status  tokens.Status
		level   health.Level
		message []string // in it, in this order
	}{
		{"well", tokens.Status{Usable: 1}, health.OK, nil},
		{"none", tokens.Status{}, health.Error, []string{"No token may upload: "}},
		{"a file that cannot be used", tokens.Status{Usable: 1, Err: errReadHangs, Reason: "no such file", AsOf: time.Now().Add(-time.Minute)}, health.Warning, []string{"The file of --tokens-file cannot be used: no such file. Its tokens of 1m0s ago stay"}},
		{"and none", tokens.Status{Err: errReadHangs}, health.Error, []string{"No token may upload: ", "The file of --tokens-file cannot be used"}},
		{"soon", tokens.Status{Usable: 1, Expiring: soon}, health.Warning, []string{"1 token expires within 30 days: 1a2b3c4d on "}},
		{"an upstream", tokens.Status{Upstream: &tokens.UpstreamStatus{}}, health.OK, nil},
		{"an upstream that is down", tokens.Status{Upstream: down(0)}, health.Error, []string{"The server of --tokens-upstream cannot be asked about tokens (HTTP 502), for 3m0s. The 0 of its tokens"}},
		{"with tokens of the file", tokens.Status{Usable: 1, Upstream: down(0)}, health.Warning, []string{"cannot be asked"}},
		{"with tokens that it accepted", tokens.Status{Upstream: down(4)}, health.Warning, []string{"The 4 of its tokens that it accepted within the last day work"}},
		{"an upstream that fails", tokens.Status{Upstream: &tokens.UpstreamStatus{Failure: "HTTP 500"}}, health.Warning, []string{"answers probes, but failed the last request about a token (HTTP 500)"}},
		{"everything", tokens.Status{Usable: 1, Err: errReadHangs, Expiring: soon, Upstream: down(1)}, health.Warning, []string{"--tokens-file cannot", "--tokens-upstream cannot", "1 token expires"}},
	} {
		check := tokensCheck(c.status)
		rest := check.Message
		for _, part := range c.message {
			_, after, ok := strings.Cut(rest, part)
			if !ok {
				t.Errorf("%s: %q, want %q in it", c.name, check.Message, c.message)
			}
			rest = after
		}
		if check.Name != "tokens" || check.Level != c.level || len(c.message) == 0 && check.Message != "" {
			t.Errorf("%s: %+v, want %v", c.name, check, c.level)
		}
	}
}

func TestExpiryWarning(t *testing.T) {
	expiring := []tokens.Expiry{{Digest: "1a2b3c4d", At: time.Date(2026, 12, 20, 23, 0, 0, 0, time.UTC)}}
	const advice = " spillway token list says whose. Create new ones, hand them out, then revoke the old ones."
	if got := expiryWarning(nil); got != "" {
		t.Errorf("none: %q", got)
	}
	if got := expiryWarning(expiring); got != "1 token expires within 30 days: 1a2b3c4d on 2026-12-20."+advice {
		t.Errorf("one: %q", got)
	}
	for range 6 {
		expiring = append(expiring, tokens.Expiry{Digest: "5e6f7a8b", At: time.Date(2026, 12, 24, 0, 0, 0, 0, time.UTC)})
	}
	const four = "5e6f7a8b on 2026-12-24, 5e6f7a8b on 2026-12-24, 5e6f7a8b on 2026-12-24, 5e6f7a8b on 2026-12-24"
	if got := expiryWarning(expiring); got != "7 tokens expire within 30 days: 1a2b3c4d on 2026-12-20, "+four+", and 2 more."+advice {
		t.Errorf("seven: %q", got)
	}
}
