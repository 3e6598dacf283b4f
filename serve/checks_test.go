package serve

import (
	"testing"
	"time"

	"spillway/tokens"
)

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
