package tokens

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"spillway/internal/account"
	"spillway/testdata/tecken"
)

// An accepted token is asked about every five minutes, a refused one every thirty seconds, and
// neither in between.
func TestAnswersAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := ask(t, map[string]tecken.Token{"good": someone})
		for range 10 {
			a.want("good", "good", nil)
			a.want("bad", "bad", ErrUnknown)
		}
		a.wantAsked("good", "good", 1)
		a.wantAsked("bad", "bad", 1)
		time.Sleep(refusedFor - time.Second)
		a.server.Set("bad", someone)
		a.want("created, but refused a moment ago", "bad", ErrUnknown)
		time.Sleep(time.Second)
		a.want("created", "bad", nil)
		a.server.Revoke("good")
		time.Sleep(acceptedFor - refusedFor - time.Second)
		a.want("revoked, but accepted lately", "good", nil)
		a.wantAsked("good", "good", 1)
		time.Sleep(time.Second)
		a.want("revoked", "good", ErrUnknown)
		a.wantAsked("good", "good", 2)
		if s := a.upstream(); s.Reason != "" || s.Failure != "" || s.Accepted != 1 || !s.LastUse.Equal(time.Now().Add(-time.Second).Truncate(time.Second)) {
			t.Errorf("%+v", s)
		}
	})
}

// No answer is used beyond the token's expiry, and one that was extended works again.
func TestAcceptedTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		short := someone
		short.Expires = time.Now().Add(time.Minute)
		a := ask(t, map[string]tecken.Token{"short": short})
		a.want("before", "short", nil)
		time.Sleep(time.Minute)
		if s := a.upstream(); s.Accepted != 0 {
			t.Errorf("%+v", s)
		}
		a.want("after", "short", ErrExpired)
		a.wantAsked("after", "short", 2)
		short.Expires = time.Now().Add(time.Hour)
		a.server.Set("short", short)
		time.Sleep(refusedFor)
		a.want("extended", "short", nil)
		a.down.Store(true)
		time.Sleep(time.Hour)
		a.want("expired while nobody can be asked", "short", ErrUnchecked)
	})
}

// While the upstream is down, tokens that it has accepted work without delay, and others are
// neither accepted nor refused. When it is back, it is asked at once.
func TestUpstreamThatIsDown(t *testing.T) {
	for name, fault := range map[string]func(*asked, bool){
		"refuses connections": func(a *asked, on bool) { a.down.Store(on) },
		"hangs":               faulty(tecken.Hang),
		"is in maintenance":   faulty(tecken.Answer(503, "")),
		"throttles":           faulty(tecken.Answer(429, "")),
		"is a login page":     faulty(tecken.Answer(200, "<html>")),
		"redirects":           faulty(redirect),
		"refuses everything":  faulty(refuses("Forbidden")),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := ask(t, map[string]tecken.Token{"used": someone, "new": someone})
				a.want("before", "used", nil)
				fault(a, true)
				time.Sleep(time.Minute)
				if s := a.upstream(); s.Reason == "" || time.Since(s.Since) > time.Minute || s.Accepted != 1 {
					t.Errorf("down: %+v", s)
				}
				time.Sleep(acceptedFor)
				before, began := len(a.server.Requests()), time.Now()
				for range 100 {
					a.want("accepted before", "used-label", nil)
					a.want("another", "new", ErrUnchecked)
					a.want("made up", "madeup", ErrUnchecked)
				}
				if took := time.Since(began); took != 0 || len(a.server.Requests()) != before {
					t.Errorf("300 uploads took %v and %d requests", took, len(a.server.Requests())-before)
				}
				fault(a, false)
				time.Sleep(probeIll + askTimeout)
				a.want("back", "used", nil)
				a.want("back", "new", nil)
				if s := a.upstream(); s.Reason != "" || s.Failure != "" {
					t.Errorf("back: %+v", s)
				}
			})
		})
	}
}

// An accepted token works for a day while the upstream is down.
func TestUpstreamThatIsDownForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := ask(t, map[string]tecken.Token{"used": someone, "idle": someone})
		a.want("before", "idle", nil)
		time.Sleep(time.Hour)
		a.want("before", "used", nil)
		a.down.Store(true)
		time.Sleep(staleFor - time.Second)
		a.want("a day later", "used", nil)
		a.want("not asked about for longer", "idle", ErrUnchecked)
		if s := a.upstream(); s.Accepted != 1 {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Second)
		a.want("a moment later", "used", ErrUnchecked)
		a.down.Store(false)
		time.Sleep(probeIll + time.Second)
		a.want("back", "idle", nil)
	})
}

