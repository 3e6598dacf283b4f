package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"spillway/health"
	"spillway/internal/outcome"
	"spillway/tokens"
)

// gauges are the metrics that are gathered at each scrape. Each source is asked
// once a scrape, so that related values are of the same moment.
type gauges struct {
	cfg   *AdminConfig
	pages func() int // how many live pages are open
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("spillway_"+name, help, labels, nil)
}

var (
	inFlight       = describe("uploads_in_flight", "Uploads under way, by stage.", "stage")
	storedLast     = describe("upload_last_stored_timestamp_seconds", "When an upload was last stored; 0 if none was.")
	memoryBudget   = describe("memory_budget_bytes", "Memory budget of all uploads together.")
	memoryUsed     = describe("memory_used_bytes", "Used part of the memory budget, by use.", "use")
	memoryIdle     = describe("memory_idle_bytes", "Part buffers and decoders kept for the next upload. They are dropped when an upload needs their room.")
	memoryWaiting  = describe("memory_waiting_calls", "Calls that wait for room in the memory budget.")
	spillQuota     = describe("spill_quota_bytes", "Disk quota of all uploads together; 0 if no disk is used.")
	spillUsed      = describe("spill_used_bytes", "Used part of the disk quota.")
	spillFree      = describe("spill_free_bytes", "Free space on the disk of the spill folder, as last seen; -1 if it is not watched.")
	spillHanging   = describe("spill_hanging_calls", "Calls of the spill disk that have not ended in time.")
	spillStuck     = describe("spill_stuck_bytes", "Part of the disk quota held by ended uploads, in files whose calls hang.")
	pressureNow    = describe("pressure_state", "1 for the current state of this instance, 0 for the others.", "state")
	drainingNow    = describe("draining", "1 if this instance takes no more uploads.")
	checkStatus    = describe("check_status", "1 for the current status of each check of /__heartbeat__, 0 for the others. The store is probed every minute.", "check", "status")
	pageClients    = describe("page_clients", "Open live pages.")
	janitorRuns    = describe("janitor_runs_total", "Runs of the cleaning tasks, by result.", "task", "result")
	janitorRemoved = describe("janitor_removed_total", "Items that the cleaning tasks removed.", "task")
	janitorSuccess = describe("janitor_last_success_timestamp_seconds", "When a cleaning task last succeeded; 0 if it has not yet.", "task")
	sentryEvents   = describe("sentry_events_total", "Reports to Sentry: sent, or dropped by the rate limit.", "result")
	traceSpans     = describe("trace_spans_total", "Spans of ended uploads: exported, failed at the endpoint, or dropped because the queue was full.", "result")
	tokensAge      = describe("tokens_age_seconds", "Age of the tokens in force: time since the tokens file was last usable. About 0 while it is.")
	tokensFailed   = describe("tokens_failed", "1 while the tokens file cannot be used, or reading it hangs.")
	tokensExpiring = describe("tokens_expiring", "Tokens in force that may upload and expire within 30 days.")
	tokenUsed      = describe("token_last_used_timestamp_seconds", "When a token in force was last used at this instance, by the first digits of its SHA-256; upstream stands for all tokens of --tokens-upstream. 0 if it was not since the start.", "token")
	upstreamFailed = describe("tokens_upstream_failed", "1 while --tokens-upstream cannot be asked about tokens; 0 if there is none.")
	upstreamKept   = describe("tokens_upstream_accepted", "Tokens that --tokens-upstream has accepted and that work while it cannot be asked.")
	logDropped     = describe("log_dropped_lines_total", "Dropped log lines: nobody read them in time, or writing them failed.")
	everyGauge     = []*prometheus.Desc{inFlight, storedLast, memoryBudget, memoryUsed, memoryIdle, memoryWaiting, spillQuota, spillUsed, spillFree, spillHanging, spillStuck, pressureNow, drainingNow, checkStatus, pageClients, sentryEvents, traceSpans, tokensAge, tokensFailed, tokensExpiring, tokenUsed, upstreamFailed, upstreamKept, logDropped, janitorRuns, janitorRemoved, janitorSuccess}
)

// Describe implements [prometheus.Collector].
func (gauges) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range everyGauge {
		descs <- d
	}
}

