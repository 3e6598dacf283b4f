package observe

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/getsentry/sentry-go"
	"golang.org/x/time/rate"

	"spillway/internal/account"
	"spillway/internal/guard"
)

// Only this file knows of Sentry.

const (
	// sameEvery is the least time between two events of the same kind. Those in
	// between are counted, and the next event says how many they were.
	sameEvery = time.Minute

	// All kinds together may send burst events at once, and one more for each
	// oneEvery that passes.
	burst    = 10
	oneEvery = 6 * time.Second

	// maxFingerprints bounds how many kinds of events are remembered.
	maxFingerprints = 256

	// tagRequestID is the tag with the ID of a request.
	tagRequestID = "request_id"
)

// A Reporter reports to Sentry what somebody should look at: panics and other bugs,
// failures of the janitor, a disk in trouble, uploads that timed out. It never waits
// for Sentry. It never sends request headers, tokens or e-mail addresses. A nil
// Reporter, and one without a DSN, do nothing.
type Reporter struct {
	client *sentry.Client // nil without a DSN

	limit *rate.Limiter // of all kinds together

	mu      sync.Mutex          // guards all below
	seen    map[string]*repeats // by fingerprint
	sent    int
	dropped int
}

// repeats describes one kind of event.
type repeats struct {
	reported time.Time // the last event that was sent
	dropped  int       // events since then
}

// errNotURL replaces the error of [url.Parse], which quotes the DSN with its key.
var errNotURL = errors.New("it is not a URL such as https://KEY@sentry.example.com/PROJECT")

// NewReporter returns a Reporter for a release of the program and the DSN of a Sentry
// project, which may be empty. Its error says what is wrong with the DSN without
// quoting it.
func NewReporter(dsn, release string) (*Reporter, error) {
	r := &Reporter{seen: make(map[string]*repeats), limit: rate.NewLimiter(rate.Every(oneEvery), burst)}
	if dsn == "" {
		return r, nil // with an empty DSN, the SDK would look in the environment
	}
	if _, err := url.Parse(dsn); err != nil {
		return nil, errNotURL
	}
	client, err := sentry.NewClient(sentry.ClientOptions{
		Dsn:            dsn,
		Release:        release,
		MaxBreadcrumbs: -1,
		BeforeSend:     func(e *sentry.Event, _ *sentry.EventHint) *sentry.Event { return scrub(e) },
		// Set, so that the SDK does not read them from the environment.
		IgnoreErrors:         []string{},
		DisableClientReports: true,
	})
	if err != nil {
		return nil, err
	}
	r.client = client
	return r, nil
}

// Panic reports the panic of a request.
func (r *Reporter) Panic(p *guard.PanicError, requestID string) {
	e := sentry.NewEvent()
	e.Tags[tagRequestID] = requestID
	r.panicked(fmt.Sprint(p.Value), p, e)
}

func (r *Reporter) panicked(text string, p *guard.PanicError, e *sentry.Event) {
	frames, place := parseStack(p.Stack)
	e.Level = sentry.LevelError
	e.Fingerprint = []string{"panic", place}
	e.Tags["kind"] = "panic"
	trace := new(sentry.Stacktrace)
	for _, f := range frames {
		trace.Frames = append(trace.Frames, sentry.Frame{
			Module: f.module, Function: f.function, Filename: f.file, AbsPath: f.path, Lineno: f.line, InApp: f.ours,
		})
	}
	e.Exception = []sentry.Exception{{Type: "panic", Value: text, Stacktrace: trace}}
	r.send(e)
}

// defect reports an upload that a bug of ours has ended.
func (r *Reporter) defect(s *Sender, u *Ended) {
	e := sentry.NewEvent()
	describeUpload(e, s, u)
	if p, ok := errors.AsType[*guard.PanicError](u.Err); ok {
		r.panicked(u.Err.Error(), p, e)
		return
	}
	r.failed("defect", u.Err, e)
}

// JanitorFailure reports that a cleaning task has failed, and how often in a row.
func (r *Reporter) JanitorFailure(task string, failures int, err error) {
	e := sentry.NewEvent()
	e.Tags["task"] = task
	e.Contexts["janitor"] = map[string]any{"failures_in_a_row": failures}
	r.failed("janitor", err, e, task)
}

// failed reports an error. Sentry groups errors of the same kind whose texts differ in
// names and numbers only.
func (r *Reporter) failed(kind string, err error, e *sentry.Event, group ...string) {
	if err == nil {
		err = errors.New("unknown error")
	}
	e.Level = sentry.LevelError
	e.Fingerprint = append([]string{kind}, append(group, variable.ReplaceAllString(err.Error(), "*"))...)
	e.Tags["kind"] = kind
	e.Exception = []sentry.Exception{{Type: fmt.Sprintf("%s: %T", kind, root(err)), Value: err.Error()}}
	r.send(e)
}

// variable matches what differs between instances of one error: quoted names,
// numbers, identifiers.
var variable = regexp.MustCompile(`"[^"]*"|'[^']*'|\b[0-9A-Fa-f]{8,}\b|[0-9]+`)

