package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
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
