// Command clients checks what real clients report of a refusal that comes while they send:
// the answer, or a broken connection. It runs each client of the table against Spillway,
// directly and through proxies, and writes what came of it into docs/clients.md.
//
// It fails if a client of that document no longer gets an answer that it got before.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"spillway/testdata/harness"
)

// options are what the flags say.
type options struct {
	onlyClients, onlyRoutes *regexp.Regexp
	runs                    int
	document                string // to write to; empty: none
	install                 bool
	verbose                 bool
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == asClient {
		beClient(os.Args[2])
		return
	}
	harness.Main("clients", parse, run, syscall.SIGTERM)
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("clients", flag.ContinueOnError)
	clients := flags.String("clients", "", "regular expression: run only the clients that match")
	routes := flags.String("routes", "", "regular expression: run only through the routes that match")
	flags.IntVar(&o.runs, "runs", 1, "how often each client sends each upload; it must get its answer each time")
	flags.StringVar(&o.document, "document", "", "write the tables between the markers in this file")
	flags.BoolVar(&o.install, "install", false, "install the clients and the proxies first")
	flags.BoolVar(&o.verbose, "v", false, "print what each client prints")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.onlyClients, err = regexp.Compile(*clients); err != nil {
		return o, err
	}
	if o.onlyRoutes, err = regexp.Compile(*routes); err != nil {
		return o, err
	}
	if o.document != "" && (*clients != "" || *routes != "") {
		return o, errors.New("-document needs the results of all clients and routes")
	}
	return o, nil
}

func run(ctx context.Context, o options) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Hour)
	defer cancel()
	home := filepath.Join("testdata", "clients")
	if o.install {
		install := exec.CommandContext(ctx, filepath.Join(home, "install.sh"))
		install.Stdout, install.Stderr = os.Stderr, os.Stderr
		if err := install.Run(); err != nil {
			return fmt.Errorf("install.sh: %w", err)
		}
	}
	folder, err := os.MkdirTemp("", "spillway-clients-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	refusals, err := makeRefusals(folder)
	if err != nil {
		return err
	}
	servers, err := start(ctx, folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.close()) }()

	b := &bench{options: o, home: home, cert: servers.cert, refusals: refusals, routes: servers.routes}
	t, err := b.run(ctx)
	if err != nil {
		return err
	}
	fmt.Print(t.markdown())
	if o.document == "" {
		return nil
	}
	return t.write(o.document)
}
