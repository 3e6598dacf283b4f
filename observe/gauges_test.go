package observe

import (
	"fmt"
	"testing"
	"time"

	"spillway/tokens"
)

// The first 500 tokens have a series each, the others one together. A token that is gone has
// none.
func TestSeriesOfTokens(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	uses := []tokens.Use{{Digest: "same", Last: at(3)}, {Digest: "same", Last: at(5)}, {Digest: "same", Last: at(4)}, {Digest: "never"}}
	for i := range 10_000 {
		uses = append(uses, tokens.Use{Digest: fmt.Sprint(i), Last: at(int64(i))})
	}
	last := lastUses(uses)
	if len(last) != maxTokenSeries+1 || last["same"] != at(5) || !last["never"].IsZero() || last["497"] != at(497) || last[other] != at(9_999) {
		t.Errorf("%d series, same %v, never %v, 497 %v, other %v", len(last), last["same"], last["never"], last["497"], last[other])
	}
	if _, ok := lastUses(uses[:1])["never"]; ok {
		t.Error("a removed token has a series")
	}
}
