package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// group is the results of the same thing.
type group []result

// of are the results of one thing, in the order of the archives.
func (b *bench) of(what string) (groups []group) {
	for _, r := range b.results {
		if r.What != what {
			continue
		}
		i := slices.IndexFunc(groups, func(g group) bool { return g[0].Archive == r.Archive && g[0].AtOnce == r.AtOnce })
		if i < 0 {
			groups = append(groups, group{r})
		} else {
			groups[i] = append(groups[i], r)
		}
	}
	return groups
}

// values are one figure of each result, sorted.
func (g group) values(of func(result) float64) []float64 {
	var all []float64
	for _, r := range g {
		all = append(all, of(r))
	}
	slices.Sort(all)
	return all
}

// median is that of a figure; of an even number, the lower one.
func (g group) median(of func(result) float64) float64 {
	all := g.values(of)
	return all[(len(all)-1)/2]
}

// spread is a figure's median, with the least and the most.
func (g group) spread(of func(result) float64) string {
	all := g.values(of)
	return fmt.Sprintf("%.2f (%.2f–%.2f)", g.median(of), all[0], all[len(all)-1])
}

func wall(r result) float64   { return r.Wall }
func cpu(r result) float64    { return r.CPU }
func answer(r result) float64 { return r.Answer }
func perGB(r result) float64  { return r.CPU / (float64(r.Bytes) * float64(r.AtOnce) / 1e9) }
func peak(r result) float64   { return float64(r.Peak) / 1e6 }
func disk(r result) float64   { return float64(max(r.Disk, r.Written)) / 1e6 }
func sent(r result) float64   { return float64(r.Sent) / 1e6 }

// print writes the figures as tables.
func (b *bench) print(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer table.Flush()
	fmt.Fprintln(table, "archive\tMB\twhat\truns\twall s\tCPU s\tCPU s/GB\tpeak MB\tdisk MB\tsent MB\tto the answer s\twaited for\tS3 requests")
	for _, what := range []string{first, second, distant, atOnce, bound, extract} {
		for _, g := range b.of(what) {
			r := g[0]
			name := r.What
			if what == atOnce {
				name = fmt.Sprintf("%s: %d", r.What, r.AtOnce)
			}
			fmt.Fprintf(table, "%s\t%.1f\t%s\t%d\t%s\t%.2f\t%.1f\t%.0f\t%.0f\t%.1f\t%.2f\t%s\t%s\n", r.Archive, float64(r.Bytes)/1e6, name, len(g),
				g.spread(wall), g.median(cpu), g.median(perGB), g.median(peak), g.median(disk), g.median(sent), g.median(answer), spent(r.Spent), requests(r.Requests))
		}
	}
	fmt.Fprintln(table)
	for _, g := range b.of(first) {
		for _, other := range []string{bound, extract} {
			for _, o := range b.of(other) {
				if o[0].Archive == g[0].Archive {
					fmt.Fprintf(table, "%s: wall of spillway / wall of %s\t%.2f\n", g[0].Archive, other, g.median(wall)/o.median(wall))
				}
			}
		}
	}
	for _, s := range b.profile {
		fmt.Fprintf(table, "CPU: %s\t%.1f %%\n", s.Name, s.Percent)
	}
}

// spent is an account, in words.
func spent(by map[string]float64) string {
	var all []string
	for _, on := range slices.Sorted(maps.Keys(by)) {
		if by[on] >= 0.01 {
			all = append(all, fmt.Sprintf("%s %.2f", on, by[on]))
		}
	}
	return cmp.Or(strings.Join(all, ", "), "–")
}

// requests are counts by operation, in words.
func requests(by map[string]int64) string {
	var all []string
	for _, operation := range slices.Sorted(maps.Keys(by)) {
		all = append(all, fmt.Sprintf("%d %s", by[operation], operation))
	}
	return cmp.Or(strings.Join(all, ", "), "–")
}
