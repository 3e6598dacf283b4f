package health

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

	"spillway/internal/account"
)

// This is the one file that knows of Sentry.

const (
	// sameEvery is how often one kind of event is reported. What is kept back
	// meanwhile is counted, and told with the next one.
	sameEvery = time.Minute

	// burst is how many events of whatever kinds are reported at once, and
	// oneEvery how often one more is.
	burst    = 10
	oneEvery = 6 * time.Second

	// maxFingerprints bounds the kinds of events that are remembered.
	maxFingerprints = 256
)

// A Reporter tells Sentry what somebody should look at: defects, cleaners that
// fail, a machine that fails, uploads that timed out. It never waits for
// Sentry. Whatever comes from a request's header, tokens and e-mail addresses
// are never sent. A nil Reporter, and one without a DSN, does nothing.
type Reporter struct {
	client *sentry.Client // nil without a DSN

	mu      sync.Mutex
	seen    map[string]*repeats // by fingerprint
	room    float64             // events that may be reported now
	since   time.Time           // when room was right
	sent    int
	dropped int
}

// repeats is what is known of one kind of event.
type repeats struct {
	reported time.Time
	kept     int // back since then
}

// errNotURL stands for what [url.Parse] says, which quotes the DSN with the keys in it.
var errNotURL = errors.New("it is not a URL such as https://KEY@sentry.example.com/PROJECT")

// NewReporter makes a reporter for a release of the program. The DSN is that of
// a Sentry project; an empty one is for none. The error says why it is no DSN, and
// has nothing of it.
func NewReporter(dsn, release string) (*Reporter, error) {
	r := &Reporter{seen: make(map[string]*repeats), room: burst, since: time.Now()}
	if dsn == "" {
		return r, nil // the SDK would look for one in the environment
	}
	if _, err := url.Parse(dsn); err != nil {
		return nil, errNotURL
	}
	client, err := sentry.NewClient(sentry.ClientOptions{
		Dsn:            dsn,
		Release:        release,
		MaxBreadcrumbs: -1,
		BeforeSend:     func(e *sentry.Event, _ *sentry.EventHint) *sentry.Event { return scrub(e) },
		// They are built in and do not go by the environment's variables.
		IgnoreErrors:         []string{},
		DisableClientReports: true,
	})
	if err != nil {
		return nil, err
	}
	r.client = client
	return r, nil
}

// Panic reports a panic: its value, and the stack as [runtime/debug.Stack]
// returns it to whoever recovered it.
func (r *Reporter) Panic(value any, stack []byte) {
	r.panicked(value, stack, sentry.NewEvent())
}

func (r *Reporter) panicked(value any, stack []byte, e *sentry.Event) {
	frames, place := parseStack(stack)
	e.Level = sentry.LevelError
	e.Fingerprint = []string{"panic", place}
	e.Tags["kind"] = "panic"
	trace := new(sentry.Stacktrace)
	for _, f := range frames {
		trace.Frames = append(trace.Frames, sentry.Frame{
			Module: f.module, Function: f.function, Filename: f.file, AbsPath: f.path, Lineno: f.line, InApp: f.ours,
		})
	}
	e.Exception = []sentry.Exception{{Type: "panic", Value: fmt.Sprint(value), Stacktrace: trace}}
	r.send(e)
}

// defect reports an upload that ended in a defect of ours.
func (r *Reporter) defect(u *Ended) {
	e := sentry.NewEvent()
	describeUpload(e, u)
	if len(u.Stack) > 0 {
		r.panicked(u.Err, u.Stack, e)
		return
	}
	r.failed("defect", u.Err, e)
}

// Defect reports an error that can only come of a defect of ours.
func (r *Reporter) Defect(err error) { r.failed("defect", err, sentry.NewEvent()) }

// JanitorFailure reports that a task that cleans up has failed, and how often
// in a row.
func (r *Reporter) JanitorFailure(task string, failures int, err error) {
	e := sentry.NewEvent()
	e.Tags["task"] = task
	e.Contexts["janitor"] = map[string]any{"failures_in_a_row": failures}
	r.failed("janitor", err, e, task)
}

// failed reports an error. Errors of one kind belong together if their words
// are the same but for names and numbers.
func (r *Reporter) failed(kind string, err error, e *sentry.Event, group ...string) {
	if err == nil {
		err = errors.New("no error is known")
	}
	e.Level = sentry.LevelError
	e.Fingerprint = append([]string{kind}, append(group, variable.ReplaceAllString(err.Error(), "*"))...)
	e.Tags["kind"] = kind
	e.Exception = []sentry.Exception{{Type: fmt.Sprintf("%s: %T", kind, root(err)), Value: err.Error()}}
	r.send(e)
}

