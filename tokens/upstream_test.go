package tokens

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"spillway/internal/account"
	"spillway/testdata/tecken"
)

// asked is a set that asks a stand-in for Tecken, in a bubble.
type asked struct {
	*Set
	t        *testing.T
	server   *tecken.Server
	down     atomic.Bool // connections are refused
	inFlight atomic.Int64
	most     atomic.Int64 // of inFlight

	mu      sync.Mutex
	results map[Result]int // without those of probes
}

// RoundTrip implements [http.RoundTripper].
func (a *asked) RoundTrip(r *http.Request) (*http.Response, error) {
	n := a.inFlight.Add(1)
	defer a.inFlight.Add(-1)
	for most := a.most.Load(); n > most && !a.most.CompareAndSwap(most, n); most = a.most.Load() {
	}
	if a.down.Load() {
		return nil, &errnoError{syscall.ECONNREFUSED}
	}
	w := httptest.NewRecorder()
	a.server.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

type errnoError struct{ error }

func (e *errnoError) Unwrap() error { return e.error }

// ask starts a stand-in with those tokens, and a set that asks it. Call it in a bubble.
func ask(t *testing.T, known map[string]tecken.Token, own ...Token) *asked {
	t.Helper()
	set, err := New(own...)
	if err != nil {
		t.Fatal(err)
	}
	a := &asked{Set: set, t: t, server: tecken.New(known), results: map[Result]int{}}
	set.AskUpstream(NewUpstream(UpstreamConfig{URL: "https://tecken.example.com/", UserAgent: "spillway/1", Log: zap.NewNop(), Transport: a, Asked: func(r Result, _ time.Duration) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if r != Probed {
			a.results[r]++
		}
	}}))
	go a.Watch(t.Context())
	return a
}

// use authenticates a request.
func (a *asked) use(given string) (Token, error) { return authenticate(a.Set, given, time.Now()) }