// root returns the innermost error of err.
func root(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// PressureOut reports that this instance takes itself out of the load balancer.
func (r *Reporter) PressureOut(why string) {
	e := sentry.NewEvent()
	e.Level = sentry.LevelError
	e.Fingerprint = []string{"pressure"}
	e.Tags["kind"] = "pressure"
	e.Message = "This instance is under pressure and takes itself out of the load balancer: " + why
	r.send(e)
}

// timedOut reports an upload that timed out. Sentry groups those with the same reason
// that spent most of their time on the same thing.
func (r *Reporter) timedOut(s *Sender, u *Ended) {
	e := sentry.NewEvent()
	e.Level = sentry.LevelWarning
	longest := u.Spent.Longest().String()
	e.Fingerprint = []string{"timed out", string(u.Reason), longest}
	e.Tags["kind"] = "timed out"
	e.Message = fmt.Sprintf("An upload timed out (%s); most of its time went to %s", u.Reason, longest)
	describeUpload(e, s, u)
	r.send(e)
}

// describeUpload adds the ID of the upload's request, its archive and where its time went.
func describeUpload(e *sentry.Event, s *Sender, u *Ended) {
	e.Tags[tagRequestID] = s.RequestID
	e.Tags["outcome"] = string(u.Outcome)
	e.Tags["reason"] = string(u.Reason)
	e.Tags["longest_on"] = u.Spent.Longest().String()
	shape := sentry.Context{}
	if data, err := json.Marshal(u.Shape.bounded()); err == nil {
		_ = json.Unmarshal(data, &shape) // an object that Marshal has just made
	}
	e.Contexts["archive"] = shape
	spent := sentry.Context{"wall_seconds": u.Spent.Wall().Seconds(), "worker_seconds": u.Spent.Workers.Seconds()}
	for l, d := range u.Spent.By {
		spent[account.Label(l).String()+"_seconds"] = d.Seconds()
	}
	e.Contexts["time"] = spent
}

// send sends an event, unless a rate limit drops it.
func (r *Reporter) send(e *sentry.Event) {
	if r == nil || r.client == nil {
		return
	}
	dropped, allowed := r.allow(strings.Join(e.Fingerprint, "\x00"))
	if !allowed {
		return
	}
	if dropped > 0 {
		e.Contexts["kept_back"] = sentry.Context{"of_this_kind": dropped}
	}
	r.client.CaptureEvent(e, nil, nil)
}

// allow applies the rate limits. For an allowed event it returns how many of the same
// kind were dropped since the last one.
func (r *Reporter) allow(fingerprint string) (dropped int, allowed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	same := r.seen[fingerprint]
	if same != nil && now.Sub(same.reported) < sameEvery || !r.limit.AllowN(now, 1) {
		r.dropped++
		if same != nil {
			same.dropped++
		}
		return 0, false
	}
	if same != nil {
		dropped = same.dropped
	} else if len(r.seen) >= maxFingerprints {
		maps.DeleteFunc(r.seen, func(_ string, s *repeats) bool { return now.Sub(s.reported) >= sameEvery })
	}
	r.seen[fingerprint] = &repeats{reported: now}
	r.sent++
	return dropped, true
}

// counts returns how many events were sent and how many the rate limits dropped.
func (r *Reporter) counts() (sent, dropped int) {
	if r == nil {
		return 0, 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent, r.dropped
}

// Close waits up to timeout for the last events to reach Sentry, and reports whether
// all have. Later events are lost.
func (r *Reporter) Close(timeout time.Duration) bool {
	if r == nil || r.client == nil {
		return true
	}
	done := r.client.Flush(timeout)
	r.client.Close()
	return done
}

// secrets matches what must not leave the process although an error may quote it:
// e-mail addresses, tokens (64 hexadecimal digits), the values of headers and
// parameters that authorize, and users and passwords in URLs.
var secrets = regexp.MustCompile(`(?i)[a-z0-9._%+-]+@[a-z0-9-]+(\.[a-z0-9-]+)+` +
	`|\b[0-9a-f]{64}\b` +
	`|\b(bearer|basic)\s+[a-z0-9._~+/=-]+` +
	`|[a-z0-9_-]*(auth-token|authorization|cookie|password|secret|signature|credential|security-token|access-?key(-?id)?)["']?\s*[:=]\s*["'\[]*[^\s"'&,\]]+` +
	`|//[^/\s@]+@`)

const scrubbed = "[scrubbed]"

// scrub removes secrets from an event.
func scrub(e *sentry.Event) *sentry.Event {
	e.User, e.Request, e.Breadcrumbs = sentry.User{}, nil, nil
	e.Message = secrets.ReplaceAllString(e.Message, scrubbed)
	for i := range e.Exception {
		e.Exception[i].Value = secrets.ReplaceAllString(e.Exception[i].Value, scrubbed)
	}
	for i := range e.Fingerprint {
		e.Fingerprint[i] = secrets.ReplaceAllString(e.Fingerprint[i], scrubbed)
	}
	for key, value := range e.Tags {
		e.Tags[key] = secrets.ReplaceAllString(value, scrubbed)
	}
	for _, context := range e.Contexts {
		scrubValues(context)
	}
	return e
}

func scrubValues(values map[string]any) {
	for key, value := range values {
		values[key] = scrubValue(value)
	}
}

func scrubValue(value any) any {
	switch v := value.(type) {
	case string:
		return secrets.ReplaceAllString(v, scrubbed)
	case map[string]any:
		scrubValues(v)
	case []any:
		for i := range v {
			v[i] = scrubValue(v[i])
		}
	}
	return value
}
