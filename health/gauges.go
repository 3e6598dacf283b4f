package health

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// gauges are what is asked for when somebody scrapes, rather than kept. Each of
// its sources is asked once a scrape, so that what belongs together is of one
// moment.
type gauges struct {
	h *Health
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("spillway_"+name, help, labels, nil)
}

var (
	inFlight       = describe("uploads_in_flight", "Uploads under way, by how far they have got.", "stage")
	storedLast     = describe("upload_last_stored_timestamp_seconds", "When an upload was last stored; 0 if none was.")
	memoryBudget   = describe("memory_budget_bytes", "The memory budget of all uploads together.")
	memoryUsed     = describe("memory_used_bytes", "What is in use of the memory budget, by what for.", "use")
	memoryIdle     = describe("memory_idle_bytes", "Part buffers and decoders that no upload uses, kept for the next. They are dropped when their room is wanted.")
	memoryWaiting  = describe("memory_waiting_calls", "Calls that wait for room in the memory budget.")
	spillQuota     = describe("spill_quota_bytes", "The quota of all uploads together on the disk; 0 if it is not used.")
	spillUsed      = describe("spill_used_bytes", "What is in use of the quota on the disk.")
	spillFree      = describe("spill_free_bytes", "Free space where the spill folder is, as it was last seen; -1 if it is not watched.")
	spillHanging   = describe("spill_hanging_calls", "Calls of the spill folder's disk that have not ended in time.")
	spillStuck     = describe("spill_stuck_bytes", "What is in use of the quota for uploads that are over, in files whose calls hang.")
	pressureNow    = describe("pressure_state", "1 for the state that this instance is in, 0 for the others.", "state")
	drainingNow    = describe("draining", "1 if this instance takes no more uploads.")
	pageClients    = describe("page_clients", "Live pages that are open.")
	janitorRuns    = describe("janitor_runs_total", "Runs of the tasks that clean up, by how they ended.", "task", "result")
	janitorRemoved = describe("janitor_removed_total", "What the tasks that clean up removed.", "task")
	janitorSuccess = describe("janitor_last_success_timestamp_seconds", "When a task that cleans up last succeeded; 0 if it has not.", "task")
	sentryEvents   = describe("sentry_events_total", "Reports to Sentry, by whether they were handed on or kept back by the rate limit.", "result")
	tokensAge      = describe("tokens_age_seconds", "Time since the tokens in force were those of the tokens file; about 0 while it can be used.")
	tokensFailed   = describe("tokens_failed", "1 while the tokens file cannot be used, or reading it hangs.")
	logDropped     = describe("log_dropped_lines_total", "Lines of the log that were dropped: nobody read them in time, or writing them failed.")
	everyGauge     = []*prometheus.Desc{inFlight, storedLast, memoryBudget, memoryUsed, memoryIdle, memoryWaiting, spillQuota, spillUsed, spillFree, spillHanging, spillStuck, pressureNow, drainingNow, pageClients, sentryEvents, tokensAge, tokensFailed, logDropped, janitorRuns, janitorRemoved, janitorSuccess}
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
	counts := g.h.cfg.Uploads.count()
	for _, s := range stages {
		gauge(inFlight, float64(counts[s]), string(s))
	}
	gauge(storedLast, timestamp(g.h.cfg.Uploads.lastStored()))
	memory := g.h.cfg.Memory()
	gauge(memoryBudget, float64(memory.Total))
	gauge(memoryUsed, float64(memory.Floors), "floors")
	gauge(memoryUsed, float64(memory.Leased), "leased")
	gauge(memoryUsed, float64(memory.Held), "held")
	gauge(memoryIdle, float64(memory.Idle))
	gauge(memoryWaiting, float64(memory.Waiting))
	spill := g.h.cfg.Spill()
	gauge(spillQuota, float64(spill.Quota))
	gauge(spillUsed, float64(spill.Used))
	gauge(spillFree, float64(g.h.cfg.Pressure.lastFree()))
	gauge(spillHanging, float64(spill.Hanging))
	gauge(spillStuck, float64(spill.Stuck))
	state, _ := g.h.cfg.Pressure.State()
	for _, s := range []State{Calm, Warned, Out} {
		gauge(pressureNow, oneIf(s == state), s.String())
	}
	gauge(drainingNow, oneIf(g.h.draining.Load()))
	gauge(pageClients, float64(g.h.live.clients()))
	sent, dropped := g.h.cfg.Reporter.counts()
	counter(sentryEvents, sent, "sent")
	counter(sentryEvents, dropped, "dropped")
	if g.h.cfg.Tokens != nil {
		t := g.h.cfg.Tokens()
		gauge(tokensAge, t.Age.Seconds())
		gauge(tokensFailed, oneIf(t.Failed))
	}
	if g.h.cfg.LostLog != nil {
		counter(logDropped, g.h.cfg.LostLog())
	}
	for _, t := range g.h.cfg.Cleaning() {
		task := labelValue(t.Name)
		counter(janitorRuns, t.Succeeded, task, "ok")
		counter(janitorRuns, t.Failed, task, "failed")
		counter(janitorRemoved, t.Removed, task)
		gauge(janitorSuccess, timestamp(t.LastSuccess), task)
	}
}

// timestamp is a time in seconds since 1970; 0 for the zero time.
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
