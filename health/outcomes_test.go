package health_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"spillway/internal/account"
	"spillway/internal/outcome"
)

// end makes an upload end that was receiving its archive.
func (i *instance) end(r outcome.Result) { i.endAt(outcome.Receiving, r) }

// endAt makes an upload end that had reached a stage.
func (i *instance) endAt(stage outcome.Stage, r outcome.Result) {
	r.Stage = stage
	i.outcomes.Add(&r)
}

// uploadsCheck returns the check "uploads" of the heartbeat.
func (i *instance) uploadsCheck(t *testing.T) (level, message string) {
	t.Helper()
	status, body := i.do(http.MethodGet, "/__heartbeat__", "")
	var beat struct {
		Checks  map[string]string
		Details map[string]struct{ Messages map[string]string }
	}
	if err := json.Unmarshal([]byte(body), &beat); err != nil {
		t.Fatal(err)
	}
	if failed := beat.Checks["uploads"] == "error"; failed != (status == http.StatusInternalServerError) {
		t.Errorf("%d %s", status, body)
	}
	return beat.Checks["uploads"], beat.Details["uploads"].Messages["spillway.uploads"]
}

var (
	stored      = outcome.Result{Outcome: outcome.Stored}
	storeFailed = outcome.Result{Outcome: outcome.Failed, Reason: outcome.StoreFailed, Detail: "UploadPart: SlowDown"}
	noRoom      = outcome.Result{Outcome: outcome.Refused, Reason: outcome.NoRoom}
)

func timedOut(on account.Label) outcome.Result {
	e := outcome.Result{Outcome: outcome.TimedOut, Reason: outcome.TotalTooLong}
	e.Spent.By[on] = time.Minute
	return e
}

// The heartbeat says that uploads fail and none is stored, and why. It is ok again
// with the next stored upload, or when no upload has failed for five minutes.
func TestFailuresOfUploads(t *testing.T) {
	type step struct {
		after time.Duration
		ended []outcome.Result
		level string
		says  string
	}
	several := func(e outcome.Result, n int) (all []outcome.Result) {
		for range n {
			all = append(all, e)
		}
		return all
	}
	for name, steps := range map[string][]step{
		"no uploads":            {{0, nil, "ok", ""}, {time.Hour, nil, "ok", ""}},
		"all are stored":        {{0, several(stored, 5), "ok", ""}},
		"one fails":             {{0, several(stored, 5), "ok", ""}, {time.Second, several(storeFailed, 1), "warning", "1 failed"}, {time.Second, several(stored, 1), "ok", ""}},
		"the only upload fails": {{0, several(storeFailed, 1), "warning", "No upload has been stored since the start. 1 failed since 00:00:00 UTC"}, {5 * time.Minute, nil, "ok", ""}},
		"two fail":              {{0, several(storeFailed, 2), "error", "2 because S3 failed. The last failed at UploadPart: SlowDown. See the check storage"}, {5*time.Minute - 1, nil, "error", ""}, {1, nil, "ok", ""}},
		"a patient client": {
			{0, several(stored, 1), "ok", ""},
			{time.Minute, several(storeFailed, 1), "warning", "since 00:00:00 UTC"},
			{time.Minute, several(storeFailed, 1), "error", "2 failed since 00:01:00 UTC"},
			{time.Minute, several(storeFailed, 1), "error", "3 failed"},
			{time.Minute, several(stored, 1), "warning", "Of 5 uploads in the last 5m0s, 3 failed"},
			{5 * time.Minute, nil, "ok", ""},
		},
		"hours later": {{0, several(storeFailed, 9), "error", ""}, {time.Hour, several(storeFailed, 1), "warning", "1 failed since 01:00:00 UTC"}},
		"large ones fail and small ones do not": {
			{0, append(several(storeFailed, 3), stored), "warning", "Of 4 uploads in the last 5m0s, 3 failed"},
			{time.Minute, several(stored, 3), "ok", ""},
		},
		"several causes": {{0, append(several(timedOut(account.OnStore), 3), storeFailed), "error", "1 because S3 failed, 3 because S3 was too slow for --upload-timeout"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newInstance()
				for n, s := range steps {
					time.Sleep(s.after)
					for _, e := range s.ended {
						i.end(e)
					}
					if level, message := i.uploadsCheck(t); level != s.level || !strings.Contains(message, s.says) {
						t.Errorf("step %d: %s: %q; want %s: %q", n, level, message, s.level, s.says)
					}
				}
			})
		})
	}
}

