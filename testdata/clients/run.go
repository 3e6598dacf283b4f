package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// patience is how long a client may take.
const patience = 2 * time.Minute

// bench runs clients.
type bench struct {
	options
	home     string // the folder of this package
	cert     string // path
	refusals []refusal
	routes   []route
}

// A report is what a client printed, in lines such as "status: 413":
//
//	status: the status of the answer
//	body:   its text
//	shown:  what the client itself says about the answer, to its user or in an exception
//	failed: why there is no answer
type report struct {
	status              int
	body, shown, failed string
}

// result is what came of one upload, or of several like it.
type result struct {
	client  sender
	route   route
	refusal refusal
	report  report // of the first run that got no answer, or of the first
}

// answered reports whether the client got the answer.
func (r *result) answered() bool {
	return r.report.status == r.refusal.status && strings.Contains(r.report.body, r.refusal.text)
}

// run runs the clients through the routes, as far as the options choose them. Clients that
// mostly wait run beside the others.
func (b *bench) run(ctx context.Context) (*table, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := new(table)
	errs := make(chan error, len(clients)*len(b.routes)*len(b.refusals)) // of those beside
	var wg sync.WaitGroup
	var others []*result
	for _, c := range clients {
		for _, r := range b.routes {
			if !b.onlyClients.MatchString(c.name+", "+c.how) || !b.onlyRoutes.MatchString(r.name) || r.odd && !c.odd {
				continue
			}
			for _, refusal := range b.refusals {
				result := &result{client: c, route: r, refusal: refusal}
				t.results = append(t.results, result)
				if c.beside {
					wg.Go(func() { errs <- b.try(ctx, result) })
				} else {
					others = append(others, result)
				}
			}
		}
	}
	var err error
	for _, r := range others {
		if err = b.try(ctx, r); err != nil {
			cancel()
			break
		}
	}
	wg.Wait()
	close(errs)
	for e := range errs {
		err = cmp.Or(err, e)
	}
	return t, err
}

// try runs the client until it gets no answer, or often enough.
func (b *bench) try(ctx context.Context, r *result) error {
	for range b.runs {
		began := time.Now()
		var err error
		if r.report, err = b.runClient(ctx, r); err != nil {
			return err
		}
		outcome := "answer"
		if !r.answered() {
			outcome = r.report.String()
		}
		fmt.Fprintf(os.Stderr, "%-52s %-42s %-4s %5.1f s  %s\n", r.client.name+", "+r.client.how, r.route.name, r.refusal.name, time.Since(began).Seconds(), outcome)
		if !r.answered() {
			return nil
		}
	}
	return nil
}

// runClient runs the client once.
func (b *bench) runClient(parent context.Context, r *result) (report, error) {
	ctx, cancel := context.WithTimeout(parent, patience)
	defer cancel()
	name := r.client.command[0]
	if name == "" {
		self, err := os.Executable()
		if err != nil {
			return report{}, err
		}
		name = self
	} else if strings.HasPrefix(name, ".built/") {
		name = "./" + name
	}
	command := exec.CommandContext(ctx, name, r.client.command[1:]...)
	command.Dir = b.home
	command.Env = append(os.Environ(),
		"URL="+r.route.url+"/upload/", "TOKEN="+r.refusal.token,
		"ARCHIVE="+r.refusal.archive, "FORM="+r.refusal.form, "FORM_TYPE="+formType,
		// Where clients look for a certificate to trust.
		"SSL_CERT_FILE="+b.cert, "REQUESTS_CA_BUNDLE="+b.cert, "NODE_EXTRA_CA_CERTS="+b.cert,
	)
	command.WaitDelay = time.Second
	out, err := command.CombinedOutput()
	if b.verbose {
		fmt.Fprintf(os.Stderr, "%s\n", out)
	}
	rep := parseReport(string(out))
	switch {
	case parent.Err() != nil:
		return rep, context.Cause(parent)
	case ctx.Err() != nil:
		return report{failed: fmt.Sprintf("nothing within %v", patience)}, nil
	case rep == report{}:
		return rep, fmt.Errorf("%s: %w\n%s", strings.Join(r.client.command, " "), errors.Join(err, errors.New("no report")), out)
	}
	return rep, nil
}

// parseReport reads what a client printed.
func parseReport(out string) (r report) {
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "status":
			r.status, _ = strconv.Atoi(value)
		case "body":
			r.body = value
		case "shown":
			r.shown = value
		case "failed":
			r.failed = value
		}
	}
	return r
}

// String says what came in the place of the answer.
func (r report) String() string {
	switch {
	case r.failed != "":
		return r.failed
	case r.status == 0:
		return "nothing"
	case r.body == "":
		return fmt.Sprintf("%d without its text", r.status)
	}
	return fmt.Sprintf("%d of %s", r.status, r.body)
}
