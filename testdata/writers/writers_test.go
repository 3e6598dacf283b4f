package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"spillway/testdata/harness"
)

// TestTableInDocument checks that docs/archives.md has the table that the writers here make:
// each writer with its version, and of each variant whether its archive is taken.
func TestTableInDocument(t *testing.T) {
	text, err := os.ReadFile("../../" + document)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _, err := harness.Cut(string(text), "writers")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if len(lines) < 2+len(writers) {
		t.Fatalf("the table has %d lines, want more for %d writers", len(lines), len(writers))
	}
	columns := []string{"writer"}
	for _, v := range variants {
		columns = append(columns, v.name)
	}
	if got := cells(lines[0]); !slices.Equal(got, columns) {
		t.Errorf("the columns are %q, want %q", got, columns)
	}
	notes := regexp.MustCompile("(?m)^\\d+\\. `(.*)`: .").FindAllStringSubmatch(table, -1)
	note := func(number string) string {
		for i, n := range notes {
			if number == string(rune('1'+i)) {
				return n[1]
			}
		}
		return ""
	}
	refused := regexp.MustCompile(`^4\d\d \((\d)\)$`)
	for i, w := range writers {
		row := cells(lines[2+i])
		if len(row) != len(columns) || !regexp.MustCompile("^"+regexp.QuoteMeta(w.name)+` \d[\w.]*$`).MatchString(row[0]) {
			t.Errorf("row %d is %q, want one of %s with its version", i+1, lines[2+i], w.name)
			continue
		}
		for i, v := range variants {
			cell, why := row[i+1], w.refused[v.name]
			m := refused.FindStringSubmatch(cell)
			switch {
			case !w.can(v):
				if cell != "–" {
					t.Errorf("%s, %s: %q, want –", w.name, v.name, cell)
				}
			case why != nil:
				if m == nil || note(m[1]) != why.says {
					t.Errorf("%s, %s: %q, want a status and the number of the note %q", w.name, v.name, cell, why.says)
				}
			case v.mode == modeUpdate && cell != w.updates.String(), v.mode != modeUpdate && cell != "yes":
				t.Errorf("%s, %s: %q", w.name, v.name, cell)
			}
		}
	}
}

func cells(line string) (all []string) {
	for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
		all = append(all, strings.TrimSpace(cell))
	}
	return all
}

// TestWritersTable checks that the table of writers names scripts and variants that exist.
func TestWritersTable(t *testing.T) {
	named := func(name string) bool {
		return slices.ContainsFunc(variants, func(v variant) bool { return v.name == name })
	}
	for _, w := range writers {
		// Without a script, the folder of the scripts.
		folder := map[string]string{".js": "node", ".rs": "rust"}[filepath.Ext(w.script)]
		if folder == "" {
			folder = "scripts"
		}
		if _, err := os.Stat(filepath.Join(folder, w.script)); err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
		for name := range w.refused {
			if !named(name) {
				t.Errorf("%s: there is no variant %q", w.name, name)
			}
		}
		for name := range strings.SplitSeq(w.cannot, "; ") {
			if name != "" && !named(name) {
				t.Errorf("%s: there is no variant %q", w.name, name)
			}
		}
	}
}

// TestFailures checks what fails a run: any refusal but those that are justified, an archive
// that is taken although it should not be, and whatever is stored wrong.
func TestFailures(t *testing.T) {
	plain, pipe := variants[0].name, variants[1].name
	why := &refusal{says: "because"}
	for _, c := range []struct {
		name    string
		outcome outcome
		refused map[string]*refusal
		want    string // part of the failure; empty: none
	}{
		{"taken", outcome{status: 201}, nil, ""},
		{"not written", outcome{}, nil, ""},
		{"refused as it should be", outcome{status: 400, err: "It is, because."}, map[string]*refusal{plain: why}, ""},
		{"refused", outcome{status: 400, err: "Odd."}, nil, "refused with 400: Odd."},
		{"refused, and another variant should be", outcome{status: 400, err: "It is, because."}, map[string]*refusal{pipe: why}, "refused with 400"},
		{"refused for another reason", outcome{status: 400, err: "Odd."}, map[string]*refusal{plain: why}, `not because "because"`},
		{"taken, and should be refused", outcome{status: 201}, map[string]*refusal{plain: why}, "taken"},
		{"stored wrong", outcome{status: 201, wrong: []string{"another byte"}}, nil, "another byte"},
	} {
		got := failures([]row{{writer: writer{name: "w", refused: c.refused}, outcomes: []outcome{c.outcome}}})
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
			t.Errorf("%s: failures %q, want one with %q", c.name, got, c.want)
		}
	}
}
