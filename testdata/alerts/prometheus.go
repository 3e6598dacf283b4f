package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"spillway/testdata/daemon"
	"spillway/testdata/keeper"
)

// scrapeEvery is the time between two scrapes, and between two evaluations of the rules.
const scrapeEvery = 5 * time.Second

// serve runs Prometheus until its standard input ends.
const serve = `prometheus=$1; shift
"$prometheus" "$@" >&2 & server=$!
echo ready
read -r _
kill $server; wait $server; exit 0`

// prometheus is a running Prometheus.
type prometheus struct {
	api    string
	keeper *keeper.Keeper
}

// startPrometheus starts Prometheus with rules, and returns when it has scraped these
// addresses. Its files are in a new folder in folder. The caller closes it.
func startPrometheus(ctx context.Context, program, folder, rules string, addresses []string) (*prometheus, error) {
	folder, err := os.MkdirTemp(folder, "prometheus-")
	if err != nil {
		return nil, err
	}
	targets, err := json.Marshal(addresses) // which is YAML, too
	if err != nil {
		return nil, err
	}
	configuration := fmt.Sprintf(`
global: {scrape_interval: %[1]s, evaluation_interval: %[1]s, scrape_timeout: %[1]s}
rule_files: [rules.yml]
scrape_configs: [{job_name: spillway, static_configs: [{targets: %[2]s}]}]
`, scrapeEvery, targets)
	config := filepath.Join(folder, "prometheus.yml")
	if err := errors.Join(os.WriteFile(config, []byte(configuration), 0o600), os.WriteFile(filepath.Join(folder, "rules.yml"), []byte(rules), 0o600)); err != nil {
		return nil, err
	}
	listen, err := daemon.FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p := &prometheus{api: "http://" + listen}
	//nolint:contextcheck // it runs until the end
	p.keeper, err = keeper.Start(serve, program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(folder, "data"),
		"--web.listen-address="+listen, "--log.level=warn")
	if err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	// A counter that grows before its first scrape has no increase.
	scraped := func() bool {
		up, err := p.query(ready, "up == 1 and on (instance) spillway_build_info")
		return err == nil && len(up) == len(addresses)
	}
	if err := until(ready, scraped); err != nil {
		return nil, errors.Join(fmt.Errorf("prometheus does not scrape every instance: %w", err), p.close())
	}
	return p, nil
}

func (p *prometheus) close() error { return p.keeper.Close() }

// until waits until holds does, and asks each second.
func until(ctx context.Context, holds func() bool) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// a sample is one element of a query's result.
type sample struct {
	Metric map[string]string
	Value  [2]any // time and value
}

// query evaluates an expression.
func (p *prometheus) query(ctx context.Context, expr string) (result []sample, err error) {
	text, err := daemon.Get(ctx, p.api+"/api/v1/query?query="+url.QueryEscape(expr))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	var answer struct{ Data struct{ Result []sample } }
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	return answer.Data.Result, nil
}

// firing reports whether an alert fires for an instance. SpillwayAbsent has no instance.
func (p *prometheus) firing(ctx context.Context, alert, instance string) (bool, error) {
	result, err := p.query(ctx, fmt.Sprintf(`ALERTS{alertname=%q,alertstate="firing",instance=~%q}`, alert, instance+"|"))
	return len(result) > 0, err
}

// duration is a time in a rule or a query.
var duration = regexp.MustCompile(`(for: |\[)(\d+)m\b`)

// scale divides the times in rules by speed.
func scale(rules string, speed float64) string {
	return duration.ReplaceAllStringFunc(rules, func(text string) string {
		d := duration.FindStringSubmatch(text)
		minutes, _ := strconv.Atoi(d[2]) // digits only
		return fmt.Sprintf("%s%ds", d[1], int(float64(minutes*60)/speed))
	})
}

// alertNames returns the names of the alerts in rules.
func alertNames(rules string) (names []string) {
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(rules, -1) {
		names = append(names, m[1])
	}
	return names
}

// checkQuiet checks that no alert has fired for healthy instances.
func (p *prometheus) checkQuiet(ctx context.Context, healthy []*daemon.Daemon) error {
	var all []error
	for _, d := range healthy {
		fired, err := p.query(ctx, fmt.Sprintf(`last_over_time(ALERTS{alertstate="firing",instance=%q}[1h])`, address(d)))
		if err != nil {
			return err
		}
		for _, s := range fired {
			all = append(all, fmt.Errorf("%s fired for a healthy instance", s.Metric["alertname"]))
		}
	}
	return errors.Join(all...)
}

// checkDashboard checks that each query of a dashboard returns data.
func (p *prometheus) checkDashboard(ctx context.Context, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var dashboard any
	if err := json.Unmarshal(text, &dashboard); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var all []error
	queries := expressions(dashboard)
	for _, q := range queries {
		result, err := p.query(ctx, variables.Replace(q))
		if err == nil && len(result) == 0 {
			err = fmt.Errorf("a query of the dashboard returns nothing: %s", q)
		}
		all = append(all, err)
	}
	fmt.Printf("The dashboard has %d queries.\n", len(queries))
	if len(queries) == 0 {
		return fmt.Errorf("%s has no queries", file)
	}
	return errors.Join(all...)
}

// variables replaces the variables of a dashboard as Grafana would.
var variables = strings.NewReplacer("$job", "spillway", "$instance", ".*", "$__rate_interval", "1m")

// expressions returns the queries in a part of a dashboard.
func expressions(part any) (all []string) {
	switch p := part.(type) {
	case map[string]any:
		for name, value := range p {
			if expr, ok := value.(string); ok && name == "expr" {
				all = append(all, expr)
			} else {
				all = append(all, expressions(value)...)
			}
		}
	case []any:
		for _, value := range p {
			all = append(all, expressions(value)...)
		}
	}
	return all
}
