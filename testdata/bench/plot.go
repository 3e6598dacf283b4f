package main

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// draw draws the plots into a folder, as SVG that is readable on white and on
// black.
func (b *bench) draw(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	plots := map[string]string{}
	var cost, memory []point
	for _, g := range b.of(first) {
		size := float64(g[0].Bytes) / 1e6
		cost = append(cost, point{size, g.median(perGB), g[0].Archive})
		memory = append(memory, point{size, g.median(peak), g[0].Archive})
	}
	if cost != nil {
		plots["cost.svg"] = scatter("CPU seconds per GB of archive", "archive, MB", cost)
		plots["memory.svg"] = scatter("peak resident memory, MB, --memory "+b.memory, "archive, MB", memory)
	}
	var many []point
	for _, g := range b.of(atOnce) {
		many = append(many, point{float64(g[0].AtOnce), g.median(peak), g[0].Archive})
	}
	if many != nil {
		plots["at-once.svg"] = scatter("peak resident memory, MB, --memory 32MiB", "uploads at once", many)
	}
	if b.profile != nil {
		plots["cpu.svg"] = bars("where the CPU time of an upload goes, %", b.profile)
	}
	for name, plot := range plots {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(plot), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// point is a point on a plot.
type point struct {
	x, y float64
	name string
}

const (
	plotWidth, plotHeight = 560, 300
	left, right           = 56, 20
	top, bottom           = 34, 44
	head                  = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui,sans-serif" font-size="12" fill="#7a8793">` + "\n" +
		`<text x="%d" y="20" font-size="14" font-weight="600">%s</text>` + "\n"
)

// scatter draws points over a logarithmic axis of x and one of y from zero. All
// text is of our own making.
func scatter(title, xTitle string, points []point) string {
	var out strings.Builder
	fmt.Fprintf(&out, head, plotWidth, plotHeight, left, title)
	slices.SortFunc(points, func(a, b point) int { return cmp.Or(cmp.Compare(a.x, b.x), cmp.Compare(b.y, a.y)) })
	low, high := math.Log10(points[0].x), math.Log10(points[len(points)-1].x)
	if high-low < 0.5 {
		low, high = low-0.5, high+0.5
	}
	highest := 0.0
	for _, p := range points {
		highest = max(highest, p.y)
	}
	x := func(v float64) float64 {
		return left + 20 + (math.Log10(v)-low)/(high-low)*(plotWidth-left-right-110)
	}
	y := func(v float64) float64 { return plotHeight - bottom - v/(highest*1.15)*(plotHeight-top-bottom) }
	for i := range 5 {
		v := highest * 1.15 * float64(i) / 4
		fmt.Fprintf(&out, `<path d="M%d %.1fH%d" stroke="#7a8793" stroke-opacity=".35"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, y(v), plotWidth-right, left-6, y(v)+4, short(v))
	}
	lowest := map[float64]float64{} // of the labels of an x
	for _, p := range points {
		label := y(p.y) - 6
		if last, ok := lowest[p.x]; ok {
			label = max(label, last+14)
		}
		lowest[p.x] = label
		fmt.Fprintf(&out, `<circle cx="%.1f" cy="%.1f" r="4.5" fill="#1f8fc0"/><text x="%.1f" y="%.1f">%s: %s</text><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			x(p.x), y(p.y), x(p.x)+8, label, p.name, short(p.y), x(p.x), plotHeight-bottom+18, short(p.x))
	}
	fmt.Fprintf(&out, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n</svg>\n", (left+plotWidth-right)/2, plotHeight-8, xTitle)
	return out.String()
}

// bars draws shares.
func bars(title string, shares []share) string {
	var out strings.Builder
	height := top + 26*len(shares) + 10
	fmt.Fprintf(&out, head, plotWidth, height, 10, title)
	for i, s := range shares {
		at := top + 26*i
		width := s.Percent / shares[0].Percent * (plotWidth - 240)
		fmt.Fprintf(&out, `<text x="150" y="%d" text-anchor="end">%s</text><rect x="160" y="%d" width="%.1f" height="18" rx="2" fill="#1f8fc0"/><text x="%.1f" y="%d">%.1f</text>`+"\n",
			at+14, s.Name, at, width, 168+width, at+14, s.Percent)
	}
	return out.String() + "</svg>\n"
}

// short writes a number with three digits that count.
func short(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 10:
		return fmt.Sprintf("%.2g", v)
	}
	return fmt.Sprintf("%.0f", v)
}
