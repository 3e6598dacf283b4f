package outcome

import "testing"

// Unknown names become known ones, so the set of metrics does not grow.
func TestNormalize(t *testing.T) {
	for o, r := range All {
		got := Result{Outcome: o, Reason: r}
		got.Normalize()
		if got.Outcome != o || got.Reason != r {
			t.Errorf("%q, %q: got %q, %q, want no change", o, r, got.Outcome, got.Reason)
		}
	}
	for _, c := range []struct{ outcome, reason, wantOutcome, wantReason string }{
		{"new", "idle", "defect", ""},
		{"refused", "new", "refused", "other cause"},
		{"failed", "idle", "failed", "other cause"},
		{"stored", "new", "stored", ""},
	} {
		got := Result{Outcome: Outcome(c.outcome), Reason: Reason(c.reason)}
		got.Normalize()
		if got.Outcome != Outcome(c.wantOutcome) || got.Reason != Reason(c.wantReason) {
			t.Errorf("%q, %q: got %q, %q, want %q, %q", c.outcome, c.reason, got.Outcome, got.Reason, c.wantOutcome, c.wantReason)
		}
	}
}