// Collect implements [prometheus.Collector].
func (g gauges) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value int, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	g.collectUploads(gauge)
	g.collectRoom(gauge)
	g.collectInstance(gauge, counter)
}

func (g gauges) collectUploads(gauge func(*prometheus.Desc, float64, ...string)) {
	counts := g.cfg.Uploads.count()
	for _, s := range outcome.Stages() {
		gauge(inFlight, float64(counts[s]), string(s))
	}
	gauge(storedLast, timestamp(g.cfg.Outcomes.LastStored()))
}

func (g gauges) collectRoom(gauge func(*prometheus.Desc, float64, ...string)) {
	memory := g.cfg.Memory()
	gauge(memoryBudget, float64(memory.Total))
	gauge(memoryUsed, float64(memory.Floors), "floors")
	gauge(memoryUsed, float64(memory.Leased), "leased")
	gauge(memoryUsed, float64(memory.Held), "held")
	gauge(memoryIdle, float64(g.cfg.MemoryIdle()))
	gauge(memoryWaiting, float64(memory.Waiting))
	spill := g.cfg.Spill()
	gauge(spillQuota, float64(spill.Quota))
	gauge(spillUsed, float64(spill.Used))
	gauge(spillFree, float64(g.cfg.Pressure.Free()))
	gauge(spillHanging, float64(spill.Hanging))
	gauge(spillStuck, float64(spill.Stuck))
}

func (g gauges) collectInstance(gauge func(*prometheus.Desc, float64, ...string), counter func(*prometheus.Desc, int, ...string)) {
	state, _ := g.cfg.Pressure.State()
	for _, s := range health.States() {
		gauge(pressureNow, oneIf(s == state), s.String())
	}
	gauge(drainingNow, oneIf(g.cfg.Health.Draining()))
	for _, c := range g.cfg.Health.Checks() {
		for _, l := range health.Levels() {
			gauge(checkStatus, oneIf(l == c.Level), c.Name, l.String())
		}
	}
	gauge(pageClients, float64(g.pages()))
	sent, dropped := g.cfg.Reporter.counts()
	counter(sentryEvents, sent, "sent")
	counter(sentryEvents, dropped, "dropped")
	exported, failed, full := g.cfg.Tracer.spans()
	counter(traceSpans, exported, "exported")
	counter(traceSpans, failed, "failed")
	counter(traceSpans, full, "dropped")
	g.collectTokens(gauge)
	counter(logDropped, g.cfg.DroppedLines())
	for _, t := range g.cfg.Tasks() {
		task := outcome.Label(t.Name)
		counter(janitorRuns, t.Succeeded, task, "ok")
		counter(janitorRuns, t.Failed, task, "failed")
		counter(janitorRemoved, t.Removed, task)
		gauge(janitorSuccess, timestamp(t.LastSuccess), task)
	}
}

func (g gauges) collectTokens(gauge func(*prometheus.Desc, float64, ...string)) {
	status := g.cfg.Tokens()
	gauge(tokensAge, time.Since(status.AsOf).Seconds())
	gauge(tokensFailed, oneIf(status.Err != nil))
	gauge(tokensExpiring, float64(len(status.Expiring)))
	for token, last := range lastUses(status.Uses) {
		gauge(tokenUsed, timestamp(last), token)
	}
	upstream := status.Upstream
	if upstream == nil {
		upstream = &tokens.UpstreamStatus{}
	} else {
		gauge(tokenUsed, timestamp(upstream.LastUse), "upstream")
	}
	gauge(upstreamFailed, oneIf(upstream.Reason != ""))
	gauge(upstreamKept, float64(upstream.Accepted))
}

// maxTokenSeries is how many tokens have a series of their own, from the first in the file.
const maxTokenSeries = 500

// lastUses returns the last use of each token. Tokens beyond maxTokenSeries share the label
// "other", and tokens with the same first digits share those. Their latest use counts.
func lastUses(uses []tokens.Use) map[string]time.Time {
	last := make(map[string]time.Time)
	for _, use := range uses {
		label := use.Digest
		if _, ok := last[label]; !ok && len(last) >= maxTokenSeries {
			label = other
		}
		if before, ok := last[label]; !ok || use.Last.After(before) {
			last[label] = use.Last
		}
	}
	return last
}

// timestamp returns t in seconds since 1970; 0 for the zero time.
func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
