package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"spillway/testdata/daemon"
)

const (
	// Growth that is none: of the median of the last third over that of the first.
	residentShare = 1.10
	residentBytes = 8 << 20
	goroutines    = 16

	// Before that has passed, a process takes what the archives that happen to
	// come first make it take, and thirds say nothing.
	steadyAfter = 10 * time.Minute

	// overhead is how much more than its --memory a process may have resident at
	// any moment, in bytes: its text, stacks, what it has received and not yet
	// given to the budget, and garbage.
	overhead = 128 << 20

	// heapKept is how much more of the heap may be in use at the end, in bytes,
	// than before the first upload: the list of recent uploads and the like. Part
	// buffers that wait for the next upload come on top, see mayKeep.
	heapKept = 8 << 20
)

// sample is what the process was like at a moment.
type sample struct {
	resident   int64 // bytes
	goroutines int64
	memory     int64 // of the budget, in bytes
	spilled    int64 // bytes
	uploads    int64 // in flight
	requests   int64 // to S3, since the start
}

// rest is what a process with nothing to do keeps.
type rest struct {
	heap       int64 // bytes that are in use after a collection
	goroutines int64
}

// watch looks at the process each second.
type watch struct {
	daemon  *daemon.Daemon
	memory  int64  // its --memory, in bytes
	file    string // to write to, if any
	samples []sample
	peak    int64 // bytes resident at the most
	before  rest  // the first upload
	after   rest  // the last
}

// run looks until ctx ends.
func (w *watch) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return w.save()
		case <-tick.C:
		}
		s, err := w.look(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return w.save()
			}
			return err
		}
		w.samples = append(w.samples, s)
	}
}

func (w *watch) look(ctx context.Context) (s sample, err error) {
	usage, err := daemon.UsageOf(w.daemon.PID())
	if err != nil {
		return s, err
	}
	metrics, err := w.daemon.Metrics(ctx)
	if err != nil {
		return s, err
	}
	s.resident = usage.Resident
	for name, value := range metrics {
		switch family, _, _ := strings.Cut(name, "{"); family {
		case "go_goroutines":
			s.goroutines = int64(value)
		case "spillway_memory_used_bytes":
			s.memory += int64(value)
		case "spillway_spill_used_bytes":
			s.spilled = int64(value)
		case "spillway_s3_requests_total":
			s.requests += int64(value)
		case "spillway_uploads_in_flight":
			s.uploads += int64(value)
		}
	}
	return s, nil
}

// idle waits until nothing is in flight, and returns what is kept all the same.
func (w *watch) idle(ctx context.Context) (map[string]int64, error) {
	deadline := time.Now().Add(2 * time.Minute)
	for {
		s, err := w.look(ctx)
		if err != nil {
			return nil, err
		}
		kept := map[string]int64{}
		for name, value := range map[string]int64{"uploads in flight": s.uploads, "memory in use": s.memory, "spill space in use": s.spilled} {
			if value != 0 {
				kept[name] = value
			}
		}
		if len(kept) == 0 || time.Now().After(deadline) {
			return kept, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// end finds out what the process keeps once nobody has a connection to it, nor it
// one to S3.
func (w *watch) end(ctx context.Context) (err error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		if w.after, err = w.rest(ctx); err != nil || w.after.goroutines <= w.before.goroutines+goroutines || time.Now().After(deadline) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// rest finds out what the process keeps while it has nothing to do.
func (w *watch) rest(ctx context.Context) (r rest, err error) {
	// What is in a pool outlives one collection.
	for range 2 {
		if _, err := daemon.Get(ctx, w.daemon.Admin+"/debug/pprof/heap?gc=1"); err != nil {
			return r, err
		}
	}
	metrics, err := w.daemon.Metrics(ctx)
	return rest{int64(metrics["go_memstats_heap_alloc_bytes"]), int64(metrics["go_goroutines"])}, err
}

// thirds are the medians of the first and of the last third.
func (w *watch) thirds(of func(sample) int64) (first, last int64) {
	n := len(w.samples) / 3
	return median(w.samples[:n], of), median(w.samples[len(w.samples)-n:], of)
}

func median(samples []sample, of func(sample) int64) int64 {
	var values []int64
	for _, s := range samples {
		values = append(values, of(s))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// wrong is what has grown, is kept, or was too much.
func (w *watch) wrong() (all []string) {
	if len(w.samples) < 9 {
		return []string{fmt.Sprintf("%d samples are too few", len(w.samples))}
	}
	complain := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if w.peak > w.memory+overhead {
		complain("%d MiB were resident with a --memory of %d", w.peak>>20, w.memory>>20)
	}
	if w.after.heap > w.before.heap+w.mayKeep() {
		complain("%d KiB of heap are in use at the end, %d at the beginning", w.after.heap>>10, w.before.heap>>10)
	}
	if w.after.goroutines > w.before.goroutines+goroutines {
		complain("%d goroutines at the end, %d at the beginning", w.after.goroutines, w.before.goroutines)
	}
	if time.Duration(len(w.samples))*time.Second < steadyAfter {
		return all
	}
	if first, last := w.thirds(residentOf); last > first+residentBytes && float64(last) > float64(first)*residentShare {
		complain("resident memory grew from %d to %d MiB", first>>20, last>>20)
	}
	if first, last := w.thirds(goroutinesOf); last > first+goroutines && float64(last) > float64(first)*residentShare {
		complain("goroutines grew from %d to %d", first, last)
	}
	return all
}

// mayKeep is how much more of the heap may be in use at the end than before the
// first upload, in bytes. Of --memory, three quarters may be part buffers.
func (w *watch) mayKeep() int64 { return heapKept + w.memory/4*3 }

func residentOf(s sample) int64   { return s.resident }
func goroutinesOf(s sample) int64 { return s.goroutines }

func (w *watch) print(out io.Writer) {
	for _, figure := range []struct {
		name, unit string
		shift      int
		of         func(sample) int64
	}{
		{"resident:  ", " MiB", 20, residentOf},
		{"goroutines:", "", 0, goroutinesOf},
		{"in flight: ", "", 0, func(s sample) int64 { return s.uploads }},
		{"budget:    ", " MiB", 20, func(s sample) int64 { return s.memory }},
		{"spilled:   ", " MiB", 20, func(s sample) int64 { return s.spilled }},
	} {
		first, last := w.thirds(figure.of)
		most := figure.of(slices.MaxFunc(w.samples, func(a, b sample) int { return cmp.Compare(figure.of(a), figure.of(b)) }))
		fmt.Fprintf(out, "%s %d%s in the first third, %d%s in the last (medians), %d%s at the most\n",
			figure.name, first>>figure.shift, figure.unit, last>>figure.shift, figure.unit, most>>figure.shift, figure.unit)
	}
	fmt.Fprintf(out, "at rest:    %d KiB of heap and %d goroutines before the first upload, %d KiB and %d after the last\n",
		w.before.heap>>10, w.before.goroutines, w.after.heap>>10, w.after.goroutines)
}

// save writes the samples, if they are wanted.
func (w *watch) save() (err error) {
	if w.file == "" {
		return nil
	}
	f, err := os.Create(w.file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	out := csv.NewWriter(f)
	rows := [][]string{{"second", "resident", "goroutines", "memory", "spilled", "uploads", "requests"}}
	for i, s := range w.samples {
		row := []string{strconv.Itoa(i + 1)}
		for _, n := range []int64{s.resident, s.goroutines, s.memory, s.spilled, s.uploads, s.requests} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		rows = append(rows, row)
	}
	return out.WriteAll(rows)
}
