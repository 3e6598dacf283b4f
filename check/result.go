// Package check judges what Spillway needs of its surroundings: the machine, the files that the
// settings name, and the store. The command check prints the results; the start of the
// service logs those that are not ok.
package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"spillway/health"
	"spillway/internal/terminal"
)

// A Result is what one check has found.
type Result struct {
	Name   string       // of the check, e.g. "memory" or "s3:PutObject"
	Target string       // of a check that is made in several places: the bucket and the prefix
	Level  health.Level // Unknown: it could not be made
	Found  string       // a sentence or two
	Remedy string       // what to do; empty: nothing
	Detail string       // the error as the log would have it; empty: none
}

// row returns the name of r's row in the table.
func (r Result) row() string { return strings.TrimSpace(r.Name + " " + r.Target) }

// A FailedError says how many checks have failed.
type FailedError int

// Error implements [error].
func (e FailedError) Error() string {
	if e == 1 {
		return "one check has failed"
	}
	return fmt.Sprintf("%d checks have failed", int(e))
}

// Failed returns a [FailedError] if a result is an error, else nil.
func Failed(results []Result) error {
	failed := 0
	for _, r := range results {
		if r.Level == health.Error {
			failed++
		}
	}
	if failed == 0 {
		return nil
	}
	return FailedError(failed)
}

// Colours of levels in a terminal (ECMA-48, "Select Graphic Rendition").
const (
	red, green, yellow, plain = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
)

var colours = map[health.Level]string{health.Error: red, health.Warning: yellow, health.OK: green}

// gap is between two columns of the table.
const gap = "  "

// WriteTable writes results as a table for people. The text is safe to print in a terminal.
func WriteTable(w io.Writer, results []Result, colour bool) error {
	const name, status = "CHECK", "STATUS"
	wide := len(name)
	for _, r := range results {
		wide = max(wide, utf8.RuneCountInString(terminal.Escape(r.row())))
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%-*s%s%-7s%sFOUND\n", wide, name, gap, status, gap)
	indent := strings.Repeat(" ", wide+len(gap)+7+len(gap))
	for _, r := range results {
		level := fmt.Sprintf("%-7s", r.Level)
		if c := colours[r.Level]; colour && c != "" {
			level = c + level + plain
		}
		fmt.Fprintf(&table, "%-*s%s%s%s%s\n", wide, terminal.Escape(r.row()), gap, level, gap, terminal.Escape(r.Found))
		for _, more := range []struct{ label, text string }{{"To do: ", r.Remedy}, {"Log: ", r.Detail}} {
			if more.text != "" {
				table.WriteString(indent + more.label + terminal.Escape(strings.Join(strings.Fields(more.text), " ")) + "\n")
			}
		}
	}
	_, err := io.WriteString(w, table.String())
	return err
}

// WriteJSON writes results as one JSON document: see docs/operations.md.
func WriteJSON(w io.Writer, results []Result) error {
	type row struct {
		Name   string `json:"name"`
		Target string `json:"target,omitempty"`
		Status string `json:"status"`
		Found  string `json:"found"`
		Remedy string `json:"remedy,omitempty"`
		Detail string `json:"detail,omitempty"`
	}
	rows := make([]row, len(results))
	for i, r := range results {
		rows[i] = row{r.Name, r.Target, r.Level.String(), r.Found, r.Remedy, r.Detail}
	}
	worst := health.OK
	if len(results) > 0 {
		worst = max(worst, slices.MaxFunc(results, func(a, b Result) int { return cmp.Compare(a.Level, b.Level) }).Level)
	}
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(struct {
		Status string `json:"status"`
		Checks []row  `json:"checks"`
	}{worst.String(), rows})
}
