// Package observe tells people and machines about the service and its uploads: one
// log event for each upload, metrics for Prometheus, reports to Sentry, and the live
// page.
//
// It may look at everything but how uploads are received and stored. Uploads report
// to it; whatever else it shows, it is handed as functions.
package observe

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"spillway/health"
	"spillway/internal/account"
	"spillway/internal/outcome"
	"spillway/internal/sender"
	"spillway/internal/throttle"
)

// recentUploads is how many ended uploads are kept for the live page.
const recentUploads = 200

// A Sender says who sent an upload.
type Sender struct {
	sender.Sender
	TokenDigest string `json:"token_digest"` // see [tokens.ShortDigest]; empty if there is no token
}

// Progress is the state of an upload under way.
type Progress struct {
	Stage    outcome.Stage
	Expected int64 // size of the archive in bytes, approximately; 0 if unknown
	Shape    Shape
	Spent    account.Spent // up to now
}

// Ended is all there is to say about an upload that has ended.
type Ended struct {
	outcome.Result
	Status  int    // of the response
	Message string // of the response; empty for a success
	Shape   Shape
	Err     error // why the upload ended; nil for a success

	Anonymous bool // the request had no known token: anybody can send such

	// For the log only.
	User     string // e-mail address of the token's owner
	AbortErr error  // what could not be cleaned up in the store
	Receipt  string // key of the receipt; empty if there is none

	Download *Download // nil if the client sent the archive
}

// A Download says where the archive of an upload was fetched from. Its URLs have no query: that
// is often a secret.
type Download struct {
	URL       string
	Redirects []string
	Bytes     int64 // that arrived
	Requests  int   // that were sent, redirects included
	Resumes   int   // how often the download broke off and was resumed
}

// UploadsConfig configures [Uploads]. Every field must be set unless it says
// otherwise.
type UploadsConfig struct {
	Log      *zap.Logger
	Repeats  *throttle.Throttle // of the events of anonymous requests; nil: all are logged
	Metrics  *Metrics
	Reporter *Reporter // may be nil
	Outcomes *health.Outcomes
	Tracer   *Tracer // may be nil
}

// Uploads tracks the uploads under way and the last ones that ended. Each one that
// ends is logged, counted and reported.
type Uploads struct {
	cfg UploadsConfig

	mu       sync.Mutex // guards all below
	active   map[*Upload]struct{}
	ended    uint64                     // uploads that have been in recent
	recent   [recentUploads]endedUpload // a ring, by number
	refusals refusals                   // of tokens; they are not in recent
	bytes    int64                      // received by ended uploads
	counts   map[outcome.Outcome]int    // all that have ended
}

// endedUpload is an ended upload on the live page.
type endedUpload struct {
	Number  uint64          `json:"number"` // counts those on the page
	ID      int64           `json:"id"`
	At      time.Time       `json:"ended"`
	Outcome outcome.Outcome `json:"outcome"`
	Reason  outcome.Reason  `json:"reason"`
	Status  int             `json:"status"`
	Message string          `json:"message"`
	Sender  Sender          `json:"sender"`
	Shape   Shape           `json:"shape"`
	Spent   spent           `json:"spent"`
	Workers float64         `json:"workers"`
}

// activeUpload is an upload under way on the live page.
type activeUpload struct {
	ID       int64         `json:"id"`
	Stage    outcome.Stage `json:"stage"`
	Expected int64         `json:"expected"`
	Sender   Sender        `json:"sender"`
	Shape    Shape         `json:"shape"`
	Spent    spent         `json:"spent"`
	Workers  float64       `json:"workers"`
}

// spent is an account in seconds, by label.
type spent [account.Labels]float64

func seconds(a *account.Spent) (s spent) {
	for l, d := range a.By {
		s[l] = d.Seconds()
	}
	return s
}

// NewUploads returns Uploads without any.
func NewUploads(cfg UploadsConfig) *Uploads {
	return &Uploads{cfg: cfg, active: make(map[*Upload]struct{}), counts: make(map[outcome.Outcome]int)}
}

// An Upload is an upload under way.
type Upload struct {
	all    *Uploads
	id     int64
	sender Sender
	trace  *uploadTrace // nil until Trace is called, and without a Tracer

	mu   sync.Mutex      // before Uploads.mu
	look func() Progress // nil once the upload has ended
}

// Begin adds an upload of sender. look returns its state. Other goroutines call look about
// once a second, until End is called. It must wait for nothing but short locks.
// Fields of Progress that are not known yet stay empty.
func (u *Uploads) Begin(id int64, sender Sender, look func() Progress) *Upload {
	x := &Upload{all: u, id: id, sender: sender, look: look}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.active[x] = struct{}{}
	return x
}

