package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// row is the outcomes of a writer's archives.
type row struct {
	writer
	version  string
	outcomes []outcome // as variants
}

// summary is a line on the writer.
func (r row) summary() string {
	taken, refused := 0, 0
	for _, o := range r.outcomes {
		switch {
		case o.status == 0:
		case o.err == "":
			taken++
		default:
			refused++
		}
	}
	return fmt.Sprintf("%-28s %-10s %2d archives taken, %d refused", r.name, r.version, taken, refused)
}

// failures returns what should not have happened.
func failures(rows []row) (all []string) {
	for _, r := range rows {
		for i, o := range r.outcomes {
			complain := func(what string) { all = append(all, r.name+", "+variants[i].name+": "+what) }
			refusal := r.refused[variants[i].name]
			switch {
			case o.err != "" && refusal == nil:
				complain(fmt.Sprintf("refused with %d: %s", o.status, o.err))
			case o.err != "" && !strings.Contains(o.err, refusal.says):
				complain(fmt.Sprintf("refused with %d, not because %q: %s", o.status, refusal.says, o.err))
			case o.status == http.StatusCreated && refusal != nil:
				complain("taken, but writers.go says that it is refused")
			}
			for _, w := range o.wrong {
				complain(w)
			}
		}
	}
	return all
}

// format returns the table of outcomes, and the refusals that it refers to.
func format(rows []row) string {
	var b strings.Builder
	b.WriteString("| writer |")
	for _, v := range variants {
		b.WriteString(" " + v.name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(variants)) + "\n")
	var notes []*refusal
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s %s |", r.name, r.version)
		for i, o := range r.outcomes {
			cell := "–"
			switch {
			case o.err != "":
				why := r.refused[variants[i].name]
				if !slices.Contains(notes, why) {
					notes = append(notes, why)
				}
				cell = fmt.Sprintf("%d (%d)", o.status, slices.Index(notes, why)+1)
			case o.status != 0 && variants[i].mode == modeUpdate:
				cell = r.updates.String()
			case o.status != 0:
				cell = "yes"
			}
			b.WriteString(" " + cell + " |")
		}
		b.WriteString("\n")
	}
	for i, note := range notes {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%d. `%s`: %s\n", i+1, note.says, note.why)
	}
	return b.String()
}
