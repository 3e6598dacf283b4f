package harness_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"spillway/testdata/harness"
)

// TestUpdate writes a section twice. A section that cannot be made, and a document without
// its lines, are errors and change nothing.
func TestUpdate(t *testing.T) {
	const before, after = "before\n<!-- begin: make stores -->\n", "<!-- end: make stores -->\nafter\n"
	document := filepath.Join(t.TempDir(), "doc.md")
	write := func(text string) {
		if err := os.WriteFile(document, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := func(want string) {
		t.Helper()
		if got, err := os.ReadFile(document); err != nil || string(got) != want {
			t.Errorf("the document is %q, error %v, want %q", got, err, want)
		}
	}
	write(before + after)
	for _, section := range []string{"one\n", "two\n"} {
		if err := harness.Update(document, "stores", func(string) (string, error) { return section, nil }); err != nil {
			t.Fatal(err)
		}
		want(before + "\n" + section + "\n" + after)
	}
	failed := errors.New("failed")
	err := harness.Update(document, "stores", func(old string) (string, error) {
		if old != "\ntwo\n\n" {
			t.Errorf("the old section is %q", old)
		}
		return "", failed
	})
	if !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
	want(before + "\ntwo\n\n" + after)
	for _, text := range []string{"no lines", after + before, before} {
		write(text)
		if err := harness.Update(document, "stores", func(string) (string, error) { return "three\n", nil }); err == nil {
			t.Errorf("%q: no error", text)
		}
		want(text)
	}
}
