package health

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

	"spillway/internal/account"
)

// This file and gauges.go know of Prometheus, and no other does. Labels have values out of
// fixed lists only: what comes from outside is counted as "other". No label is
// made of a key, a name in an archive, a token or an address.

const other = "other"

// s3Operations are those that the store needs.
var s3Operations = []string{
	"AbortMultipartUpload", "CompleteMultipartUpload", "CreateMultipartUpload", "DeleteObject", "GetObject", "HeadBucket",
	"HeadObject", "ListMultipartUploads", "ListObjectsV2", "ListParts", "PutObject", "UploadPart",
}

// kinds are the extensions that symbol archives are known to have.
var kinds = []string{
	"bz2", "dbg", "dl_", "dll", "dylib", "ex_", "exe", "gz", "json", "pd_", "pdb", "so", "sym", "txt", "xz",
}

// A MultipartEvent is a step in the life of a multipart upload to the store.
type MultipartEvent string

const (
	MultipartStaged    MultipartEvent = "staged"    // begun
	MultipartPublished MultipartEvent = "published" // completed: the object is there
	MultipartAborted   MultipartEvent = "aborted"   // by the upload that had begun it
	MultipartSwept     MultipartEvent = "swept"     // aborted by the janitor
)

var multipartEvents = []MultipartEvent{MultipartStaged, MultipartPublished, MultipartAborted, MultipartSwept}

// Metrics counts what happens, for Prometheus.
type Metrics struct {
	registry *prometheus.Registry

	uploads  *prometheus.CounterVec
	duration *prometheus.HistogramVec
	size     prometheus.Histogram
	contents prometheus.Histogram
	memory   prometheus.Histogram
	spent    [account.Labels]prometheus.Counter
	workers  prometheus.Counter

	archiveBytes, spilledBytes prometheus.Counter
	entries, files, fileBytes  *prometheus.CounterVec

	s3Requests  *prometheus.CounterVec
	s3Duration  *prometheus.HistogramVec
	s3SentBytes prometheus.Counter
	multipart   *prometheus.CounterVec
	troubles    *prometheus.CounterVec

	sent atomic.Int64 // what s3SentBytes has, for the live page
}

// NewMetrics makes the metrics of a program of that version. All that has a
// fixed set of labels is there from the start, as zero.
func NewMetrics(v Version) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.gauges("build_info", "Which build this is; always 1.", "version", "commit", "goversion").
		WithLabelValues(v.Version, v.Commit, runtime.Version()).Set(1)

	m.uploads = m.counters("uploads_total", "Requests to /upload/ that have ended, by how and why.", "outcome", "reason")
	m.duration = m.histograms("upload_duration_seconds", "How long uploads took, by how they ended.",
		[]float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 900}, "outcome")
	for outcome, of := range reasons {
		m.duration.WithLabelValues(labelValue(outcome))
		for _, reason := range of {
			m.uploads.WithLabelValues(labelValue(outcome), labelValue(reason))
		}
	}
	bytes := prometheus.ExponentialBuckets(64<<10, 4, 9) // 64 KiB to 4 GiB
	m.size = m.histogram("upload_archive_bytes", "How large the archives of stored uploads were.", bytes)
	m.contents = m.histogram("upload_entries", "How many files the archives of stored uploads had.", prometheus.ExponentialBuckets(1, 4, 8))
	m.memory = m.histogram("upload_peak_memory_bytes", "The most that uploads had at once of the memory budget, beside their fixed room.", bytes)
	spent := m.counters("upload_time_seconds_total", "What the time of ended uploads went to. Together it is the sum of spillway_upload_duration_seconds.", "on")
	for l := range account.Label(account.Labels) {
		m.spent[l] = spent.WithLabelValues(l.String())
	}
	m.workers = m.counter("upload_worker_seconds_total", "How long workers worked for ended uploads, beside the uploads' own time.")

	m.archiveBytes = m.counter("archive_bytes_total", "Bytes of archives that ended uploads read.")
	m.spilledBytes = m.counter("spilled_bytes_total", "The most that each ended upload had on the disk at once, together.")
	m.entries = m.counters("entries_total", "Entries of archives of ended uploads, by what became of them.", "result")
	m.files = m.counters("files_total", "Files in archives of ended uploads, by extension.", "kind")
	m.fileBytes = m.counters("file_bytes_total", "Bytes of files in archives of ended uploads, expanded, by extension.", "kind")

	m.s3Requests = m.counters("s3_requests_total", "Attempts at requests to the store, by operation and what they came to.", "operation", "result")
	m.s3Duration = m.histograms("s3_request_duration_seconds", "How long attempts at requests to the store took.",
		[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}, "operation")
	m.s3SentBytes = m.counter("s3_sent_bytes_total", "Bytes of the bodies of requests to the store, those of attempts in vain included.")
	m.multipart = m.counters("multipart_uploads_total", "Multipart uploads to the store, by what was done to them.", "event")
	for _, e := range multipartEvents {
		m.multipart.WithLabelValues(string(e))
	}
	m.troubles = m.counters("pressure_events_total", "Troubles of the machine that count towards pressure, by kind.", "kind")
	for _, t := range troubles {
		m.troubles.WithLabelValues(labelValue(t))
	}
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

