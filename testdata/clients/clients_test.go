package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"spillway/testdata/harness"
)

func TestParseReport(t *testing.T) {
	for _, c := range []struct {
		out  string
		want report
		says string
	}{
		{"status: 413\nbody: {\"error\": \"a: b\"}\nshown: 413 Too Large\n", report{413, `{"error": "a: b"}`, "413 Too Large", ""}, "413 of {\"error\": \"a: b\"}"},
		{"a warning\nfailed: Broken pipe\n", report{failed: "Broken pipe"}, "Broken pipe"},
		{"status: 413\nbody:\n", report{status: 413}, "413 without its text"},
		{"", report{}, "nothing"},
	} {
		if got := parseReport(c.out); got != c.want || got.String() != c.says {
			t.Errorf("%q: %+v, which says %q", c.out, got, got)
		}
	}
}

// results returns what came of two uploads of one client through two routes.
func results(failed string) *table {
	c, plain, odd := clients[1], route{name: "HTTP"}, route{name: "nginx, odd", odd: true}
	bad, large := refusal{name: "400", status: 400, text: "wrong"}, refusal{name: "413", status: 413, text: "large"}
	return &table{results: []*result{
		{c, plain, bad, report{status: 400, body: "wrong", shown: "wrong"}},
		{c, plain, large, report{status: 413, body: "large", shown: "error 413"}},
		{c, odd, bad, report{failed: "write 127.0.0.1:1->127.0.0.1:2: broken pipe"}},
		{c, odd, large, report{status: 413, body: "large", failed: failed}},
	}}
}

func TestTables(t *testing.T) {
	got := results("").markdown()
	for _, line := range []string{
		"| client | sends | HTTP | shows of a 400 | of a 413 |",
		"| curl `--form` | without it | answer | text | number |",
		"| wget | `--post-file` |  |  |  |",
		"| nginx, odd | 400: (1) |  |",
		"1. `write : broken pipe`",
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
}

// TestWrite checks that the tables take the place of those that are there, and that they do
// not if a client has lost an answer.
func TestWrite(t *testing.T) {
	const beginMark, endMark = "<!-- begin: make clients -->\n", "<!-- end: make clients -->\n"
	document := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(document, []byte("before\n"+beginMark+"old\n"+endMark+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	first := results("")
	if err := first.write(document); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(document)
	want := "before\n" + beginMark + "\n" + first.markdown() + "\n" + endMark + "after\n"
	if err != nil || string(written) != want {
		t.Errorf("%q, error %v, want %q", written, err, want)
	}
	worse := results("")
	worse.results[1].report = report{failed: "reset"}
	if err := worse.write(document); err == nil || !strings.Contains(err.Error(), "curl `--form` | without it | 413: (1)") {
		t.Errorf("error %v", err)
	}
	if now, err := os.ReadFile(document); err != nil || string(now) != want {
		t.Errorf("%q, error %v, want it unchanged", now, err)
	}
}

// TestDocument checks that the tables in docs/clients.md have a row for each client and each
// route.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/clients.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _, err := harness.Cut(string(text), "clients")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		if !strings.Contains(tables, "| "+c.name+" | "+c.how+" | ") {
			t.Errorf("no row for %s, %s", c.name, c.how)
		}
	}
	for _, p := range proxies {
		if !strings.Contains(tables, "| "+p.name+" |") {
			t.Errorf("nothing about %s", p.name)
		}
	}
}
