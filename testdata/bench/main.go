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
	"slices"
	"strconv"
	"strings"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/daemon"
	"spillway/testdata/harness"
)

// options are what the flags say.
type options struct {
	archives    []string
	runs        int
	extractRuns int
	latency     time.Duration
	memory      string
	atOnce      []crowd
	profileOf   string
	cache       string
	json        string
}

// crowd is an archive that is uploaded several times at once.
type crowd struct {
	archive string
	count   int
}

// The commands of the processes that this program runs of itself, to measure them.
const (
	putCommand     = "put-objects"
	inflateCommand = "inflate"
)

func main() {
	arguments := func(args []string) ([]string, error) { return args, nil }
	harness.Main("bench", arguments, func(ctx context.Context, args []string) error {
		if ran, err := runCommand(ctx, args); ran {
			return err
		}
		o, err := parse(args)
		if err != nil {
			return err
		}
		return run(ctx, o)
	})
}

// runCommand runs the command of a measured process, if the arguments name one.
func runCommand(ctx context.Context, args []string) (ran bool, err error) {
	if len(args) == 0 {
		return false, nil
	}
	switch args[0] {
	case putCommand:
		return true, putObjects(ctx, os.Stdin, os.Stdout)
	case inflateCommand:
		return true, inflateAll(args[1:])
	}
	return false, nil
}

func parse(args []string) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	archives := flags.String("archives", "small,many,firefox,client",
		"which of small, many, crowd (20,000 files), 100mb, firefox, client (firefox as the official client sends it), 1gb and big (4.1 GB)")
	flags.IntVar(&o.runs, "runs", 3, "how often each is run")
	flags.IntVar(&o.extractRuns, "extract-runs", 1, "in how many of the runs the extract path is run as well, which takes long")
	flags.DurationVar(&o.latency, "latency", 20*time.Millisecond, "of the S3 server that keeps nothing")
	flags.StringVar(&o.memory, "memory", "256MiB", "Spillway's --memory, except for -at-once")
	atOnce := flags.String("at-once", "firefox:1,crowd:1,many:16,100mb:64", "archives, and how often each is uploaded at once to measure memory, with --memory 32MiB; empty: none")
	flags.StringVar(&o.profileOf, "profile", "", "one of the archives: find out where the CPU time of an upload goes")
	flags.StringVar(&o.cache, "cache", "", "folder for the archives; empty: one of the user's cache")
	flags.StringVar(&o.json, "json", "", "file to write the figures to")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.archives = list(*archives)
	for _, name := range list(*atOnce) {
		var c crowd
		var count string
		c.archive, count, _ = strings.Cut(name, ":")
		var err error
		if c.count, err = strconv.Atoi(count); err != nil || c.count < 1 {
			return o, fmt.Errorf("-at-once: %q is not an archive, a colon and a count", name)
		}
		o.atOnce = append(o.atOnce, c)
	}
	if o.cache == "" {
		var err error
		if o.cache, err = archive.Cache(); err != nil {
			return o, err
		}
	}
	return o, nil
}

// list returns the words of a list with commas.
func list(s string) []string { return strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) }

func run(ctx context.Context, o options) (err error) {
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
	if err := b.noteMachine("at the start"); err != nil {
		return err
	}
	if err := b.measureAll(ctx); err != nil {
		return err
	}
	if err := b.noteMachine("at the end"); err != nil {
		return err
	}
	say("")
	b.print(os.Stdout)
	if o.json == "" {
		return nil
	}
	data, err := json.MarshalIndent(b.figures(), "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(o.json, append(data, '\n'), 0o644)
}

// measureAll measures what the options say.
func (b *bench) measureAll(ctx context.Context) error {
	prepared := map[string]work{}
	for _, name := range append(slices.Clone(b.archives), crowdArchives(b.atOnce)...) {
		if _, ok := prepared[name]; ok {
			continue
		}
		w, err := b.prepare(ctx, name)
		if err != nil {
			return err
		}
		prepared[name] = w
	}
	for b.run = 1; b.run <= b.runs; b.run++ {
		for _, name := range b.archives {
			if err := b.round(ctx, prepared[name], b.run <= b.extractRuns); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	for _, c := range b.atOnce {
		if err := b.many(ctx, prepared[c.archive], c.count); err != nil {
			return fmt.Errorf("%d of %s: %w", c.count, c.archive, err)
		}
	}
	return nil
}

func crowdArchives(all []crowd) (names []string) {
	for _, c := range all {
		names = append(names, c.archive)
	}
	return names
}

// prepare makes an archive, unless it is in the cache.
func (b *bench) prepare(ctx context.Context, name string) (work, error) {
	if name != clientName {
		a, err := archive.Prepare(ctx, b.cache, name, say)
		return whole(a), err
	}
	a, err := archive.Prepare(ctx, b.cache, "firefox", say)
	if err != nil {
		return work{}, err
	}
	return asClient(a, b.folder, clientLimit)
}

// say writes what is being done in the place of what was.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "\r\033[K"+format, args...)
}
