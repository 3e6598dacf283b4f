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

// figures are the results as they are written for other programs.
type figures struct {
	Memory  string   `json:"memory"` // Spillway's --memory, except where uploads are at once
	Notes   []string `json:"notes"`
	Results []result `json:"results"`
	Profile []share  `json:"profile,omitempty"`
}

func (b *bench) figures() figures { return figures{b.memory, b.notes, b.results, b.profile} }

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

// spread are values, with the median, of an even number the lower one.
type spread []float64

func (s spread) median() float64 { return s[(len(s)-1)/2] }

// String is the median, with the least and the most.
func (s spread) String() string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", s.median(), s[0], s[len(s)-1])
}

// values are one figure of each result, sorted.
func (g group) values(of func(result) float64) spread {
	var all spread
	for _, r := range g {
		all = append(all, of(r))
	}
	slices.Sort(all)
	return all
}

func (g group) median(of func(result) float64) float64 { return g.values(of).median() }

func wall(r result) float64     { return r.Wall }
func cpu(r result) float64      { return r.CPU }
func answer(r result) float64   { return r.Answer }
func perGB(r result) float64    { return r.CPU / (float64(r.Bytes) * float64(r.AtOnce) / 1e9) }
func perEntry(r result) float64 { return r.CPU * 1e3 / float64(r.Files*r.AtOnce) }
func peak(r result) float64     { return float64(r.Peak) / 1e6 }
func disk(r result) float64     { return float64(max(r.Disk, r.Written)) / 1e6 }
func sent(r result) float64     { return float64(r.Sent) / 1e6 }

// inRun returns the result of one thing in one run.
func (b *bench) inRun(archive, what string, run int) (result, bool) {
	i := slices.IndexFunc(b.results, func(r result) bool { return r.Archive == archive && r.What == what && r.Run == run })
	if i < 0 {
		return result{}, false
	}
	return b.results[i], true
}

// ratios divides, in each run, a figure of one thing by the sum of that of others. It leaves
// runs out in which one of them was not measured.
func (b *bench) ratios(archive string, of func(result) float64, what string, others ...string) (all spread) {
	for run := 1; run <= b.runs; run++ {
		above, ok := b.inRun(archive, what, run)
		below := 0.0
		for _, other := range others {
			r, measured := b.inRun(archive, other, run)
			ok, below = ok && measured, below+of(r)
		}
		if ok && below > 0 {
			all = append(all, of(above)/below)
		}
	}
	slices.Sort(all)
	return all
}

// print writes the figures as tables.
func (b *bench) print(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer table.Flush()
	fmt.Fprintln(table, "archive\tMB\twhat\truns\twall s\tCPU s\tCPU s/GB\tCPU ms/entry\tpeak MB\tdisk MB\tsent MB\tfetched MB\tin requests\tto the answer s\twaited for\tS3 requests")
	for _, what := range everything {
		for _, g := range b.of(what) {
			r := g[0]
			name := r.What
			if what == atOnce {
				name = fmt.Sprintf("%s: %d", r.What, r.AtOnce)
			}
			fmt.Fprintf(table, "%s\t%.1f\t%s\t%d\t%v\t%v\t%.1f\t%.2f\t%.0f\t%.0f\t%.1f\t%.2f\t%d\t%v\t%s\t%s\n", r.Archive, float64(r.Bytes)/1e6, name, len(g),
				g.values(wall), g.values(cpu), g.median(perGB), g.median(perEntry), g.median(peak), g.median(disk), g.median(sent), float64(r.Fetched)/1e6, r.Asked, g.values(answer),
				spent(r.Spent), requests(r.Requests))
		}
	}
	fmt.Fprintln(table)
	b.printRatios(table)
	for _, s := range b.profile {
		fmt.Fprintf(table, "CPU: %s\t%.1f %%\n", s.Name, s.Percent)
	}
	for _, n := range b.notes {
		fmt.Fprintln(table, n)
	}
}

// printRatios writes what is compared: medians of the ratios of each run. The floor is what
// nobody can do without: to inflate the entries, and to put the objects.
func (b *bench) printRatios(w io.Writer) {
	for _, g := range b.of(first) {
		name := g[0].Archive
		for _, line := range []struct {
			says string
			all  spread
		}{
			{fmt.Sprintf("CPU of spillway / (%s + %s)", libdeflate, bound), b.ratios(name, cpu, first, libdeflate, bound)},
			{fmt.Sprintf("CPU of spillway / (%s + %s)", isal, bound), b.ratios(name, cpu, first, isal, bound)},
			{fmt.Sprintf("CPU of spillway / (%s + %s)", ownInflater, bound), b.ratios(name, cpu, first, ownInflater, bound)},
			{fmt.Sprintf("wall of spillway / %s", bound), b.ratios(name, wall, first, bound)},
			{fmt.Sprintf("wall of %s / spillway", extract), b.ratios(name, wall, extract, first)},
			{fmt.Sprintf("wall of %s / %s", inRanges, byURL), b.ratios(name, wall, inRanges, byURL)},
			{fmt.Sprintf("CPU of %s / %s", inRanges, byURL), b.ratios(name, cpu, inRanges, byURL)},
			{fmt.Sprintf("wall of %s / %s", inRangesAgain, byURL), b.ratios(name, wall, inRangesAgain, byURL)},
			{fmt.Sprintf("wall of %s / %s", inRangesQuarter, byURL), b.ratios(name, wall, inRangesQuarter, byURL)},
		} {
			if line.all != nil {
				fmt.Fprintf(w, "%s: %s\t%v\n", name, line.says, line.all)
			}
		}
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
