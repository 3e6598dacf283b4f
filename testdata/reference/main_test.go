package main

import (
	"os"
	"strings"
	"testing"

	"spillway/testdata/client"
	"spillway/testdata/harness"
)

// docs/configuration.md has the flags, defaults and variables of the program, and
// docs/metrics.md its metrics.
func TestReferencesAreUpToDate(t *testing.T) {
	for document, now := range map[string]func() (string, error){
		"docs/configuration.md": configuration,
		"docs/metrics.md":       func() (string, error) { return metrics(client.Within(t)) },
	} {
		t.Run(document, func(t *testing.T) {
			text, err := os.ReadFile("../../" + document)
			if err != nil {
				t.Fatal(err)
			}
			_, got, _, err := harness.Cut(string(text), target)
			if err != nil {
				t.Fatal(err)
			}
			want, err := now()
			if err != nil {
				t.Fatal(err)
			}
			if strings.TrimSpace(got) != strings.TrimSpace(want) {
				t.Errorf("%s is out of date: run make docs", document)
			}
		})
	}
}

func TestProse(t *testing.T) {
	for text, want := range map[string]string{
		"Private key of --tls-cert (PEM).":        "Private key of `--tls-cert` (PEM).",
		"If unset: $AWS_REGION, or elsewhere.":    "If unset: `$AWS_REGION`, or elsewhere.",
		"'symbols' with --dev. Keys end in /.":    "`symbols` with `--dev`. Keys end in /.",
		"For stores: see docs/stores.md.":         "For stores: see [stores.md](stores.md).",
		"while /__lbheartbeat__ answers 503 a|b.": "while `/__lbheartbeat__` answers 503 a\\|b.",
	} {
		if got := prose(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestMetricsTable(t *testing.T) {
	const text = `# HELP go_threads Number of OS threads.
# TYPE go_threads gauge
go_threads 7
# HELP spillway_draining 1 if so.
# TYPE spillway_draining gauge
spillway_draining 0
# HELP spillway_took_seconds Time, by what.
# TYPE spillway_took_seconds histogram
spillway_took_seconds_bucket{on="a",le="1"} 0
spillway_took_seconds_sum{on="a"} 0
spillway_took_seconds_count{on="a"} 0
`
	const want = "| metric | type | labels | |\n|---|---|---|---|\n" +
		"| `spillway_draining` | gauge |  | 1 if so. |\n" +
		"| `spillway_took_seconds` | histogram | `on` | Time, by what. |\n"
	if got := metricsTable(text); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
