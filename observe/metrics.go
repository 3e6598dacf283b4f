package observe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"spillway/health"
	"spillway/internal/account"
	"spillway/internal/outcome"
	"spillway/internal/s3event"
	"spillway/tokens"
)

// Only this file and gauges.go know of Prometheus. Labels have values from fixed
// lists; whatever else comes from outside counts as "other". No label is made from a
// key, a name in an archive, a token or an address. Only tokens of the tokens file have a
// label: the first digits of their digest.

const other = "other"

// s3Operations are the S3 operations that the store uses.
var s3Operations = []string{
	"AbortMultipartUpload", "CompleteMultipartUpload", "CreateMultipartUpload", "DeleteObject", "GetObject", "HeadBucket",
	"HeadObject", "ListMultipartUploads", "ListObjectsV2", "ListParts", "PutObject", "UploadPart",
}

// kinds are the known extensions of files in symbol archives.
var kinds = []string{
	"bz2", "dbg", "dl_", "dll", "dylib", "ex_", "exe", "gz", "json", "pd_", "pdb", "so", "sym", "txt", "xz",
}

// Metrics are the metrics for Prometheus.
type Metrics struct {
	registry *prometheus.Registry

	uploads  *prometheus.CounterVec
	duration *prometheus.HistogramVec
	size     prometheus.Histogram
	contents prometheus.Histogram
	memory   prometheus.Histogram
	spent    [account.Labels]prometheus.Counter
	workers  prometheus.Counter

	archiveBytes, hashedBytes, spilledBytes prometheus.Counter
	entries, files, fileBytes               *prometheus.CounterVec
	downloadBytes, downloadRequests         prometheus.Counter
	resumes, unread                         prometheus.Counter

	s3Requests  *prometheus.CounterVec
	s3Duration  *prometheus.HistogramVec
	s3SentBytes prometheus.Counter
	multipart   *prometheus.CounterVec
	troubles    *prometheus.CounterVec
	checksum    *prometheus.GaugeVec

	tokensAsked    *prometheus.CounterVec
	tokensDuration prometheus.Histogram

	sent atomic.Int64 // the value of s3SentBytes, for the live page
}

