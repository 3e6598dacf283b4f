// Command bench measures Spillway from outside: a process of its own that takes
// archives over HTTP and puts them into an S3 server, beside what others do with
// the same archives, in turn, so that ratios hold on a machine whose speed
// changes.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/daemon"
)

// options are what the flags say.
type options struct {
	archives    []string
	runs        int
	extractRuns int
	latency     time.Duration
	memory      string
	atOnce      []int
	cache       string
	json        string
	plots       string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, o)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	archives := flags.String("archives", "small,many,firefox", "which of small, many, crowd (20,000 files), 100mb, firefox, 1gb and big (3.9 GB)")
	flags.IntVar(&o.runs, "runs", 3, "how often each is run")
	flags.IntVar(&o.extractRuns, "extract-runs", 1, "how often of these the extract path is run as well, which takes long; 0: never")
	flags.DurationVar(&o.latency, "latency", 20*time.Millisecond, "of the S3 server that keeps nothing")
	flags.StringVar(&o.memory, "memory", "256MiB", "Spillway's --memory, where it is not what is measured")
	atOnce := flags.String("at-once", "", "measure memory with that many uploads at once as well, such as 1,4,16,64, with --memory 32MiB")
	flags.StringVar(&o.cache, "cache", "", "folder for the archives; empty: one of the user's cache")
	flags.StringVar(&o.json, "json", "", "file to write the figures to")
	flags.StringVar(&o.plots, "plots", "", "folder to draw plots into")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.archives = strings.Split(*archives, ",")
	for _, n := range strings.FieldsFunc(*atOnce, func(r rune) bool { return r == ',' }) {
		var count int
		if _, err := fmt.Sscan(n, &count); err != nil || count < 1 {
			return o, fmt.Errorf("-at-once: %q is no count", n)
		}
		o.atOnce = append(o.atOnce, count)
	}
	if o.cache == "" {
		var err error
		if o.cache, err = archive.Cache(); err != nil {
			return o, err
		}
	}
	return o, nil
}

func run(ctx context.Context, o options) (err error) {
	var archives []archive.Sample
	for _, name := range o.archives {
		a, err := archive.Prepare(ctx, o.cache, name, say)
		if err != nil {
			return err
		}
		archives = append(archives, a)
	}
	folder, err := os.MkdirTemp("", "spillway-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	say("building spillway")
	binary, err := daemon.Build(ctx, folder)
	if err != nil {
		return err
	}
	b := &bench{options: o, binary: binary, folder: folder}
	for n := range o.runs {
		for _, a := range archives {
			if err := b.round(ctx, a, n < o.extractRuns); err != nil {
				return fmt.Errorf("%s: %w", a.Name, err)
			}
		}
	}
	for _, count := range o.atOnce {
		for _, a := range archives {
			if err := b.many(ctx, a, count); err != nil {
				return fmt.Errorf("%d of %s: %w", count, a.Name, err)
			}
		}
	}
	say("")
	b.print(os.Stdout)
	if o.json != "" {
		data, err := json.MarshalIndent(b.results, "", "\t")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(data, '\n'), 0o644); err != nil {
			return err
		}
	}
	if o.plots != "" {
		return b.draw(o.plots)
	}
	return nil
}

// say writes what is being done in the place of what was.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "\r\033[K"+format, args...)
}
