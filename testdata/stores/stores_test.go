package main

import (
	"strings"
	"testing"

	"spillway/testdata/daemon"
	"spillway/testdata/s3quirk"
	"spillway/testdata/s3server"
)

// TestTry tries all features with versitygw, before which nginx drops headers.
func TestTry(t *testing.T) {
	binary, err := daemon.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		store store
		says  string // the error
	}{
		{store{name: "sound", kind: s3server.Versitygw}, ""},
		{store{name: "known", quirks: []s3quirk.Quirk{s3quirk.Nginx()}, faults: imitations[len(imitations)-1].faults}, ""},
		{store{name: "unknown", quirks: []s3quirk.Quirk{s3quirk.Nginx()}}, "small: status 503"},
		{store{name: "mended", kind: s3server.Versitygw, faults: map[string]fault{"small": dropped}}, "small: works, although"},
	} {
		t.Run(c.store.name, func(t *testing.T) {
			t.Parallel()
			r, err := try(t.Context(), binary, c.store)
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("error %v, want one with %q", err, c.says)
			}
			if len(r.cells) != len(features) {
				t.Errorf("row %v", r)
			}
		})
	}
}

// TestMerge keeps the rows of stores that were not tried.
func TestMerge(t *testing.T) {
	cells := strings.Repeat(" ok |", len(features))
	table := func(rows ...string) string {
		heading := "| store | version |"
		for _, f := range features {
			heading += " " + f.name + " |"
		}
		lines := heading + "\n|" + strings.Repeat(" --- |", len(features)+2) + "\n"
		for _, r := range rows {
			lines += "| " + r + " |" + cells + "\n"
		}
		return lines
	}
	tried := []row{{"A", "2", strings.Fields(strings.Repeat("ok ", len(features)))}}
	for _, c := range []struct{ name, old, want string }{
		{"empty", "", table("A | 2")},
		{"older", table("A | 1"), table("A | 2")},
		{"others", table("B | 7", "A | 1"), table("A | 2", "B | 7")},
	} {
		if got := merge(c.old, tried); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}