// NewMetrics returns the metrics of a program of that version. Series with a fixed
// set of labels exist from the start, as zero.
func NewMetrics(v health.Version) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.gauges("build_info", "The build of this program, in its labels. Always 1.", "version", "commit", "goversion").
		WithLabelValues(v.Version, v.Commit, runtime.Version()).Set(1)

	m.uploads = m.counters("uploads_total", "Ended requests to /upload/, by outcome and reason.", "outcome", "reason")
	m.duration = m.histograms("upload_duration_seconds", "Duration of ended uploads, by outcome.",
		[]float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 900}, "outcome")
	for o, r := range outcome.All {
		m.duration.WithLabelValues(outcome.Label(o))
		m.uploads.WithLabelValues(outcome.Label(o), outcome.Label(r))
	}
	bytes := prometheus.ExponentialBuckets(64<<10, 4, 9) // 64 KiB to 4 GiB
	m.size = m.histogram("upload_archive_bytes", "Size of the archives of stored uploads.", bytes)
	m.contents = m.histogram("upload_entries", "Files in the archives of stored uploads.", prometheus.ExponentialBuckets(1, 4, 8))
	m.memory = m.histogram("upload_peak_memory_bytes", "Peak use of the memory budget by ended uploads, beside their fixed room.", bytes)
	spent := m.counters("upload_time_seconds_total", "Time of ended uploads, by what they waited for; cpu if for nothing. Adds up to the sum of spillway_upload_duration_seconds.", "on")
	for l := range account.Label(account.Labels) {
		m.spent[l] = spent.WithLabelValues(l.String())
	}
	m.workers = m.counter("upload_worker_seconds_total", "Time that workers spent on ended uploads, beside the uploads' own time.")

	m.archiveBytes = m.counter("archive_bytes_total", "Archive bytes that ended uploads read, or passed over because what they hold is stored already.")
	m.hashedBytes = m.counter("md5_bytes_total", "Expanded bytes of ended uploads whose MD5 was computed, to store or to compare it.")
	m.downloadBytes = m.counter("download_bytes_total", "Bytes that ended uploads by URL fetched. spillway_archive_bytes_total has the whole archives.")
	m.downloadRequests = m.counter("download_requests_total", "Requests that ended uploads by URL sent to the hosts of their archives, redirects included.")
	m.unread = m.counter("unread_entries_total", "Files in the archives of ended uploads by URL that were not fetched, mostly because they were stored already.")
	m.resumes = m.counter("download_resumes_total", "How often ended uploads resumed the download of their archive.")
	m.spilledBytes = m.counter("spilled_bytes_total", "Sum of the peak use of the disk by each ended upload.")
	m.entries = m.counters("entries_total", "Entries in the archives of ended uploads, by result.", "result")
	m.files = m.counters("files_total", "Files in the archives of ended uploads, by extension.", "kind")
	m.fileBytes = m.counters("file_bytes_total", "Expanded bytes of the files in the archives of ended uploads, by extension.", "kind")

	m.s3Requests = m.counters("s3_requests_total", "Attempts at requests to the store, by operation and result.", "operation", "result")
	m.s3Duration = m.histograms("s3_request_duration_seconds", "Duration of attempts at requests to the store, by operation.",
		[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}, "operation")
	m.s3SentBytes = m.counter("s3_sent_bytes_total", "Body bytes sent to the store, failed attempts included.")
	m.multipart = m.counters("multipart_uploads_total", "Steps of multipart uploads to the store.", "event")
	for _, e := range s3event.Multiparts() {
		m.multipart.WithLabelValues(string(e))
	}
	m.checksum = m.gauges("s3_checksum", "1 for the checksum by which a bucket checks what it gets, as the last probe found.", "bucket", "kind")
	m.troubles = m.counters("pressure_events_total", "Troubles of the spill disk that count towards pressure, by kind.", "kind")
	for _, t := range health.Troubles() {
		m.troubles.WithLabelValues(outcome.Label(t))
	}
	m.tokensAsked = m.counters("tokens_upstream_requests_total", "Requests to --tokens-upstream, by result.", "result")
	for _, r := range tokens.Results() {
		m.tokensAsked.WithLabelValues(string(r))
	}
	m.tokensDuration = m.histogram("tokens_upstream_request_duration_seconds", "Duration of requests to --tokens-upstream.",
		[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5})
	return m
}

func (m *Metrics) counter(name, help string) prometheus.Counter {
	return m.counters(name, help).WithLabelValues()
}

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "spillway", Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "spillway", Name: name, Help: help}, labels)
	m.registry.MustRegister(g)
	return g
}

func (m *Metrics) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "spillway", Name: name, Help: help, Buckets: buckets})
	m.registry.MustRegister(h)
	return h
}

func (m *Metrics) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "spillway", Name: name, Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(h)
	return h
}

// handler serves scrapes. Metrics that cannot be gathered are left out and logged.
func (m *Metrics) handler(log *zap.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            zap.NewStdLog(log),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		EnableOpenMetrics:   true, // for those who ask for it: only this format has exemplars
	})
}