// want checks what becomes of a request with a token.
func (a *asked) want(what, given string, want error) {
	a.t.Helper()
	if _, err := a.use(given); !errors.Is(err, want) || want == nil && err != nil {
		a.t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// wantAsked checks how often the server was asked about a token.
func (a *asked) wantAsked(what, key string, want int) {
	a.t.Helper()
	if got := a.server.Asked(key); got != want {
		a.t.Errorf("%s: asked %d times, want %d", what, got, want)
	}
}

func (a *asked) upstream() UpstreamStatus {
	synctest.Wait()
	return *a.Status().Upstream
}

// inAYear is someone's token, with an expiry in a year.
func inAYear() tecken.Token {
	t := someone
	t.Expires = time.Now().AddDate(1, 0, 0)
	return t
}

// answerJSON answers 200 with v.
func answerJSON(w http.ResponseWriter, v any) {
	_ = json.NewEncoder(w).Encode(v) // a recorder
}

var someone = tecken.Token{Email: "someone@example.com", UserID: 7}

// What becomes of each answer.
func TestAnswersOfAnUpstream(t *testing.T) {
	const unreadable = "HTTP 200 with a body that is not Tecken's"
	info := func(change func(map[string]any)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			v := someone
			v.Expires = time.Now().Add(time.Hour)
			m := v.AuthInfo()
			change(m)
			answerJSON(w, m)
		}
	}
	for _, c := range []struct {
		name   string
		token  tecken.Token
		fault  http.HandlerFunc
		want   error
		result Result
		reason string // of an AskError
	}{
		{"a token for symbols", someone, nil, nil, Accepted, ""},
		{"a token for try symbols", tecken.Token{Email: "a@b", Try: true}, nil, nil, Accepted, ""},
		{"an unknown token", someone, refuses("API Token not matched"), ErrUnknown, Unknown, ""},
		{"an expired token", tecken.Token{Email: "a@b", Expires: time.Unix(1, 0)}, nil, ErrExpired, Expired, ""},
		{"a token with neither permission", tecken.Token{Email: "a@b", Neither: true}, nil, ErrForbidden, Forbidden, ""},
		{"a blocked user", tecken.Token{Email: "a@b", Inactive: true}, nil, ErrForbidden, Forbidden, ""},
		{"a user who is blocked now", someone, refuses("User is blocked in Auth0 and made inactive."), ErrForbidden, Forbidden, ""},
		{"a refusal that nobody knows yet", someone, refuses("The stars are not right"), ErrForbidden, Forbidden, ""},

		{"tokens turned off", someone, refuses("This requires an Auth-Token to authenticate the request (ENABLE_TOKENS_AUTHENTICATION is False)"), ErrUnchecked, Invalid, "HTTP 403: it says that there is no token. Does a proxy drop the header Auth-Token, or has it ENABLE_TOKENS_AUTHENTICATION=false?"},
		{"a firewall", someone, tecken.Answer(403, "<html>Request blocked</html>"), ErrUnchecked, Invalid, "HTTP 403 with a body that is not Tecken's"},
		{"a gateway", someone, tecken.Answer(403, `{"message":"Forbidden"}`), ErrUnchecked, Invalid, "HTTP 403 with a body that is not Tecken's"},
		{"a login page", someone, tecken.Answer(200, "<html>Sign in</html>"), ErrUnchecked, Invalid, unreadable},
		{"an empty answer", someone, tecken.Answer(200, ""), ErrUnchecked, Invalid, unreadable},
		{"another JSON", someone, tecken.Answer(200, `{"status":"ok"}`), ErrUnchecked, Invalid, unreadable},
		{"a list", someone, tecken.Answer(200, `[]`), ErrUnchecked, Invalid, unreadable},
		{"null", someone, tecken.Answer(200, `null`), ErrUnchecked, Invalid, unreadable},
		{"JSON twice", someone, tecken.Answer(200, `{}{}`), ErrUnchecked, Invalid, unreadable},
		{"no email address", someone, info(func(m map[string]any) { delete(m, "email") }), ErrUnchecked, Invalid, unreadable},
		{"an email address for terminals", someone, info(func(m map[string]any) { m["email"] = "a@b\x1b[31m" }), ErrUnchecked, Invalid, unreadable},
		{"a long email address", someone, info(func(m map[string]any) { m["email"] = strings.Repeat("a", 320) + "@b" }), ErrUnchecked, Invalid, unreadable},
		{"no permission", someone, info(func(m map[string]any) { delete(m, "try_symbols") }), ErrUnchecked, Invalid, unreadable},
		{"a permission that is none", someone, info(func(m map[string]any) { m["try_symbols"] = "yes" }), ErrUnchecked, Invalid, unreadable},
		{"no expiry", someone, info(func(m map[string]any) { delete(m, "token_expires_at") }), ErrUnchecked, Invalid, unreadable},
		{"an expiry as text", someone, info(func(m map[string]any) { m["token_expires_at"] = "2030-01-01" }), ErrUnchecked, Invalid, unreadable},
		{"a token accepted after its expiry", someone, info(func(m map[string]any) { m["token_expires_at"] = time.Now().Unix() }), ErrExpired, Expired, ""},
		{"telemetry that fails", someone, info(func(m map[string]any) { m["opentelemetry"] = 5 }), nil, Accepted, ""},
		{"a long answer", someone, tecken.Answer(200, strings.Repeat(" ", 64<<10)+"{}"), ErrUnchecked, Invalid, "the answer is too long"},
		{"a redirect", someone, redirect, ErrUnchecked, Invalid, "a redirect (HTTP 301), which is not followed"},
		{"another path", someone, tecken.Answer(404, `{"error":"Not Found"}`), ErrUnchecked, Invalid, "HTTP 404"},
		{"another host", someone, tecken.Answer(400, `{"error":"Invalid HTTP_HOST header"}`), ErrUnchecked, Invalid, "HTTP 400"},
		{"a password", someone, tecken.Answer(401, `{"error":"who are you?"}`), ErrUnchecked, Invalid, "HTTP 401"},
		{"a limit", someone, tecken.Answer(429, `{}`), ErrUnchecked, Throttled, "HTTP 429 (too many requests)"},
		{"a defect", someone, tecken.Answer(500, `{"error":"Internal Server Error"}`), ErrUnchecked, Failed, "HTTP 500"},
		{"a gateway without a server", someone, tecken.Answer(502, "<html>Bad Gateway</html>"), ErrUnchecked, Failed, "HTTP 502"},
		{"maintenance", someone, tecken.Answer(503, ""), ErrUnchecked, Failed, "HTTP 503"},
		{"no answer", someone, tecken.Hang, ErrUnchecked, Unreachable, "no answer in time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := ask(t, map[string]tecken.Token{"0123456789abcdef": c.token})
				synctest.Wait() // the first probe succeeds
				a.server.SetFault(c.fault)
				began := time.Now()
				got, err := a.use("0123456789abcdef-label-of mine")
				took := time.Since(began)
				if !errors.Is(err, c.want) || c.want == nil && err != nil {
					t.Errorf("error %v, want %v", err, c.want)
				}
				if c.want == nil && (got.Email != c.token.Email || got.OnlyTry() != c.token.Try || got.ID != c.token.UserID || got.SHA256 != Digest("0123456789abcdef")) {
					t.Errorf("token %+v", got)
				}
				if took > askTimeout {
					t.Errorf("it took %v", took)
				}
				a.mu.Lock()
				defer a.mu.Unlock()
				if a.results[c.result] == 0 {
					t.Errorf("results %v, want %s", a.results, c.result)
				}
				failure, failed := errors.AsType[*AskError](err)
				if failed != (c.reason != "") || failed && failure.Reason != c.reason {
					t.Errorf("reason %v, want %q", failure, c.reason)
				}
			})
		})
	}
}