// What a client causes never counts as a failure. All else does.
func TestWhatCountsAsFailure(t *testing.T) {
	for name, c := range map[string]struct {
		ended outcome.Result
		says  string // empty: does not count
	}{
		"store":          {storeFailed, "S3 failed"},
		"disk":           {outcome.Result{Outcome: outcome.Failed, Reason: outcome.DiskFailing}, "the spill disk failed"},
		"unknown reason": {outcome.Result{Outcome: outcome.Failed, Reason: "new"}, "something else"},
		"defect":         {outcome.Result{Outcome: outcome.Defect}, "a bug in Spillway"},
		"slow store":     {timedOut(account.OnStore), "S3 was too slow"},
		"slow room":      {timedOut(account.OnMemory), "waited for memory"},
		"slow disk":      {timedOut(account.OnDisk), "disk was too slow"},
		"slow machine":   {timedOut(account.OnCPU), "too little CPU"},
		"slow client":    {timedOut(account.OnClient), ""},
		"slow remote":    {timedOut(account.OnRemote), ""},
		"idle client":    {outcome.Result{Outcome: outcome.TimedOut, Reason: outcome.IdleTooLong}, ""},
		"client gone":    {outcome.Result{Outcome: outcome.ClientGone}, ""},
		"shut down":      {outcome.Result{Outcome: outcome.ShutDown}, ""},
		"bad token":      {outcome.Result{Outcome: outcome.Refused, Reason: outcome.BadToken}, ""},
		"bad form":       {outcome.Result{Outcome: outcome.Refused, Reason: outcome.BadForm}, ""},
		"bad name":       {outcome.Result{Outcome: outcome.Refused, Reason: outcome.BadName}, ""},
		"bad archive":    {outcome.Result{Outcome: outcome.Refused, Reason: outcome.BadArchive}, ""},
		"too large":      {outcome.Result{Outcome: outcome.Refused, Reason: outcome.TooLarge}, ""},
		"token limit":    {outcome.Result{Outcome: outcome.Refused, Reason: outcome.TokenBusy}, ""},
		"bad URL":        {outcome.Result{Outcome: outcome.Refused, Reason: outcome.BadURL}, ""},
		"remote down":    {outcome.Result{Outcome: outcome.Refused, Reason: outcome.RemoteDown}, ""},
		"refused, other": {outcome.Result{Outcome: outcome.Refused, Reason: outcome.OtherCause}, ""},
	} {
		i := newInstance()
		for range 50 {
			i.end(c.ended)
		}
		level, message := i.uploadsCheck(t)
		if counts := level == "error"; counts != (c.says != "") || !strings.Contains(message, c.says) {
			t.Errorf("%s: %s: %q", name, level, message)
		}
	}
}

// Refusals for lack of room are a warning after a minute, and an error after five. One
// client that retries every minute and waits for its turn is enough.
func TestRefusalsThatGoOn(t *testing.T) {
	for name, c := range map[string]struct {
		every  time.Duration // between refusals
		stored int           // uploads stored with each refusal
		lasts  time.Duration
		level  string
	}{
		"a moment":                {time.Second, 0, 59 * time.Second, "ok"},
		"a minute":                {time.Second, 0, 60 * time.Second, "warning"},
		"most of five":            {time.Second, 0, 299 * time.Second, "warning"},
		"five minutes":            {time.Second, 0, 300 * time.Second, "error"},
		"one client":              {90 * time.Second, 0, 90 * time.Second, "warning"},
		"one patient client":      {90 * time.Second, 0, 360 * time.Second, "error"},
		"rarely":                  {121 * time.Second, 0, time.Hour, "ok"},
		"while others are stored": {time.Second, 2, time.Hour, "warning"},
		"while a few are stored":  {time.Second, 1, time.Hour, "error"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newInstance()
				for at := time.Duration(0); at <= c.lasts; at += c.every {
					if at > 0 {
						time.Sleep(c.every)
					}
					i.endAt(outcome.Waiting, noRoom)
					for range c.stored {
						i.end(stored)
					}
				}
				if level, message := i.uploadsCheck(t); level != c.level {
					t.Errorf("%s: %q, want %s", level, message, c.level)
				}
				time.Sleep(2 * time.Minute)
				if level, message := i.uploadsCheck(t); level != c.level {
					t.Errorf("two minutes after the last: %s: %q, want %s", level, message, c.level)
				}
				time.Sleep(time.Nanosecond)
				if level, message := i.uploadsCheck(t); level != "ok" {
					t.Errorf("after the series: %s: %q", level, message)
				}
			})
		})
	}
}

// The message names the oldest uploads that have a turn, and the setting that would
// help.
func TestRefusalsNameTheHolders(t *testing.T) {
	for _, c := range []struct {
		stage outcome.Stage
		ended outcome.Result
		says  string
	}{
		{outcome.Waiting, noRoom, "61 because every turn was taken; the last 0s ago. 4 uploads have a turn; the oldest are 100, 101, 102. The live page shows what they wait for. Raise --max-uploads"},
		{outcome.Receiving, noRoom, "memory was used up; the last 0s ago. 4 uploads have a turn; the oldest are 100, 101, 102. The live page shows what they wait for. Raise --memory"},
		{outcome.Receiving, outcome.Result{Outcome: outcome.Refused, Reason: outcome.NoSpill}, "the spill quota was used up; the last 0s ago. 4 uploads have a turn; the oldest are 100, 101, 102. The live page shows what they wait for. Raise --spill-quota"},
	} {
		synctest.Test(t, func(t *testing.T) {
			i := newInstance()
			i.holders = []int64{100, 101, 102, 103}
			for range 61 {
				i.endAt(c.stage, c.ended)
				time.Sleep(time.Second)
			}
			i.endAt(c.stage, c.ended)
			_, message := i.uploadsCheck(t)
			if want := "Uploads have been refused for lack of room for 1m1s: "; !strings.HasPrefix(message, want) || !strings.Contains(message, strings.Replace(c.says, "61 because", "62 because", 1)) {
				t.Errorf("%s, %s: %q", c.stage, c.ended.Reason, message)
			}
		})
	}
}

// Nothing counts for longer than the window.
func TestOutcomesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInstance()
		for n := range 1000 {
			i.end([]outcome.Result{stored, storeFailed, noRoom}[n%3])
			time.Sleep(time.Duration(n%40) * time.Second)
		}
		time.Sleep(5 * time.Minute)
		if level, message := i.uploadsCheck(t); level != "ok" {
			t.Errorf("%s: %q", level, message)
		}
		if all := fmt.Sprint(i.do(http.MethodGet, "/__lbheartbeat__", "")); !strings.Contains(all, "200") {
			t.Errorf("the load balancer gets %s", all)
		}
	})
}