func faulty(fault http.HandlerFunc) func(*asked, bool) {
	return func(a *asked, on bool) {
		if on {
			a.server.SetFault(fault)
		} else {
			a.server.SetFault(nil)
		}
	}
}

// In the moments before probes notice, an upload waits for at most the timeout.
func TestUpstreamThatGoesDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := ask(t, map[string]tecken.Token{"used": someone})
		a.want("before", "used", nil)
		time.Sleep(acceptedFor)
		a.server.SetFault(tecken.Hang)
		account := account.New()
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/upload/", nil)
		r.Header.Set("Auth-Token", "used")
		if _, err := a.Authenticate(r, time.Now(), account); err != nil {
			t.Error(err)
		}
		if s := account.Spent(); s.Wall() != askTimeout || s.Longest().String() != "remote" {
			t.Errorf("it took %v, most of it on %v", s.Wall(), s.Longest())
		}
		a.want("another", "another", ErrUnchecked)
		time.Sleep(2*askTimeout + probeAgain)
		if s := a.upstream(); s.Reason != "no answer in time" {
			t.Errorf("%+v", s)
		}
	})
}

// At the start, uploads wait for the first probe. Without it, none is accepted.
func TestUpstreamThatIsDownAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := ask(t, map[string]tecken.Token{"key": someone})
		a.down.Store(true)
		a.want("down", "key", ErrUnchecked)
		if s := a.upstream(); s.Reason != syscall.ECONNREFUSED.Error() {
			t.Errorf("%+v", s)
		}
		a.down.Store(false)
		time.Sleep(probeIll)
		synctest.Wait()
		a.want("up", "key", nil)
	})
}

// An upstream that accepts anything is not believed, nor is what it has accepted since it was
// last known not to. What it accepted before stays.
func TestUpstreamThatAcceptsAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := ask(t, map[string]tecken.Token{"good": someone})
		a.want("good", "good", nil)
		time.Sleep(probeWell + time.Second)
		a.server.SetFault(func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, inAYear().AuthInfo()) })
		a.want("before it is noticed", "made-up", nil)
		time.Sleep(probeWell)
		a.want("made up", "made-up", ErrUnchecked)
		a.want("made up", "another", ErrUnchecked)
		a.want("good", "good", nil)
		if s := a.upstream(); s.Reason != errAcceptsAny.Reason || s.Accepted != 1 {
			t.Errorf("%+v", s)
		}
		a.server.SetFault(nil)
		time.Sleep(probeIll + time.Second)
		a.want("made up", "made-up", ErrUnknown)
	})
}

// One failed probe, and failures about single tokens, change nothing for others. The status
// shows the latter, until a request succeeds.
func TestUpstreamThatFailsNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := ask(t, map[string]tecken.Token{"one": someone, "two": someone})
		a.want("one", "one", nil)
		time.Sleep(acceptedFor)
		a.server.SetFault(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Auth-Token") == "one" {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			tecken.Refuse(w, "API Token not matched")
		})
		for range 3 {
			a.want("accepted before, now a 500", "one", nil)
			time.Sleep(time.Second)
		}
		if s := a.upstream(); s.Reason != "" || s.Failure != "HTTP 500" {
			t.Errorf("%+v", s)
		}
		a.server.SetFault(nil)
		a.want("two", "two", nil)
		if s := a.upstream(); s.Failure != "" {
			t.Errorf("%+v", s)
		}

		var failed atomic.Bool
		a.server.SetFault(func(w http.ResponseWriter, r *http.Request) {
			if failed.CompareAndSwap(false, true) {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			tecken.Refuse(w, "API Token not matched")
		})
		for range 2 * probeWell / time.Second {
			time.Sleep(time.Second)
			if s := a.upstream(); s.Reason != "" {
				t.Fatalf("one failed probe: %+v", s)
			}
		}
		if !failed.Load() {
			t.Error("no probe failed")
		}
	})
}

// What failed while the upstream was down is not shown once it is back.
func TestFailureBeforeAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := ask(t, map[string]tecken.Token{"key": someone})
		synctest.Wait()
		a.down.Store(true)
		a.want("down", "key", ErrUnchecked)
		time.Sleep(2*probeAgain + time.Millisecond)
		a.down.Store(false)
		time.Sleep(probeIll)
		if s := a.upstream(); s.Reason != "" || s.Failure != "" {
			t.Errorf("%+v", s)
		}
	})
}
