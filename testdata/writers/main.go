// Command writers has real programs and libraries write zip archives, uploads them to
// Spillway, and compares what is stored with the files. It writes the outcomes into a table
// in docs/archives.md. It installs the writers first. It runs in the module's root folder.
//
// It fails if an archive is refused for another reason than the table of writers states, or
// if anything is stored wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"spillway/testdata/harness"
)

const (
	home     = "testdata/writers"
	document = "docs/archives.md"
)

// options are what the flags say.
type options struct {
	only     *regexp.Regexp
	archives string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == goWriter {
		if err := writeGo(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// SIGPIPE would end the program before it cleans up.
	harness.Main("writers", parse, func(ctx context.Context, o options) error {
		ctx, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		return run(ctx, o)
	}, syscall.SIGTERM, syscall.SIGPIPE)
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("writers", flag.ContinueOnError)
	only := flags.String("only", "", "regular expression of the writers to run; the document stays as it is")
	flags.StringVar(&o.archives, "archives", "", "existing folder to keep the archives in")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if *only != "" {
		if o.only, err = regexp.Compile(*only); err != nil {
			return o, err
		}
	}
	if o.archives != "" {
		o.archives, err = filepath.Abs(o.archives)
	}
	return o, err
}

func run(ctx context.Context, o options) (err error) {
	if err := install(ctx); err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "spillway-writers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	m, err := newMaker(folder, o.archives)
	if err != nil {
		return err
	}
	s, err := startService(ctx, folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	var rows []row
	for _, w := range writers {
		if o.only != nil && !o.only.MatchString(w.name) {
			continue
		}
		r, err := runWriter(ctx, m, s, w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		rows = append(rows, r)
		fmt.Println(r.summary())
	}
	if failures := failures(rows); len(failures) > 0 {
		return errors.New(strings.Join(failures, "\n"))
	}
	table := format(rows)
	fmt.Printf("\n%s\n", table)
	if o.only != nil {
		return nil
	}
	return harness.Update(document, "writers", func(string) (string, error) { return table, nil })
}

// runWriter has w write an archive of each variant, and uploads those.
func runWriter(ctx context.Context, m *maker, s *service, w writer) (row, error) {
	r := row{writer: w}
	var err error
	if r.version, err = m.prepare(ctx, w); err != nil {
		return r, err
	}
	for _, v := range variants {
		if !w.can(v) {
			r.outcomes = append(r.outcomes, outcome{})
			continue
		}
		archive, files, err := m.write(ctx, w, v)
		if err != nil {
			r.outcomes = append(r.outcomes, outcome{wrong: []string{err.Error()}})
			continue
		}
		o, err := s.check(ctx, archive, files)
		if err != nil {
			return r, fmt.Errorf("%s: %w", v.name, err)
		}
		if o.err == "" {
			o.wrong = append(o.wrong, wrongShape(v, archive, files)...)
		}
		r.outcomes = append(r.outcomes, o)
	}
	return r, nil
}
