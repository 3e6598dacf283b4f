package main

import (
	"errors"
	"os"
	"slices"
	"strings"
)

// The table stands between these lines of the document.
const (
	beginMark = "<!-- stores:begin -->\n"
	endMark   = "<!-- stores:end -->\n"
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
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	updated, err := merge(string(text), table)
	if err != nil {
		return err
	}
	return os.WriteFile(document, []byte(updated), 0o644)
}

func merge(text string, table []row) (string, error) {
	before, rest, begins := strings.Cut(text, beginMark)
	old, after, ends := strings.Cut(rest, endMark)
	if !begins || !ends {
		return "", errors.New("the document has no lines " + strings.TrimSpace(beginMark) + " and " + strings.TrimSpace(endMark))
	}
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
	return before + beginMark + "\n" + strings.Join(lines, "") + "\n" + endMark + after, nil
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
