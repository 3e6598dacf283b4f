package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"spillway/testdata/daemon"
)

// patience is how long an alert may take to fire or to resolve.
const patience = 15 * time.Minute

// A fault is a fault of one instance, and the alerts that it must cause.
type fault struct {
	what   string // for the table
	alerts []string
	at     *daemon.Daemon
	by     *prometheus                     // that watches the instance; nil: the one that watches all others
	ready  func(ctx context.Context) error // waits until the fault can begin; may be nil
	begin  func(ctx context.Context) error
	end    func(ctx context.Context) error
}

// A row is how long an alert took.
type row struct {
	alert, what     string
	fires, resolves time.Duration // after the fault began, and after it ended
}

// provoke runs all faults at the same time.
func provoke(ctx context.Context, faults []*fault, all *prometheus) (rows []row, err error) {
	var mu sync.Mutex
	var errs []error
	var running sync.WaitGroup
	for _, p := range faults {
		if p.by == nil {
			p.by = all
		}
		running.Go(func() {
			own, err := p.run(ctx)
			mu.Lock()
			defer mu.Unlock()
			rows = append(rows, own...)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", p.what, err))
			}
		})
	}
	running.Wait()
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.alert, b.alert) })
	return rows, errors.Join(errs...)
}

// run begins the fault, waits for its alerts, ends it, and waits until they have resolved.
func (p *fault) run(ctx context.Context) ([]row, error) {
	rows := make([]row, len(p.alerts))
	if p.ready != nil {
		if err := p.ready(ctx); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	if err := p.begin(ctx); err != nil {
		return nil, fmt.Errorf("cannot be provoked: %w", err)
	}
	for i, alert := range p.alerts {
		rows[i] = row{alert: alert, what: p.what}
	}
	err := p.await(ctx, true, func(i int) { rows[i].fires = time.Since(began) })
	ended := time.Now()
	if endErr := p.end(ctx); err != nil || endErr != nil {
		return nil, errors.Join(err, endErr)
	}
	return rows, p.await(ctx, false, func(i int) { rows[i].resolves = time.Since(ended) })
}

// await waits until all alerts fire, or none does. It calls done with the index of each.
func (p *fault) await(ctx context.Context, firing bool, done func(i int)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	waiting := slices.Clone(p.alerts)
	err := until(ctx, func() bool {
		for i, alert := range p.alerts {
			is, err := p.by.firing(ctx, alert, address(p.at))
			if at := slices.Index(waiting, alert); err == nil && is == firing && at >= 0 {
				done(i)
				waiting = slices.Delete(waiting, at, at+1)
				fmt.Printf("%s %s: firing is %v\n", time.Now().Format(time.TimeOnly), alert, firing)
			}
		}
		return len(waiting) == 0
	})
	if err != nil {
		return fmt.Errorf("%q: firing is not %v after %v: %w", waiting, firing, patience, err)
	}
	return nil
}

// notProvoked are alerts that nothing can provoke from outside. promtool tests them, as all others.
var notProvoked = map[string]string{"SpillwayBug": "nothing from outside can provoke a bug; `promtool` tests the rule"}

// wantEvery checks that each alert of the rules was provoked.
func wantEvery(rules string, rows []row) error {
	var missing []string
	for _, name := range alertNames(rules) {
		provoked := slices.ContainsFunc(rows, func(r row) bool { return r.alert == name && r.resolves > 0 })
		if _, exempt := notProvoked[name]; !provoked && !exempt {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not provoked: %q", missing)
	}
	return nil
}

// table returns the table of the document.
func table(rows []row) string {
	var out strings.Builder
	out.WriteString("| alert | fault | fires after | resolves after |\n|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&out, "| `%s` | %s | %v | %v |\n", r.alert, r.what, r.fires.Round(time.Second), r.resolves.Round(time.Second))
	}
	for name, why := range notProvoked {
		fmt.Fprintf(&out, "| `%s` | %s | | |\n", name, why)
	}
	return out.String()
}