func refuses(message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { tecken.Refuse(w, message) }
}

func redirect(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "https://elsewhere.example.com/", http.StatusMovedPermanently)
}

// The upstream gets the token without its label, and nothing that cannot be a token.
func TestWhatAnUpstreamGets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := ask(t, map[string]tecken.Token{"key": someone}, expiringIn("0", day))
		a.want("with a label", "key-a label-of mine", nil)
		a.want("of the file", "no token of the file", ErrUnknown)
		for _, given := range []string{"-label", "two words", "caf\u00e9", "\x00", "tab\t", strings.Repeat("x", maxToken+1), "key "} {
			a.want(fmt.Sprintf("%q", given), given, ErrUnknown)
		}
		a.want("no token", "", ErrMissing)
		a.want("the longest", strings.Repeat("x", maxToken), ErrUnknown)
		for _, r := range a.server.Requests() {
			if key := r.Header.Get("Auth-Token"); key != "key" && len(key) != 32 && len(key) != maxToken || r.Method != "POST" ||
				r.URL.String() != "https://tecken.example.com/upload/auth_info/" || r.Header.Get("User-Agent") != "spillway/1" || len(r.Header) != 3 || r.Header["Idempotency-Key"] != nil || r.Body != http.NoBody {
				t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
			}
		}
		if n := len(a.server.Requests()); n != 3 {
			t.Errorf("%d requests, want a probe and two tokens", n)
		}
	})
}

// The file decides about its tokens, whatever the upstream says.
func TestFileBeforeUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := expiringIn("0", -day)
		old.SHA256 = Digest("old")
		a := ask(t, map[string]tecken.Token{"old": someone}, old)
		a.want("expired in the file", "old", ErrExpired)
		a.wantAsked("of the file", "old", 0)
	})
}

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

// Clients with the same token wait for one request.
func TestAskedOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := ask(t, map[string]tecken.Token{"key": someone})
		synctest.Wait()
		a.server.SetFault(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			answerJSON(w, inAYear().AuthInfo())
		})
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { a.want("at the same time", "key", nil) })
		}
		all.Wait()
		a.wantAsked("at the same time", "key", 1)
	})
}

