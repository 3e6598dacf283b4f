package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestScale(t *testing.T) {
	const rule = "expr: increase(a_total[10m]) > 5\nfor: 2m\nsummary: within 10 minutes"
	for speed, want := range map[float64]string{
		1: "expr: increase(a_total[600s]) > 5\nfor: 120s\nsummary: within 10 minutes",
		5: "expr: increase(a_total[120s]) > 5\nfor: 24s\nsummary: within 10 minutes",
	} {
		if got := scale(rule, speed); got != want {
			t.Errorf("%v: got %q, want %q", speed, got, want)
		}
	}
}

func TestExpressions(t *testing.T) {
	panels := []any{map[string]any{"title": "a", "targets": []any{map[string]any{"expr": "up", "legendFormat": "x"}, map[string]any{"expr": "down"}}}}
	got := expressions(map[string]any{"expr": 7, "panels": panels})
	slices.Sort(got)
	if !slices.Equal(got, []string{"down", "up"}) {
		t.Errorf("got %q", got)
	}
}

// Every alert of the rules has to have fired and resolved, except for the one that nothing can
// provoke. Each has a unit test.
func TestEveryAlertIsTested(t *testing.T) {
	rules, err := os.ReadFile("../../deploy/prometheus/spillway.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	units, err := os.ReadFile("rules.test.yml")
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	for _, name := range alertNames(string(rules)) {
		if !strings.Contains(string(units), "  - name: "+name+"\n") {
			t.Errorf("rules.test.yml has no test of %s", name)
		}
		if _, exempt := notProvoked[name]; !exempt {
			rows = append(rows, row{alert: name, fires: time.Second, resolves: time.Second})
		}
	}
	if err := wantEvery(string(rules), rows); err != nil {
		t.Error(err)
	}
	rows[3].resolves = 0
	if err := wantEvery(string(rules), rows); err == nil || !strings.Contains(err.Error(), rows[3].alert) {
		t.Errorf("an alert that has not resolved: %v", err)
	}
	if err := wantEvery(string(rules), rows[4:]); err == nil {
		t.Error("no error for alerts that have not fired")
	}
}
