package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A metric is one of the program's, as /metrics describes it.
type metric struct {
	name, kind, help string
	labels           []string
}

var (
	comment = regexp.MustCompile(`^# (HELP|TYPE) (spillway_\w+) (.*)$`)
	series  = regexp.MustCompile(`^(spillway_\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? `)
	label   = regexp.MustCompile(`(\w+)="`)
)

// metricsTable returns the table of the program's own metrics, from the answer to /metrics.
func metricsTable(text string) string {
	var all []*metric
	named := map[string]*metric{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if c := comment.FindStringSubmatch(line); c != nil {
			m := named[c[2]]
			if m == nil {
				m = &metric{name: c[2]}
				named[m.name] = m
				all = append(all, m)
			}
			if c[1] == "HELP" {
				m.help = c[3]
			} else {
				m.kind = c[3]
			}
			continue
		}
		s := series.FindStringSubmatch(line)
		if s == nil {
			continue
		}
		m := named[s[1]]
		if m == nil { // its name ends in what looks like the suffix of a histogram
			continue
		}
		for _, l := range label.FindAllStringSubmatch(s[2], -1) {
			if l[1] != "le" && !slices.Contains(m.labels, l[1]) {
				m.labels = append(m.labels, l[1])
			}
		}
	}
	var out strings.Builder
	out.WriteString("| metric | type | labels | |\n|---|---|---|---|\n")
	for _, m := range all {
		var labels []string
		for _, l := range m.labels {
			labels = append(labels, code(l))
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", code(m.name), m.kind, strings.Join(labels, ", "), prose(m.help))
	}
	return out.String()
}