// Trace begins the upload's span, at that time, as a part of the trace that the header of its
// request names. It returns ctx with the trace, for all requests on behalf of the upload. It
// may be called once, before anything else.
func (x *Upload) Trace(ctx context.Context, header http.Header, began time.Time) context.Context {
	x.trace = x.all.cfg.Tracer.begin(ctx, header, began)
	return x.trace.context(ctx)
}

// LogFields name the upload in the log.
func (x *Upload) LogFields() []zap.Field {
	fields := []zap.Field{zap.Int64("upload", x.id), zap.String("request_id", x.sender.RequestID)}
	if id := x.trace.loggedID(false); id != "" {
		fields = append(fields, zap.String("trace_id", id))
	}
	return fields
}

// End says how the upload ended. Call it exactly once, without a lock that look
// takes.
func (x *Upload) End(e Ended) {
	e.Normalize()
	x.mu.Lock()
	x.look = nil
	x.mu.Unlock()

	u := x.all
	u.log(x, &e)
	u.mu.Lock()
	delete(u.active, x)
	u.counts[e.Outcome]++
	if e.tokenRefused() {
		u.refusals.add(x, &e, time.Now())
	} else {
		u.ended++
		u.recent[u.ended%recentUploads] = endedUpload{
			Number: u.ended, ID: x.id, At: time.Now(), Outcome: e.Outcome, Reason: e.Reason, Status: e.Status, Message: clip(e.Message),
			Sender: x.sender, Shape: e.Shape.bounded(), Spent: seconds(&e.Spent), Workers: e.Spent.Workers.Seconds(),
		}
	}
	u.bytes += e.Shape.received()
	u.mu.Unlock()

	u.cfg.Outcomes.Add(&e.Result)
	u.cfg.Metrics.ended(&e, x.trace.exportedID(e.Anonymous))
	switch e.Outcome {
	case outcome.Defect:
		u.cfg.Reporter.defect(&x.sender, &e)
	case outcome.TimedOut:
		u.cfg.Reporter.timedOut(&x.sender, &e)
	default:
		// Caused by the client, or shown by the metrics and the heartbeat.
	}
	x.trace.end(x, &e)
}

// progress returns the state of the upload. ok is false once it has ended.
func (x *Upload) progress() (p Progress, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.look == nil {
		return Progress{}, false
	}
	return x.look(), true
}

// underWay returns the uploads under way, the oldest first, and the bytes that all
// uploads up to now have received.
func (u *Uploads) underWay() (active []activeUpload, received int64) {
	u.mu.Lock()
	all := make([]*Upload, 0, len(u.active))
	for x := range u.active {
		all = append(all, x)
	}
	received = u.bytes
	u.mu.Unlock()

	active = make([]activeUpload, 0, len(all))
	for _, x := range all {
		p, ok := x.progress()
		if !ok {
			continue
		}
		received += p.Shape.received()
		active = append(active, activeUpload{
			ID: x.id, Stage: p.Stage, Expected: p.Expected, Sender: x.sender, Shape: p.Shape.bounded(),
			Spent: seconds(&p.Spent), Workers: p.Spent.Workers.Seconds(),
		})
	}
	slices.SortFunc(active, func(a, b activeUpload) int { return cmp.Compare(a.ID, b.ID) })
	return active, received
}

// Holders returns the IDs of the uploads that have a turn, the oldest first.
func (u *Uploads) Holders() []int64 {
	active, _ := u.underWay()
	var holders []int64
	for _, a := range active {
		if a.Stage != outcome.Waiting {
			holders = append(holders, a.ID)
		}
	}
	return holders
}

// count returns how many uploads under way are in each stage.
func (u *Uploads) count() map[outcome.Stage]int {
	n := make(map[outcome.Stage]int)
	active, _ := u.underWay()
	for _, a := range active {
		n[a.Stage]++
	}
	return n
}

// outcomes returns how many uploads have ended with each outcome.
func (u *Uploads) outcomes() map[outcome.Outcome]int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.counts)
}

// refused returns the last refusals of tokens, the newest first.
func (u *Uploads) refused() []refusal {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.refusals.newest()
}

// since returns the uploads that ended after the one with that number, the oldest
// first, and the number of the last one. Only the last 200 are kept, and none that was
// refused for its token.
func (u *Uploads) since(number uint64) ([]endedUpload, uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended > recentUploads {
		number = max(number, u.ended-recentUploads)
	}
	ended := make([]endedUpload, 0, u.ended-number)
	for n := number + 1; n <= u.ended; n++ {
		ended = append(ended, u.recent[n%recentUploads])
	}
	return ended, u.ended
}
