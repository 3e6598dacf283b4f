package main

import (
	"bytes"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const rulesFile = "deploy/prometheus/spillway.rules.yml"

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The file is what the program writes.
func TestDashboardIsUpToDate(t *testing.T) {
	want, err := render()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal([]byte(read(t, file)), want) {
		t.Errorf("%s is out of date: run make dashboard", file)
	}
}

// metrics returns the labels of each metric. docs/metrics.md has the program's own; another test
// compares it with a running program.
func metrics(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{"up": nil, "process_open_fds": nil, "process_max_fds": nil, "process_resident_memory_bytes": nil}
	quoted := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(read(t, "docs/metrics.md")) {
		cells := strings.Split(line, " | ")
		if len(cells) < 4 || !strings.HasPrefix(line, "| `spillway_") {
			continue
		}
		name := quoted.FindStringSubmatch(cells[0])[1]
		var own []string
		for _, l := range quoted.FindAllStringSubmatch(cells[2], -1) {
			own = append(own, l[1])
		}
		if cells[1] != "histogram" {
			all[name] = own
			continue
		}
		all[name+"_bucket"], all[name+"_sum"], all[name+"_count"] = append(own, "le"), own, own
	}
	if len(all) < 40 {
		t.Fatalf("docs/metrics.md has only %d metrics", len(all))
	}
	return all
}

// check parses an expression, and checks that there are metrics with the labels that it names.
func check(t *testing.T, known map[string][]string, expr string) {
	t.Helper()
	e, err := parser.NewParser(parser.Options{}).ParseExpr(strings.ReplaceAll(expr, "$__rate_interval", "5m"))
	if err != nil {
		t.Errorf("%s: %v", expr, err)
		return
	}
	common := []string{"job", "instance", model.MetricNameLabel}
	var inQuery []string
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		s, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		own, ok := known[s.Name]
		if !ok {
			t.Errorf("%s: there is no metric %s", expr, s.Name)
		}
		inQuery = append(inQuery, own...)
		for _, m := range s.LabelMatchers {
			if !slices.Contains(common, m.Name) && !slices.Contains(own, m.Name) {
				t.Errorf("%s: %s has no label %s", expr, s.Name, m.Name)
			}
			if m.Type == labels.MatchEqual && m.Value == "" {
				t.Errorf("%s: the label %s is empty", expr, m.Name)
			}
		}
		return nil
	})
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if a, ok := n.(*parser.AggregateExpr); ok {
			for _, l := range a.Grouping {
				if !slices.Contains(common, l) && !slices.Contains(inQuery, l) {
					t.Errorf("%s: no metric there has the label %s", expr, l)
				}
			}
		}
		return nil
	})
}

// Every query of the dashboard can be parsed, and names metrics and labels that the program has.
// Each panel says what it shows.
func TestQueriesOfTheDashboard(t *testing.T) {
	known := metrics(t)
	for _, r := range rows {
		for _, p := range r.panels {
			if p.about == "" || p.unit == "" && p.kind != states || len(p.queries) == 0 {
				t.Errorf("%s: it has no description, no unit or no query", p.title)
			}
			for _, q := range p.queries {
				check(t, known, strings.ReplaceAll(q.expr, "$in", matchers))
			}
		}
	}
}

// rules returns the alerts.
func rules(t *testing.T) (all []rulefmt.Rule) {
	t.Helper()
	groups, errs := rulefmt.Parse([]byte(read(t, rulesFile)), false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, g := range groups.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// Every alert waits for a while, has a severity and texts, names metrics that exist, and links to a
// section of docs/operations.md that says what it means, what to look at and what to do.
func TestAlerts(t *testing.T) {
	known := metrics(t)
	document := read(t, "docs/operations.md")
	for _, r := range rules(t) {
		check(t, known, r.Expr)
		if r.For == 0 || !slices.Contains([]string{"critical", "warning"}, r.Labels["severity"]) || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: %+v", r.Alert, r)
		}
		_, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "/docs/operations.md#")
		if anchor != strings.ToLower(r.Alert) {
			t.Errorf("%s: runbook_url is %s", r.Alert, r.Annotations["runbook_url"])
		}
		_, section, found := strings.Cut(document, "\n### "+r.Alert+"\n")
		section, _, _ = strings.Cut(section, "\n#")
		if !found {
			t.Errorf("docs/operations.md has no section %s", r.Alert)
			continue
		}
		for _, part := range []string{"**It means:**", "**Look at:**", "**Do:**"} {
			if !strings.Contains(section, part) {
				t.Errorf("docs/operations.md: the section %s has no %s", r.Alert, part)
			}
		}
	}
}

// Every section under "Alerts" is of an alert that exists.
func TestSectionsOfAlerts(t *testing.T) {
	_, section, _ := strings.Cut(read(t, "docs/operations.md"), "\n## Alerts\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var names []string
	for _, r := range rules(t) {
		names = append(names, r.Alert)
	}
	for _, m := range regexp.MustCompile(`(?m)^### (Spillway\w+)$`).FindAllStringSubmatch(section, -1) {
		if !slices.Contains(names, m[1]) {
			t.Errorf("docs/operations.md has a section %s, and there is no such alert", m[1])
		}
	}
}

// Every check of the heartbeat has an alert for its errors, and one for its warnings. The sections
// of docs/operations.md are the list of checks; a test of the program compares them.
func TestEveryCheckHasAnAlert(t *testing.T) {
	var all strings.Builder
	for _, r := range rules(t) {
		all.WriteString(r.Expr + "\n")
	}
	// What alerts on warnings of these checks instead.
	otherwise := map[string][]string{
		"storage": {`check="storage",status="error"`}, // it has no warnings
		"uploads": {`outcome=~"failed|defect"`, `reason=~"no_room|no_spill"`},
		"janitor": {`check="janitor",status="error"`}, // one failure that is retried needs nobody
		"tokens":  {"spillway_tokens_failed", "spillway_tokens_expiring", "spillway_tokens_upstream_failed"},
	}
	// These are never errors.
	onlyWarnings := []string{"memory", "log"}
	for _, name := range checks(t) {
		for _, text := range append(otherwise[name], `check="`+name+`"`) {
			if !strings.Contains(all.String(), text) {
				t.Errorf("no alert has %s", text)
			}
		}
		selectors := regexp.MustCompile(`check="`+name+`",status(=~?)"([a-z|]+)"`).FindAllStringSubmatch(all.String(), -1)
		has := func(status string) bool {
			return slices.ContainsFunc(selectors, func(s []string) bool { return slices.Contains(strings.Split(s[2], "|"), status) })
		}
		if !has("error") && !slices.Contains(onlyWarnings, name) {
			t.Errorf("no alert is for errors of %s", name)
		}
		if _, ok := otherwise[name]; !ok && !has("warning") {
			t.Errorf("no alert is for warnings of %s", name)
		}
	}
}

// checks returns the checks that docs/operations.md has sections for.
func checks(t *testing.T) (names []string) {
	t.Helper()
	_, section, _ := strings.Cut(read(t, "docs/operations.md"), "\n## The checks of the heartbeat\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, m := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(section, -1) {
		names = append(names, m[1])
	}
	if len(names) < 8 {
		t.Fatalf("docs/operations.md has only the checks %q", names)
	}
	return names
}
