package main

// A panel is one diagram of the dashboard.
type panel struct {
	title, about string
	unit         string // Grafana's name
	kind         kind
	queries      []query
}

// kind is how a panel shows its series.
type kind int

const (
	lines  kind = iota
	stack       // areas on top of each other
	number      // the last value alone
	states      // a bar for each series, whose colour is its value: 0 ok, 1 warning, 2 error
)

// A query is an expression and the name of its series. $in stands for the matchers that the
// variables of the dashboard choose.
type query struct{ legend, expr string }

// A row is a question and the panels that answer it.
type row struct {
	title  string
	panels []panel
}

var rows = []row{
	{"Is anything wrong?", []panel{
		{"Checks", "The checks of /__heartbeat__, the worst of all instances. docs/operations.md has a section for each.", "", states, []query{
			{"{{check}}", `max by (check) (2 * spillway_check_status{$in,status="error"} + ignoring (status) spillway_check_status{$in,status="warning"})`},
		}},
		{"Instances", "Instances that Prometheus can scrape, and those that are out of the load balancer: their disk is in trouble, or they shut down.", "none", lines, []query{
			{"up", `sum(up{$in})`},
			{"disk in trouble", `sum(spillway_pressure_state{$in,state="out"})`},
			{"draining", `sum(spillway_draining{$in})`},
		}},
		{"Last stored upload", "Time since any instance stored an upload.", "s", number, []query{
			{"", `time() - max(spillway_upload_last_stored_timestamp_seconds{$in})`},
		}},
		{"Version", "Instances by version.", "none", lines, []query{
			{"{{version}} {{commit}}", `count by (version, commit) (spillway_build_info{$in})`},
		}},
	}},
	{"How often are uploads ended, and why?", []panel{
		{"Uploads", "Ended uploads, by outcome.", "cpm", stack, []query{
			{"{{outcome}}", `60 * sum by (outcome) (rate(spillway_uploads_total{$in}[$__rate_interval]))`},
		}},
		{"Not stored", "Uploads that were not stored, by outcome and reason: docs/operations.md, \"How an upload ended\", says what each means.", "cpm", stack, []query{
			{"{{outcome}} {{reason}}", `60 * sum by (outcome, reason) (rate(spillway_uploads_total{$in,outcome!="stored"}[$__rate_interval]))`},
		}},
		{"Share that is stored", "Stored uploads, of all that no client or archive is at fault for.", "percentunit", lines, []query{
			{"stored", `sum(rate(spillway_uploads_total{$in,outcome="stored"}[$__rate_interval])) / sum(rate(spillway_uploads_total{$in,outcome=~"stored|failed|defect|shut_down"}[$__rate_interval]))`},
		}},
		{"Duration of stored uploads", "From the first byte of the request to the answer.", "s", lines, []query{
			{"median", `histogram_quantile(0.5, sum by (le) (rate(spillway_upload_duration_seconds_bucket{$in,outcome="stored"}[$__rate_interval])))`},
			{"95 %", `histogram_quantile(0.95, sum by (le) (rate(spillway_upload_duration_seconds_bucket{$in,outcome="stored"}[$__rate_interval])))`},
		}},
	}},
	{"What do they carry?", []panel{
		{"Size of archives", "Archives of stored uploads.", "bytes", lines, []query{
			{"median", `histogram_quantile(0.5, sum by (le) (rate(spillway_upload_archive_bytes_bucket{$in}[$__rate_interval])))`},
			{"95 %", `histogram_quantile(0.95, sum by (le) (rate(spillway_upload_archive_bytes_bucket{$in}[$__rate_interval])))`},
		}},
		{"Files in an archive", "In archives of stored uploads.", "none", lines, []query{
			{"median", `histogram_quantile(0.5, sum by (le) (rate(spillway_upload_entries_bucket{$in}[$__rate_interval])))`},
			{"95 %", `histogram_quantile(0.95, sum by (le) (rate(spillway_upload_entries_bucket{$in}[$__rate_interval])))`},
		}},
		{"Entries", "Entries of ended uploads. Skipped ones are stored already.", "cps", stack, []query{
			{"{{result}}", `sum by (result) (rate(spillway_entries_total{$in}[$__rate_interval]))`},
		}},
		{"Kinds of files", "Expanded bytes of ended uploads, by extension.", "Bps", stack, []query{
			{"{{kind}}", `sum by (kind) (rate(spillway_file_bytes_total{$in}[$__rate_interval]))`},
		}},
		{"Bytes", "Archives as they arrive, what goes to S3 (failed attempts included), and what goes over the disk.", "Bps", lines, []query{
			{"archives", `sum(rate(spillway_archive_bytes_total{$in}[$__rate_interval]))`},
			{"fetched by URL", `sum(rate(spillway_download_bytes_total{$in}[$__rate_interval]))`},
			{"sent to S3", `sum(rate(spillway_s3_sent_bytes_total{$in}[$__rate_interval]))`},
			{"spilled", `sum(rate(spillway_spilled_bytes_total{$in}[$__rate_interval]))`},
		}},
	}},
	{"What did they wait for?", []panel{
		{"Time of ended uploads", "By what they waited for: \"cpu\" if for nothing. One means: one upload at any time.", "none", stack, []query{
			{"{{on}}", `sum by (on) (rate(spillway_upload_time_seconds_total{$in}[$__rate_interval]))`},
		}},
		{"Uploads under way", "By stage. \"waiting\": for their turn.", "none", stack, []query{
			{"{{stage}}", `sum by (stage) (spillway_uploads_in_flight{$in})`},
		}},
		{"Requests to S3", "Attempts, by result.", "cps", stack, []query{
			{"{{result}}", `sum by (result) (rate(spillway_s3_requests_total{$in}[$__rate_interval]))`},
		}},
		{"Duration of requests to S3", "95 % of the attempts take less.", "s", lines, []query{
			{"{{operation}}", `histogram_quantile(0.95, sum by (le, operation) (rate(spillway_s3_request_duration_seconds_bucket{$in}[$__rate_interval])))`},
		}},
	}},
	{"How full are disk and memory?", []panel{
		{"Memory budget", "Use of --memory, of all instances.", "bytes", stack, []query{
			{"{{use}}", `sum by (use) (spillway_memory_used_bytes{$in})`},
		}},
		{"Fullest", "Share in use, at the instance where it is highest. Uploads wait for one another from 90 % on.", "percentunit", lines, []query{
			{"--memory", `max(sum without (use) (spillway_memory_used_bytes{$in}) / spillway_memory_budget_bytes{$in})`},
			{"--spill-quota", `max(spillway_spill_used_bytes{$in} / clamp_min(spillway_spill_quota_bytes{$in}, 1))`},
			{"file descriptors", `max(process_open_fds{$in} / process_max_fds{$in})`},
		}},
		{"Calls that wait", "For memory, and for a disk that hangs.", "none", lines, []query{
			{"memory", `sum(spillway_memory_waiting_calls{$in})`},
			{"disk", `sum(spillway_spill_hanging_calls{$in})`},
		}},
		{"Free space", "On the disk of --spill-dir, as last seen.", "bytes", lines, []query{
			{"{{instance}}", `spillway_spill_free_bytes{$in}`},
		}},
		{"Trouble with the disk", "What counts towards pressure: three within two minutes take an instance out of the load balancer.", "cpm", stack, []query{
			{"{{kind}}", `60 * sum by (kind) (rate(spillway_pressure_events_total{$in}[$__rate_interval]))`},
		}},
		{"Memory of the process", "Resident. More than --memory and 130 MiB is a bug.", "bytes", lines, []query{
			{"{{instance}}", `process_resident_memory_bytes{$in}`},
		}},
	}},
	{"Is the cleaner alive?", []panel{
		{"Since the last success", "Time since each cleaning task succeeded, at the instance where it is longest. It is about a minute if all is well.", "s", lines, []query{
			{"{{task}}", `max by (task) (time() - (spillway_janitor_last_success_timestamp_seconds{$in} > 0))`},
		}},
		{"Runs", "Runs of the cleaning tasks, by result.", "cpm", stack, []query{
			{"{{task}} {{result}}", `60 * sum by (task, result) (rate(spillway_janitor_runs_total{$in}[$__rate_interval]))`},
		}},
		{"Removed", "What was left behind by dead processes and lost answers.", "cpm", stack, []query{
			{"{{task}}", `60 * sum by (task) (rate(spillway_janitor_removed_total{$in}[$__rate_interval]))`},
		}},
	}},
	{"Tokens and reports", []panel{
		{"Age of the tokens", "Time since the tokens file was last usable. It is about 0 if all is well.", "s", lines, []query{
			{"{{instance}}", `spillway_tokens_age_seconds{$in}`},
		}},
		{"Tokens that expire", "Within 30 days.", "none", lines, []query{
			{"expire", `max(spillway_tokens_expiring{$in})`},
		}},
		{"Lost reports", "Log lines and reports to Sentry that were dropped.", "cpm", stack, []query{
			{"log lines", `60 * sum(rate(spillway_log_dropped_lines_total{$in}[$__rate_interval]))`},
			{"Sentry", `60 * sum(rate(spillway_sentry_events_total{$in,result="dropped"}[$__rate_interval]))`},
		}},
	}},
}