// ended counts an upload. Its result is normalized. trace is the ID of its trace; empty if it
// has none.
func (m *Metrics) ended(e *Ended, trace string) {
	label := outcome.Label(e.Outcome)
	m.uploads.WithLabelValues(label, outcome.Label(e.Reason)).Inc()
	observe(m.duration.WithLabelValues(label), e.Spent.Wall(), trace)
	for l, d := range e.Spent.By {
		m.spent[l].Add(max(d, 0).Seconds())
	}
	m.workers.Add(max(e.Spent.Workers, 0).Seconds())

	if e.Download != nil {
		add(m.downloadBytes, e.Download.Bytes)
		add(m.downloadRequests, int64(e.Download.Requests))
		add(m.resumes, int64(e.Download.Resumes))
	}
	s := &e.Shape
	if e.Outcome == outcome.Stored {
		m.size.Observe(float64(s.ArchiveBytes))
		m.contents.Observe(float64(s.Entries))
	}
	m.memory.Observe(float64(s.PeakMemoryBytes))
	add(m.archiveBytes, s.ArchiveBytes)
	add(m.hashedBytes, s.HashedBytes)
	add(m.spilledBytes, s.SpilledBytes)
	add(m.unread, int64(s.Unread))
	add(m.entries.WithLabelValues("uploaded"), int64(s.Uploaded))
	add(m.entries.WithLabelValues("skipped"), int64(s.Skipped))
	add(m.entries.WithLabelValues("ignored"), int64(s.Ignored))
	for _, k := range s.Kinds {
		kind := oneOf(kinds, k.Name)
		add(m.files.WithLabelValues(kind), int64(k.Files))
		add(m.fileBytes.WithLabelValues(kind), k.Bytes)
	}
}

// add adds n to c. A negative n, which a counter would not take, adds nothing.
func add(c prometheus.Counter, n int64) {
	c.Add(float64(max(n, 0)))
}

// oneOf returns name if it is one of values, else "other".
func oneOf(values []string, name string) string {
	if slices.Contains(values, name) {
		return name
	}
	return other
}

// observe adds a duration to a histogram, with a trace as its exemplar unless that is empty.
func observe(h prometheus.Observer, d time.Duration, trace string) {
	if trace == "" {
		h.Observe(d.Seconds())
		return
	}
	h.(prometheus.ExemplarObserver).ObserveWithExemplar(d.Seconds(), prometheus.Labels{"trace_id": trace})
}

// Attempt counts an attempt at a request to the store. trace is the ID of its trace; empty if
// it has none.
func (m *Metrics) Attempt(a s3event.Attempt, trace string) {
	operation := oneOf(s3Operations, a.Operation)
	m.s3SentBytes.Add(float64(a.Sent))
	m.sent.Add(a.Sent)
	m.s3Requests.WithLabelValues(operation, s3Result(a.Status, a.Err)).Inc()
	observe(m.s3Duration.WithLabelValues(operation), a.Took, trace)
}

// s3Result returns the label of an attempt's result.
func s3Result(status int, err error) string {
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case status == http.StatusNotFound:
		return "not_found"
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		return "throttled"
	case status >= http.StatusInternalServerError:
		return "failed"
	case status >= http.StatusBadRequest:
		return "rejected"
	case err == nil:
		return "ok"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded), isNet && timeout.Timeout():
		return "timeout"
	case status == 0:
		return "unreachable"
	}
	return "failed" // a response that breaks off, or has an error in spite of its status
}

// Multipart counts a step of a multipart upload to the store.
func (m *Metrics) Multipart(step s3event.Multipart) {
	if slices.Contains(s3event.Multiparts(), step) {
		m.multipart.WithLabelValues(string(step)).Inc()
	}
}

// Checksum records by which checksum a bucket checks what it gets.
func (m *Metrics) Checksum(bucket string, kind s3event.Checksum) {
	for _, k := range s3event.Checksums() {
		is := 0.0
		if k == kind {
			is = 1
		}
		m.checksum.WithLabelValues(bucket, string(k)).Set(is)
	}
}

// Trouble counts a trouble of the disk.
func (m *Metrics) Trouble(t health.Trouble) {
	m.troubles.WithLabelValues(outcome.Label(t)).Inc()
}

// TokenAsked counts a request to the server of --tokens-upstream.
func (m *Metrics) TokenAsked(r tokens.Result, took time.Duration) {
	m.tokensAsked.WithLabelValues(string(r)).Inc()
	m.tokensDuration.Observe(took.Seconds())
}