// A flood of tokens that were made up gets few requests through to the upstream, and neither
// delays nor replaces tokens that it has accepted.
func TestFloodOfTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := ask(t, map[string]tecken.Token{"key": someone})
		a.want("key", "key", nil)
		a.server.SetFault(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(100 * time.Millisecond)
			if r.Header.Get("Auth-Token") == "key" {
				answerJSON(w, inAYear().AuthInfo())
				return
			}
			tecken.Refuse(w, "API Token not matched")
		})
		began, before := time.Now(), len(a.server.Requests())
		var unknown, unchecked atomic.Int64
		var all sync.WaitGroup
		for i := range 500 {
			all.Go(func() {
				for n := 0; time.Since(began) < 2*time.Minute; n++ {
					_, err := a.use(fmt.Sprintf("madeup%dof%d", n, i))
					switch {
					case errors.Is(err, ErrUnknown):
						unknown.Add(1)
					case errors.Is(err, ErrUnchecked):
						unchecked.Add(1)
					default:
						t.Errorf("made up: %v", err)
					}
					time.Sleep(5 * time.Second) // as clients that retry
				}
			})
		}
		for time.Since(began) < 2*time.Minute {
			asked := time.Now()
			a.want("key", "key", nil)
			if took := time.Since(asked); took > 200*time.Millisecond {
				t.Errorf("a token that was accepted before took %v", took)
			}
			time.Sleep(10 * time.Second)
		}
		all.Wait()
		requests, bound := len(a.server.Requests())-before, askBurst+askRate*130+100
		// 10 s more for the last to wait, and 100 requests for probes and the accepted token.
		t.Logf("%d refused, %d not checked, %d requests in 2 minutes", unknown.Load(), unchecked.Load(), requests)
		if requests > bound || a.most.Load() > 2*maxAsking+1 {
			t.Errorf("%d requests, at most %d at once; want at most %d and %d", requests, a.most.Load(), bound, 2*maxAsking+1)
		}
		if unknown.Load() == 0 || unchecked.Load() == 0 {
			t.Error("want some refused, and some not checked")
		}
		answers := a.Set.upstream.answers
		if n := answers.refusals.Len(); n > maxAnswers || n != len(answers.refused) {
			t.Errorf("%d refusals are remembered, by %d digests", n, len(answers.refused))
		}
	})
}

// The memory of answers is bounded, and keeps what was asked about last.
func TestAnswersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAnswers()
		of := func(i int) digest { return sha256.Sum256(fmt.Append(nil, i)) }
		year := Token{ExpiresAt: time.Now().AddDate(1, 0, 0)}
		a.accept(of(-1), year, time.Now())
		for i := range 2 * maxAnswers {
			time.Sleep(time.Millisecond)
			a.refuse(of(i), ErrUnknown, time.Now())
		}
		if _, ok := a.acceptance(of(-1), time.Now()); !ok {
			t.Error("refusals replace an accepted token")
		}
		if len(a.refused) != maxAnswers || a.refusals.Len() != maxAnswers || a.refusal(of(2*maxAnswers-1), time.Now()) == nil || a.refusal(of(0), time.Now()) != nil {
			t.Errorf("%d refusals", len(a.refused))
		}
		for i := range maxAnswers {
			time.Sleep(time.Millisecond)
			a.accept(of(i), year, time.Now())
		}
		if _, ok := a.acceptance(of(-1), time.Now()); ok || len(a.accepted) != maxAnswers || a.inForce(time.Now()) != maxAnswers {
			t.Errorf("%d accepted, with the oldest: %t", len(a.accepted), ok)
		}
		a.refuse(of(5), ErrExpired, time.Now())
		if _, ok := a.acceptance(of(5), time.Now()); ok || a.refusal(of(5), time.Now()) == nil {
			t.Error("a refused token is accepted")
		}
		a.accept(of(5), year, time.Now())
		if a.refusal(of(5), time.Now()) != nil {
			t.Error("an accepted token is refused")
		}
	})
}

// A request on a connection that the upstream closes while it is idle is repeated on another.
func TestIdleConnectionThatIsClosed(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var conns atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			conns.Add(1)
			go func() {
				defer conn.Close()
				from := bufio.NewReader(conn)
				if _, err := http.ReadRequest(from); err != nil {
					return
				}
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 33\r\n\r\n"+`{"error":"API Token not matched"}`)
				_, _ = http.ReadRequest(from) // and no answer
			}()
		}
	}()
	u := NewUpstream(UpstreamConfig{URL: "http://" + listener.Addr().String(), Log: zap.NewNop(), Asked: func(Result, time.Duration) {}})
	for range 3 {
		if err := u.Probe(t.Context()); err != nil {
			t.Errorf("%v", err)
		}
	}
	if n := conns.Load(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}
