// Command alerts shows that the alerts of deploy/prometheus work. It runs instances of Spillway, and
// Prometheus with the shipped rules. It provokes each fault at an instance of its own, waits for
// the alert, ends the fault, and waits until the alert has resolved. Meanwhile two healthy
// instances take uploads: every query of the dashboard must return data, and no alert may fire
// for these two.
//
// It needs Linux, root, versitygw, and Prometheus: see make alerts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"spillway/testdata/daemon"
	"spillway/testdata/harness"
	"spillway/testdata/s3server"
)

// target is the make target that runs this.
const target = "alerts"

// options are what the flags say.
type options struct {
	prometheus string  // the program
	speed      float64 // by which the times in the rules are divided
	document   string  // whose table is written; empty: none
}

func main() { harness.Main(target, parse, run, syscall.SIGTERM) }

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet(target, flag.ContinueOnError)
	flags.StringVar(&o.prometheus, "prometheus", "prometheus", "the program")
	flags.Float64Var(&o.speed, "speed", 1, "divide the times in the rules by this, to try something in less time")
	flags.StringVar(&o.document, "document", "", "document in which the table is written; only without -speed")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.speed < 1 || o.speed > 1 && o.document != "" {
		return o, errors.New("-speed must be at least 1, and 1 with -document")
	}
	return o, nil
}

func run(ctx context.Context, o options) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	folder, err := os.MkdirTemp("", "spillway-alerts-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	f := &fleet{folder: folder}
	if f.binary, err = daemon.Build(ctx, folder); err != nil {
		return err
	}
	if f.store, err = s3server.NewInMemory(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.store.Close()) }()
	if f.bucket, err = f.store.MakeBucket(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	return f.show(ctx, o)
}

// show provokes every fault and writes the table.
func (f *fleet) show(ctx context.Context, o options) (err error) {
	rules, err := os.ReadFile("deploy/prometheus/spillway.rules.yml")
	if err != nil {
		return err
	}
	var healthy []*daemon.Daemon
	for _, name := range []string{"healthy-1", "healthy-2"} {
		d, err := f.start(ctx, name)
		if err != nil {
			return err
		}
		healthy = append(healthy, d)
	}
	var provoked []*fault
	for _, prepare := range faults {
		p, err := prepare(ctx, f)
		if err != nil {
			return err
		}
		provoked = append(provoked, p)
	}

	scaled := scale(string(rules), o.speed)
	all, err := startPrometheus(ctx, o.prometheus, f.folder, scaled, f.addresses())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, all.close()) }()
	// An instance that is alone can be the last one that is up.
	alone, err := f.start(ctx, "alone")
	if err != nil {
		return err
	}
	lonely, err := startPrometheus(ctx, o.prometheus, f.folder, scaled, []string{address(alone)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lonely.close()) }()
	provoked = append(provoked, f.lastInstance(alone, lonely))

	began := time.Now()
	stopLoad := f.load(ctx, healthy)
	rows, err := provoke(ctx, provoked, all)
	err = errors.Join(err, stopLoad(), all.checkDashboard(ctx, "deploy/grafana/spillway.json"), all.checkQuiet(ctx, healthy), wantEvery(scaled, rows))
	fmt.Printf("%s\nThe run took %v.\n", table(rows), time.Since(began).Round(time.Second))
	if err != nil || o.document == "" {
		return err
	}
	return harness.Update(o.document, target, func(string) (string, error) { return table(rows), nil })
}

// address returns the address of an instance's metrics, which Prometheus uses as its name.
func address(d *daemon.Daemon) string { return strings.TrimPrefix(d.Admin, "http://") }