// variable is what differs between errors that are the same: quoted names,
// numbers, identifiers.
var variable = regexp.MustCompile(`"[^"]*"|'[^']*'|\b[0-9A-Fa-f]{8,}\b|[0-9]+`)

// root is the first cause of err.
func root(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// PressureOut reports that this instance takes itself out of the balancer.
func (r *Reporter) PressureOut(why string) {
	e := sentry.NewEvent()
	e.Level = sentry.LevelError
	e.Fingerprint = []string{"pressure"}
	e.Tags["kind"] = "pressure"
	e.Message = "This instance is under pressure and takes itself out of the balancer: " + why
	r.send(e)
}

// timedOut reports an upload that took too long. They belong together if they
// spent their time in the same way.
func (r *Reporter) timedOut(u *Ended) {
	e := sentry.NewEvent()
	e.Level = sentry.LevelWarning
	longest := u.Spent.Longest().String()
	e.Fingerprint = []string{"timed out", string(u.Reason), longest}
	e.Tags["kind"] = "timed out"
	e.Message = fmt.Sprintf("An upload timed out (%s); most of its time went to %s", u.Reason, longest)
	describeUpload(e, u)
	r.send(e)
}

// describeUpload adds what an upload was and what its time went to.
func describeUpload(e *sentry.Event, u *Ended) {
	e.Tags["outcome"] = string(u.Outcome)
	e.Tags["reason"] = string(u.Reason)
	e.Tags["longest_on"] = u.Spent.Longest().String()
	shape := sentry.Context{}
	if data, err := json.Marshal(u.Shape.bounded()); err == nil {
		_ = json.Unmarshal(data, &shape) // it is an object of our own making
	}
	e.Contexts["archive"] = shape
	spent := sentry.Context{"wall_seconds": u.Spent.Wall().Seconds(), "worker_seconds": u.Spent.Workers.Seconds()}
	for l, d := range u.Spent.By {
		spent[account.Label(l).String()+"_seconds"] = d.Seconds()
	}
	e.Contexts["time"] = spent
}

// send hands an event on, if there has not been too much of it.
func (r *Reporter) send(e *sentry.Event) {
	if r == nil || r.client == nil {
		return
	}
	kept, allowed := r.allow(strings.Join(e.Fingerprint, "\x00"))
	if !allowed {
		return
	}
	if kept > 0 {
		e.Contexts["kept_back"] = sentry.Context{"of_this_kind": kept}
	}
	r.client.CaptureEvent(e, nil, nil)
}

// allow applies the rate limits. It returns how many events of that kind were
// kept back before one that is allowed.
func (r *Reporter) allow(fingerprint string) (kept int, allowed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.room = min(burst, r.room+float64(now.Sub(r.since))/float64(oneEvery))
	r.since = now
	same := r.seen[fingerprint]
	if r.room < 1 || same != nil && now.Sub(same.reported) < sameEvery {
		r.dropped++
		if same != nil {
			same.kept++
		}
		return 0, false
	}
	if same != nil {
		kept = same.kept
	} else if len(r.seen) >= maxFingerprints {
		maps.DeleteFunc(r.seen, func(_ string, s *repeats) bool { return now.Sub(s.reported) >= sameEvery })
	}
	r.seen[fingerprint] = &repeats{reported: now}
	r.room--
	r.sent++
	return kept, true
}

// counts returns how many events were handed on and how many were kept back.
func (r *Reporter) counts() (sent, dropped int) {
	if r == nil {
		return 0, 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent, r.dropped
}

// Close sends what has been handed on but not sent yet, within timeout, and
// reports whether that was all. What is reported later is lost.
func (r *Reporter) Close(timeout time.Duration) bool {
	if r == nil || r.client == nil {
		return true
	}
	done := r.client.Flush(timeout)
	r.client.Close()
	return done
}

// secrets are what must not leave the process, should it get into an error's
// words: e-mail addresses, tokens (64 hexadecimal digits), values of headers
// and parameters that authorise, and users and passwords in URLs.
var secrets = regexp.MustCompile(`(?i)[a-z0-9._%+-]+@[a-z0-9-]+(\.[a-z0-9-]+)+` +
	`|\b[0-9a-f]{64}\b` +
	`|\b(bearer|basic)\s+[a-z0-9._~+/=-]+` +
	`|[a-z0-9_-]*(auth-token|authorization|cookie|password|secret|signature|credential|security-token|access-?key(-?id)?)["']?\s*[:=]\s*["'\[]*[^\s"'&,\]]+` +
	`|//[^/\s@]+@`)

const scrubbed = "[scrubbed]"

// scrub removes from an event what must not leave the process.
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
