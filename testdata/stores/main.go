// Command stores runs Spillway with every S3 server that is installed here, and with
// proxies that behave as others do. It tries the features that depend on the store, and
// writes what works as a table.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"spillway/testdata/daemon"
	"spillway/testdata/harness"
)

func main() { harness.Main("stores", parse, tryAll) }

// parse returns the document to write into; empty: none.
func parse(args []string) (document string, err error) {
	flags := flag.NewFlagSet("stores", flag.ContinueOnError)
	flags.StringVar(&document, "write", "", "put the table into this `file`, between its markers")
	return document, flags.Parse(args)
}

// tryAll tries all stores and writes the table into a document; empty: nowhere. It returns
// an error if a feature does not work as it should.
func tryAll(ctx context.Context, document string) (err error) {
	folder, err := os.MkdirTemp("", "spillway-stores-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	binary, err := daemon.Build(ctx, folder)
	if err != nil {
		return err
	}
	var table []row
	var wrong []error
	for _, s := range stores() {
		r, err := try(ctx, binary, s)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", s.name, err))
		}
		table = append(table, r)
	}
	if err := errors.Join(wrong...); err != nil || document == "" {
		return err
	}
	return update(document, table)
}

// try tries all features with a store. The error says which do not work as they should.
func try(ctx context.Context, binary string, s store) (row, error) {
	t, err := start(ctx, binary, s)
	if err != nil {
		return row{}, err
	}
	r := row{store: s.name, version: t.version}
	var wrong []error
	fmt.Printf("%s %s\n", s.name, t.version)
	for _, f := range features {
		began := time.Now()
		cell, err := t.try(ctx, f)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", f.name, err))
			cell = "FAILED"
		}
		fmt.Printf("  %-14s %6.1f s  %s\n", f.name, time.Since(began).Seconds(), cell)
		r.cells = append(r.cells, cell)
	}
	return r, errors.Join(append(wrong, t.close())...)
}
