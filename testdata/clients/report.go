package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"spillway/testdata/harness"
)

// gotAnswer is the cell of a client that got every answer.
const gotAnswer = "answer"

// table is the results of a run.
type table struct {
	results []*result
	notes   []string // what clients reported in the place of an answer
}

// markdown returns the tables.
func (t *table) markdown() string {
	t.notes = nil
	var out strings.Builder
	routes := t.routes(false)
	fmt.Fprintf(&out, "| client | sends | %s | shows of a 400 | of a 413 |\n|---|---|%s---|---|\n", strings.Join(routes, " | "), strings.Repeat("---|", len(routes)))
	for _, c := range clients {
		cells := []string{c.name, c.how}
		for _, route := range routes {
			cells = append(cells, t.cell(c, route))
		}
		row(&out, append(cells, t.shown(c, 400), t.shown(c, 413)))
	}
	var senders []sender
	heads := []string{"proxy"}
	for _, c := range clients {
		if c.odd {
			senders = append(senders, c)
			heads = append(heads, c.name+", "+c.how)
		}
	}
	fmt.Fprintf(&out, "\n| %s |\n|%s\n", strings.Join(heads, " | "), strings.Repeat("---|", len(heads)))
	for _, route := range t.routes(true) {
		cells := []string{route}
		for _, c := range senders {
			cells = append(cells, t.cell(c, route))
		}
		row(&out, cells)
	}
	if len(t.notes) > 0 {
		out.WriteString("\n")
	}
	for i, note := range t.notes {
		fmt.Fprintf(&out, "%d. `%s`\n", i+1, note)
	}
	return out.String()
}

func row(out *strings.Builder, cells []string) {
	fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
}

// routes returns the names of the routes, in their order.
func (t *table) routes(odd bool) (names []string) {
	for _, r := range t.results {
		if r.route.odd == odd && !slices.Contains(names, r.route.name) {
			names = append(names, r.route.name)
		}
	}
	return names
}

// cell says what a client got through a route: every answer, or else which not, with the
// number of a note.
func (t *table) cell(c sender, route string) string {
	var lost []string
	found := false
	for _, r := range t.results {
		if r.client.is(c) && r.route.name == route {
			found = true
			if !r.answered() {
				lost = append(lost, fmt.Sprintf("%s: (%d)", r.refusal.name, t.note(r.report.String())))
			}
		}
	}
	switch {
	case !found:
		return ""
	case len(lost) == 0:
		return gotAnswer
	}
	return strings.Join(lost, "; ")
}

// varying is what differs between runs.
var varying = regexp.MustCompile(`\[?127\.0\.0\.1\]?:\d+(->)?|0x[0-9a-f]+`)

// note returns the number of a note.
func (t *table) note(text string) int {
	text = strings.ReplaceAll(strings.Join(strings.Fields(varying.ReplaceAllString(text, "")), " "), "`", "'")
	const most = 120
	if len(text) > most {
		text = text[:most] + "…"
	}
	i := slices.Index(t.notes, text)
	if i < 0 {
		i = len(t.notes)
		t.notes = append(t.notes, text)
	}
	return i + 1
}

// shown says what the client itself shows of an answer with that status.
func (t *table) shown(c sender, status int) string {
	for _, r := range t.results {
		if !r.client.is(c) || r.refusal.status != status || !r.answered() {
			continue
		}
		switch shown := r.report.shown; {
		case strings.Contains(shown, r.refusal.text):
			return "text"
		case shown != "":
			return "number"
		}
		return "–"
	}
	return ""
}

// is reports whether both are the same row.
func (s sender) is(other sender) bool { return s.name == other.name && s.how == other.how }

// write puts the tables between the marks of the document. It changes nothing, and fails, if
// a client no longer gets an answer that it got by the tables that are there.
func (t *table) write(document string) error {
	return harness.Update(document, "clients", func(old string) (string, error) {
		tables := t.markdown()
		if lost := regressions(old, tables); len(lost) > 0 {
			return "", errors.New("these clients lose answers that they got before:\n" + strings.Join(lost, "\n"))
		}
		return tables, nil
	})
}

// regressions returns the rows of the new tables that have no answer where the old have one.
func regressions(before, now string) (lost []string) {
	rows := map[string][]string{}
	for line := range strings.Lines(before) {
		cells := strings.Split(line, " | ")
		rows[cells[0]+cells[min(1, len(cells)-1)]] = cells
	}
	for line := range strings.Lines(now) {
		cells := strings.Split(line, " | ")
		was := rows[cells[0]+cells[min(1, len(cells)-1)]]
		for i := range min(len(cells), len(was)) {
			if was[i] == gotAnswer && cells[i] != gotAnswer {
				lost = append(lost, strings.TrimSpace(line))
				break
			}
		}
	}
	return lost
}