// handler answers scrapes. What cannot be gathered is left out and logged.
func (m *Metrics) handler(log *zap.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            zap.NewStdLog(log),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
	})
}

// ended counts an upload whose outcome and reason are known ones.
func (m *Metrics) ended(e *Ended) {
	outcome := labelValue(e.Outcome)
	m.uploads.WithLabelValues(outcome, labelValue(e.Reason)).Inc()
	m.duration.WithLabelValues(outcome).Observe(e.Spent.Wall().Seconds())
	for l, d := range e.Spent.By {
		m.spent[l].Add(max(d, 0).Seconds())
	}
	m.workers.Add(max(e.Spent.Workers, 0).Seconds())

	s := &e.Shape
	if e.Outcome == Stored {
		m.size.Observe(float64(s.ArchiveBytes))
		m.contents.Observe(float64(s.Entries))
	}
	m.memory.Observe(float64(s.PeakMemoryBytes))
	add(m.archiveBytes, s.ArchiveBytes)
	add(m.spilledBytes, s.SpilledBytes)
	add(m.entries.WithLabelValues("uploaded"), int64(s.Uploaded))
	add(m.entries.WithLabelValues("skipped"), int64(s.Skipped))
	add(m.entries.WithLabelValues("ignored"), int64(s.Ignored))
	for _, k := range s.Kinds {
		kind := oneOf(kinds, k.Name)
		add(m.files.WithLabelValues(kind), int64(k.Files))
		add(m.fileBytes.WithLabelValues(kind), k.Bytes)
	}
}

// add counts n, which a counter takes only if it is not negative.
func add(c prometheus.Counter, n int64) {
	c.Add(float64(max(n, 0)))
}

// oneOf is name where it is one of the values that a label may have.
func oneOf(values []string, name string) string {
	if slices.Contains(values, name) {
		return name
	}
	return other
}

// An S3Call is one attempt at a request to the store.
type S3Call struct {
	Operation string // as the store's API calls it
	Status    int    // of the answer; 0 if there was none
	Err       error  // why there was none, or none that is whole
	Took      time.Duration
	Sent      int64 // bytes of the request's body
}

// S3Call counts a call.
func (m *Metrics) S3Call(c S3Call) {
	operation := oneOf(s3Operations, c.Operation)
	m.s3SentBytes.Add(float64(c.Sent))
	m.sent.Add(c.Sent)
	m.s3Requests.WithLabelValues(operation, s3Result(c.Status, c.Err)).Inc()
	m.s3Duration.WithLabelValues(operation).Observe(c.Took.Seconds())
}

// s3Result is what an attempt came to, as a label.
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
	return "failed" // an answer that says otherwise than its status, or breaks off
}

// Multipart counts a step of a multipart upload to the store.
func (m *Metrics) Multipart(event MultipartEvent) {
	if slices.Contains(multipartEvents, event) {
		m.multipart.WithLabelValues(string(event)).Inc()
	}
}

// Trouble counts one towards pressure.
func (m *Metrics) Trouble(t Trouble) {
	m.troubles.WithLabelValues(labelValue(t)).Inc()
}
