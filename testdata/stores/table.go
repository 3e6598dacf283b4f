package main

import (
	"slices"
	"strings"

	"spillway/testdata/harness"
)

// row is what the table says of a store.
type row struct {
	store, version string
	cells          []string // one for each of features
}

func (r row) String() string {
	return "| " + strings.Join(append([]string{r.store, r.version}, r.cells...), " | ") + " |\n"
}

// update puts the table into a document. Rows of stores that are not in the table stay as
// they are: those stores could not be had this time.
func update(document string, table []row) error {
	return harness.Update(document, "stores", func(old string) (string, error) { return merge(old, table), nil })
}

func merge(old string, table []row) string {
	heading := row{store: "store", version: "version"}
	line := row{store: "---", version: "---"}
	for _, f := range features {
		heading.cells = append(heading.cells, f.name)
		line.cells = append(line.cells, "---")
	}
	lines := []string{heading.String(), line.String()}
	for _, r := range table {
		lines = append(lines, r.String())
	}
	for l := range strings.Lines(old) {
		if name, ok := nameOf(l); ok && !slices.ContainsFunc(table, func(r row) bool { return r.store == name }) {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "")
}

// nameOf returns the store of a line of the table, if it is one of a store.
func nameOf(line string) (string, bool) {
	cells := strings.Split(line, "|")
	if len(cells) < 3 {
		return "", false
	}
	name := strings.TrimSpace(cells[1])
	return name, name != "store" && name != "---"
}
