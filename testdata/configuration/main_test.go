package main

import (
	"os"
	"strings"
	"testing"

	"spillway/testdata/harness"
)

// docs/configuration.md has the flags, defaults and variables of the program.
func TestConfigurationIsUpToDate(t *testing.T) {
	text, err := os.ReadFile("../../" + document)
	if err != nil {
		t.Fatal(err)
	}
	_, got, _, err := harness.Cut(string(text), target)
	if err != nil {
		t.Fatal(err)
	}
	want, err := tables()
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("%s is out of date: run make docs", document)
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
