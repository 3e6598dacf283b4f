// Command plot draws the figures that the program bench has written.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// figures are what bench writes, as far as it is drawn.
type figures struct {
	Results []result
	Profile []struct {
		Name    string
		Percent float64
	}
}

// result is what one thing cost, once.
type result struct {
	Archive, What string
	Bytes         float64 `json:"archive_bytes"`
	AtOnce        int     `json:"at_once"`
	CPU           float64 `json:"cpu_seconds"`
	Peak          float64 `json:"peak_resident_bytes"`
}

func main() {
	from := flag.String("figures", "figures.json", "what bench -json has written")
	folder := flag.String("folder", ".", "where the plots go")
	flag.Parse()
	if err := run(*from, *folder); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(from, folder string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var f figures
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, p := range []struct {
		file, title string
		bars        []bar
	}{
		{"cost.svg", "CPU seconds per GB of archive, firefox", f.cost()},
		{"memory.svg", "Peak resident memory in MB, --memory 32MiB", f.memory()},
		{"cpu.svg", "CPU time of an upload, %", f.profile()},
	} {
		if p.bars == nil {
			continue
		}
		if err := draw(filepath.Join(folder, p.file), p.title, p.bars); err != nil {
			return err
		}
	}
	return nil
}

// cost is the CPU time of what is measured with the archive firefox. The extract path would
// leave no room for the others.
func (f figures) cost() (bars []bar) {
	perGB := func(r result) float64 { return r.CPU / (r.Bytes / 1e9) }
	for _, c := range []struct{ archive, what, name string }{
		{"firefox", "PUT of the objects", "PUT of the objects"},
		{"firefox", "inflate: stream/inflate", "inflate only: stream/inflate"},
		{"firefox", "inflate: ISA-L", "inflate only: ISA-L"},
		{"firefox", "inflate: libdeflate", "inflate only: libdeflate"},
		{"firefox", "spillway", "Spillway"},
		{"firefox", "spillway, again", "Spillway, all stored already"},
		{"client", "spillway", "Spillway, as the client sends it"},
	} {
		bars = f.add(bars, c.name, median, perGB, func(r result) bool { return r.Archive == c.archive && r.What == c.what })
	}
	return bars
}

// memory is the highest peak of uploads at once.
func (f figures) memory() (bars []bar) {
	var drawn []string
	for _, r := range f.Results {
		name := fmt.Sprintf("%d × %s", r.AtOnce, r.Archive)
		if r.What != "spillway, at once" || slices.Contains(drawn, name) {
			continue
		}
		drawn = append(drawn, name)
		bars = f.add(bars, name, slices.Max[[]float64], func(r result) float64 { return r.Peak / 1e6 }, func(o result) bool {
			return o.What == r.What && o.Archive == r.Archive && o.AtOnce == r.AtOnce
		})
	}
	return bars
}

func (f figures) profile() (bars []bar) {
	for _, s := range f.Profile {
		bars = append(bars, bar{s.Name, s.Percent})
	}
	return bars
}

// add adds one value of a figure of some of the results, if there are any.
func (f figures) add(bars []bar, name string, pick func([]float64) float64, of func(result) float64, which func(result) bool) []bar {
	var all []float64
	for _, r := range f.Results {
		if which(r) {
			all = append(all, of(r))
		}
	}
	if all == nil {
		return bars
	}
	return append(bars, bar{name, pick(all)})
}

// median sorts values and returns the one in the middle; of an even number, the lower one.
func median(all []float64) float64 {
	slices.Sort(all)
	return all[(len(all)-1)/2]
}
