package upload

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"spillway/internal/outcome"
	"spillway/testdata/tecken"
	"spillway/tokens"
)

// newSiteAsking returns a site that asks a stand-in for Tecken, with that fault, about tokens.
func newSiteAsking(t *testing.T, known map[string]tecken.Token, fault http.HandlerFunc, change ...func(*Config)) *site {
	t.Helper()
	server := tecken.Start(t, known)
	server.SetFault(fault)
	set, err := tokens.New(tokens.Dev()...)
	if err != nil {
		t.Fatal(err)
	}
	set.AskUpstream(tokens.NewUpstream(tokens.UpstreamConfig{URL: server.URL, Log: zap.NewNop(), Asked: func(tokens.Result, time.Duration) {}}))
	go set.Watch(t.Context())
	return newSite(t, append(change, func(c *Config) { c.Tokens = set })...)
}

// TestTokensOfAnUpstream checks the answers to uploads with tokens that only a Tecken knows.
func TestTokensOfAnUpstream(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	const unchecked = "The token cannot be checked at the moment: the server that knows it cannot be asked, or too many other tokens are being checked. Nothing is wrong with the upload: trying it again later is safe."
	regular := tecken.Token{Email: "someone@example.com", UserID: 7}
	only := func(change func(*tecken.Token)) map[string]tecken.Token {
		token := regular
		change(&token)
		return map[string]tecken.Token{key: token}
	}
	known := func(*tecken.Token) {}
	redirect := http.RedirectHandler("https://elsewhere.example.com/", http.StatusMovedPermanently).ServeHTTP
	anything := func(w http.ResponseWriter, _ *http.Request) {
		always := regular
		always.Expires = time.Now().Add(time.Hour)
		_ = json.NewEncoder(w).Encode(always.AuthInfo())
	}
	for _, c := range []struct {
		name    string
		known   map[string]tecken.Token
		fault   http.HandlerFunc
		given   string
		status  int
		message string // empty: stored
		try     bool
	}{
		{"symbols", only(known), nil, key, 201, "", false},
		{"with a label", only(known), nil, key + "-linux64-nightly", 201, "", false},
		{"try symbols", only(func(t *tecken.Token) { t.Try = true }), nil, key, 201, "", true},
		{"unknown", only(known), nil, "fedcba9876543210", 403, "API Token not matched", false},
		{"only a label", only(known), nil, "-" + key, 403, "API Token not matched", false},
		{"expired", only(func(t *tecken.Token) { t.Expires = time.Unix(1, 0) }), nil, key, 403, "API Token found but expired", false},
		{"without permission", only(func(t *tecken.Token) { t.Neither = true }), nil, key, 403, "Forbidden", false},
		{"of a blocked user", only(func(t *tecken.Token) { t.Inactive = true }), nil, key, 403, "Forbidden", false},
		{"no token", only(known), nil, "", 403, "This requires an Auth-Token to authenticate the request", false},
		{"of the file", only(known), tecken.Answer(500, ""), "dev", 201, "", false},
		{"slow", only(known), slow, key, 201, "", false},
		{"hangs", only(known), tecken.Hang, key, 503, unchecked, false},
		{"down", only(known), tecken.Answer(502, "<html>"), key, 503, unchecked, false},
		{"throttles", only(known), tecken.Answer(429, ""), key, 503, unchecked, false},
		{"redirects", only(known), redirect, key, 503, unchecked, false},
		{"a login page", only(known), tecken.Answer(200, "<html>"), key, 503, unchecked, false},
		{"a firewall", only(known), tecken.Answer(403, "<html>"), key, 503, unchecked, false},
		{"accepts anything", only(known), anything, key, 503, unchecked, false},
		{"refuses everything", only(known), tecken.Answer(403, `{"error":"Forbidden"}`), key, 503, unchecked, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSiteAsking(t, c.known, c.fault)
			var header []string
			if c.given != "" {
				header = append(header, "Auth-Token: "+c.given)
			}
			r := s.upload(s.serve(), symbolForm(), header...)
			if r.StatusCode != c.status || c.message != "" && r.message() != c.message {
				t.Errorf("%d %s, want %d %q", r.StatusCode, r.body, c.status, c.message)
			}
			event := s.event()
			if c.status == 503 && (event["reason"] != string(outcome.Unchecked) || event["outcome"] != string(outcome.Refused) || event["user"] != "") {
				t.Errorf("event %v", event)
			}
			if c.status != 201 {
				return
			}
			user := "someone@example.com"
			if c.given == "dev" {
				user = "dev@example.com"
			}
			var stored struct{ Upload storedUpload }
			if err := json.Unmarshal(r.body, &stored); err != nil || stored.Upload.User != user || stored.Upload.TrySymbols != c.try || event["user"] != user || event["try"] != c.try {
				t.Errorf("%s, %v; event %v; want %s, try %t", r.body, err, event, user, c.try)
			}
		})
	}
}

// slow answers after a second, as the server does.
func slow(w http.ResponseWriter, r *http.Request) {
	time.Sleep(time.Second)
	tecken.New(map[string]tecken.Token{"0123456789abcdef0123456789abcdef": {Email: "someone@example.com"}}).ServeHTTP(w, r)
}

// The limits of one token hold for those of an upstream, too.
func TestLimitsOfATokenOfAnUpstream(t *testing.T) {
	s := newSiteAsking(t, map[string]tecken.Token{"key": {Email: "a@b"}, "other": {Email: "a@b"}}, nil, func(c *Config) { c.MaxTokenUploads = 1 })
	address := s.serve()
	first := dial(t, address)
	first.send(request(len(symbolForm()), "Auth-Token: key-one"), string(symbolForm()[:100]))
	for s.budget.Usage().Floors == 0 {
		time.Sleep(time.Millisecond)
	}
	if r := s.upload(address, symbolForm(), "Auth-Token: key-two"); r.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a second upload with the token: %d %s", r.StatusCode, r.body)
	}
	if r := s.upload(address, symbolForm(), "Auth-Token: other"); r.StatusCode != http.StatusCreated {
		t.Errorf("an upload with another token: %d %s", r.StatusCode, r.body)
	}
	first.send(string(symbolForm()[100:]))
	if r := first.reply(); r.StatusCode != http.StatusCreated {
		t.Errorf("the first upload: %d %s", r.StatusCode, r.body)
	}
}

// A client whose token cannot be checked is drained as one without a token.
func TestDrainOfUncheckedTokens(t *testing.T) {
	s := newSiteAsking(t, nil, tecken.Answer(502, ""))
	for range maxStrangerDrains {
		s.api.strangerDrains <- struct{}{}
	}
	c := dial(t, s.serve())
	c.send(request(1<<20, "Auth-Token: key"), strings.Repeat("x", 1000))
	if r := c.reply(); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	answered := time.Now()
	c.closed()
	if took := time.Since(answered); took > s.api.cfg.IdleTimeout/2 {
		t.Errorf("the body is waited for although no slot is free: closed after %v", took)
	}
}
