package observe_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"spillway/internal/guard"
	"spillway/internal/outcome"
	"spillway/internal/sender"
	"spillway/observe"
	"spillway/testdata/sentryserver"
)

// reported calls report with a reporter for a server, and returns the events that the
// server got.
func reported(t *testing.T, server *sentryserver.Server, report func(r *observe.Reporter)) []map[string]any {
	t.Helper()
	r, err := observe.NewReporter(server.DSN, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	report(r)
	if !r.Close(10 * time.Second) {
		t.Error("not all events were sent")
	}
	return server.Events()
}

func panicked(t *testing.T) *guard.PanicError {
	t.Helper()
	p, ok := errors.AsType[*guard.PanicError](guard.Do(func() error { panic(errors.New("a defect of entry \"app.pdb/1/app.sym\"")) }))
	if !ok {
		t.Fatal("no panic")
	}
	return p
}

func TestSentryReports(t *testing.T) {
	defect := ended(outcome.Defect, outcome.NoReason)
	defect.Err = errors.New("the table has no row 17")
	late := ended(outcome.TimedOut, outcome.IdleTooLong)
	who := observe.Sender{Sender: sender.Sender{RequestID: "a-request"}}
	const request = `"request_id":"a-request"`
	for _, c := range []struct {
		name   string
		report func(i *instance)
		level  string
		kind   string
		says   []string
	}{
		{"panic", func(i *instance) { i.reporter.Panic(panicked(t), "a-request") }, "error", "panic", []string{"a defect of entry", "observe_test.panicked", `"in_app":true`, "sentry_test.go", request}},
		{"defect", func(i *instance) { i.uploads.Begin(1, who, nil).End(defect) }, "error", "defect", []string{"the table has no row 17", `"archive_bytes":1000`, `"biggest":"a.pdb/1/a.sym"`, request}},
		{
			"time-out", func(i *instance) { i.uploads.Begin(1, who, nil).End(late) }, "warning", "timed out",
			[]string{"most of its time went to client", `"archive_bytes":1000`, `"entries":3`, `"at":"build-symbols.txt"`, `"name":"sym"`, `"client_seconds":3`, `"longest_on":"client"`, `"reason":"idle"`, request},
		},
		{"janitor", func(i *instance) { i.reporter.JanitorFailure("spill folder", 3, errCut) }, "error", "janitor", []string{errCut.Error(), `"failures_in_a_row":3`, `"task":"spill folder"`}},
		{"pressure", func(i *instance) { i.reporter.PressureOut("disk failed") }, "error", "pressure", []string{"takes itself out", "disk failed"}},
		{"test error", func(i *instance) { i.probe("/__error__", "good") }, "error", "panic", []string{"a test error"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			events := reported(t, sentryserver.Start(t), func(r *observe.Reporter) { c.report(reporting(r)) })
			if len(events) != 1 {
				t.Fatalf("%d events, want 1: %v", len(events), events)
			}
			e := events[0]
			tags, _ := e["tags"].(map[string]any)
			if e["level"] != c.level || tags["kind"] != c.kind || e["release"] != "1.2.3" {
				t.Errorf("level %v, kind %v, release %v", e["level"], tags["kind"], e["release"])
			}
			text, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.says {
				if !bytes.Contains(text, []byte(want)) {
					t.Errorf("missing %s in %s", want, text)
				}
			}
		})
	}
}

// What clients cause is not reported.
func TestSentryGetsNothingElse(t *testing.T) {
	events := reported(t, sentryserver.Start(t), func(r *observe.Reporter) {
		i := reporting(r)
		for _, o := range []outcome.Outcome{outcome.Stored, outcome.Refused, outcome.Failed, outcome.ClientGone, outcome.ShutDown} {
			i.uploads.Begin(1, observe.Sender{}, nil).End(ended(o, outcome.NoReason))
		}
		i.probe("/__error__", "bad")
		i.probe("/__heartbeat__", "")
	})
	if len(events) != 0 {
		t.Errorf("events: %v", events)
	}
}

// Secrets never reach Sentry, wherever they are.
func TestSentryGetsNoSecrets(t *testing.T) {
	token := strings.Repeat("0123456789abcdef", 4)
	secrets := []string{token, "jane@example.com", "hunter2", "AKIAEXAMPLE", "s3cr3t"}
	words := fmt.Sprintf("auth-token: %s of %s at http://me:%s@host/ with AccessKeyId=%s&password=%s", token, secrets[1], secrets[2], secrets[3], secrets[4])
	server := sentryserver.Start(t)
	events := reported(t, server, func(r *observe.Reporter) {
		i := reporting(r)
		e := ended(outcome.Defect, outcome.NoReason)
		e.Err, e.Message = errors.New(words), words
		e.Shape.Filename, e.Shape.Biggest, e.Shape.At = words, words, words
		e.Shape.Kinds = []observe.Kind{{Name: words}}
		i.uploads.Begin(1, observe.Sender{}, nil).End(e)
		r.Panic(&guard.PanicError{Value: words, Stack: debug.Stack()}, "a-request")
		r.JanitorFailure("spill folder", 1, errors.New(words))
		r.PressureOut(words)
	})
	if len(events) != 4 {
		t.Errorf("%d events, want 4", len(events))
	}
	for _, secret := range secrets {
		if strings.Contains(server.Raw(), secret) {
			t.Errorf("%s was sent: %s", secret, server.Raw())
		}
	}
}

// One kind of event is sent once a minute, even if names and numbers in it differ. Ten
// of all kinds are sent at once.
func TestSentryRateLimits(t *testing.T) {
	events := reported(t, sentryserver.Start(t), func(r *observe.Reporter) {
		for n := range 100 {
			r.JanitorFailure("multipart uploads", n, fmt.Errorf("key %q failed %d times", fmt.Sprint(n), n))
		}
	})
	if len(events) != 1 {
		t.Errorf("%d events of one kind, want 1", len(events))
	}
	events = reported(t, sentryserver.Start(t), func(r *observe.Reporter) {
		for n := range 100 {
			r.JanitorFailure(strings.Repeat("x", n), 1, errCut)
		}
	})
	if len(events) != 10 {
		t.Errorf("%d events of all kinds, want 10", len(events))
	}
}

func TestSentryWithoutDSN(t *testing.T) {
	t.Setenv("SENTRY_DSN", "http://key@127.0.0.1:1/1") // package settings reads it
	r, err := observe.NewReporter("", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*observe.Reporter{r, nil} {
		r.Panic(panicked(t), "a-request")
		r.PressureOut("why")
		r.JanitorFailure("task", 1, nil)
		if !r.Close(0) {
			t.Error("Close reports events that were not sent")
		}
	}
}

// An outage of Sentry makes nobody wait.
func TestSentryThatIsDown(t *testing.T) {
	r, err := observe.NewReporter("http://key@127.0.0.1:1/1", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	r.PressureOut("why")
	r.Close(10 * time.Second)
}
