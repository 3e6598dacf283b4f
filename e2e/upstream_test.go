package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/remote"
	"spillway/testdata/sentryserver"
	"spillway/testdata/tecken"
)

// authInfoOf returns the answer of POST /upload/auth_info/.
func authInfoOf(t *testing.T, api, token string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(client.Within(t), http.MethodPost, api+"/upload/auth_info/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Auth-Token", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if retry := resp.Header.Get("Retry-After"); (retry != "") != (resp.StatusCode == http.StatusServiceUnavailable) {
		t.Errorf("status %d with Retry-After %q", resp.StatusCode, retry)
	}
	return resp.StatusCode, string(text)
}

// Tokens that a Tecken knows.
const (
	regularToken = "0123456789abcdef0123456789abcdef"
	tryToken     = "fedcba9876543210fedcba9876543210"
	newToken     = "11111111111111111111111111111111" // not yet
)

// mover is a program without a tokens file, and the Tecken that it asks.
type mover struct {
	system
	backend backend
	flags   []string
	tecken  *tecken.Server
	expires time.Time // of the tokens
	address string    // of Tecken
	front   *http.Server
}

func startMover(t *testing.T) *mover {
	t.Helper()
	m := &mover{backend: newBackend(t), expires: time.Now().AddDate(0, 6, 0)}
	m.tecken = tecken.New(map[string]tecken.Token{
		regularToken: {Email: "someone@example.com", UserID: 7, Expires: m.expires},
		tryToken:     {Email: "tester@example.com", UserID: 8, Try: true, Expires: m.expires},
	})
	m.front = &http.Server{Handler: m.tecken}
	m.address = serveAt(t, m.front, "127.0.0.1:0")
	m.flags = append(m.backend.flags(""), "--tokens-upstream=http://"+m.address)
	m.system = system{start(t, m.backend.credentials(), m.flags...), m.backend.Bucket}
	return m
}

// wantCheck checks what spillway check says of the tokens.
func (m *mover) wantCheck(t *testing.T, status, found string) {
	t.Helper()
	_, report := runCheck(t, m.backend.credentials(), m.flags...)
	if row := report.row(t, "tokens"); row.Status != status || !strings.Contains(row.Found, found) {
		t.Errorf("check says %+v, want %s and %q", row, status, found)
	}
}

// wantUpload uploads the n-th file.
func (m *mover) wantUpload(t *testing.T, token string, n uint64, want int) {
	t.Helper()
	a := client.MustSend(t, m.API, token, archive.GoWriter(archive.File{Name: archive.SymbolsName(n), Data: archive.Symbols(n, 1000)}))
	if a.Status != want {
		t.Errorf("%+v, want status %d", a, want)
	}
}

func (m *mover) wantAuthInfo(t *testing.T, token string, status int, part string) {
	t.Helper()
	if got, body := authInfoOf(t, m.API, token); got != status || !strings.Contains(body, part) {
		t.Errorf("auth_info: %d %s, want %d %s", got, body, status, part)
	}
}

// TestTokensUpstream: somebody moves from Tecken, without any tokens file. Tecken's tokens work,
// and are described as here.
func TestTokensUpstream(t *testing.T) {
	t.Parallel()
	m := startMover(t)
	m.wantCheck(t, "ok", "0 of 0 tokens may upload. The server of --tokens-upstream answers.")
	if h := client.GetHeartbeat(t, m.API); h.Status != http.StatusOK || h.Checks["tokens"] != "ok" {
		t.Errorf("well: %+v", h)
	}
	m.wantUpload(t, regularToken+"-linux64", 1, http.StatusCreated)
	m.wantUpload(t, tryToken, 2, http.StatusCreated)
	if keys := m.Keys(t); len(keys) != 2 || !strings.HasPrefix(keys[0], "try/v1/") || !strings.HasPrefix(keys[1], "v1/") {
		t.Errorf("stored %q", keys)
	}
	m.wantAuthInfo(t, regularToken, http.StatusOK,
		fmt.Sprintf(`{"email":"someone@example.com","user_id":7,"try_symbols":false,"token_expires_at":%d,"upload_api_version":1}`+"\n", m.expires.Unix()))
	m.wantAuthInfo(t, newToken, http.StatusForbidden, `"error":"API Token not matched"`)
	if n := m.tecken.Asked(regularToken); n != 1 {
		t.Errorf("Tecken was asked %d times about one token, want once", n)
	}
}

// TestTokensUpstreamThatGoesAway: while Tecken is away, tokens that it has accepted go on. The
// heartbeat, the log and the metrics say so, until it is back.
func TestTokensUpstreamThatGoesAway(t *testing.T) {
	t.Parallel()
	m := startMover(t)
	m.wantUpload(t, regularToken, 1, http.StatusCreated)
	if err := m.front.Close(); err != nil {
		t.Error(err)
	}
	m.wantCheck(t, "error", "The server of --tokens-upstream cannot be asked: connection refused.")
	m.wantAuthInfo(t, newToken, http.StatusServiceUnavailable, "trying it again later is safe")
	awaitLog(t, m.Daemon, "--tokens-upstream cannot be asked", "connection refused")
	h := client.GetHeartbeat(t, m.API)
	if text := h.Message("tokens"); h.Status != http.StatusOK || h.Checks["tokens"] != "warning" || !strings.Contains(text, "--tokens-upstream cannot be asked about tokens (connection refused)") {
		t.Errorf("down: %d %s %q", h.Status, h.Checks["tokens"], text)
	}
	m.wantUpload(t, newToken, 2, http.StatusServiceUnavailable)
	m.wantUpload(t, regularToken, 2, http.StatusCreated)
	if told := client.Get(t, m.API+"/__lbheartbeat__"); told.Status != http.StatusOK {
		t.Errorf("the balancer is told %d", told.Status)
	}
	values, err := m.Metrics(client.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, least := range map[string]float64{
		`spillway_tokens_upstream_requests_total{result="accepted"}`: 1, `spillway_tokens_upstream_requests_total{result="probed"}`: 1,
		`spillway_tokens_upstream_requests_total{result="unreachable"}`: 2, `spillway_tokens_upstream_request_duration_seconds_count`: 4,
		`spillway_tokens_upstream_failed`: 1, `spillway_tokens_upstream_accepted`: 1,
		`spillway_token_last_used_timestamp_seconds{token="upstream"}`:   float64(time.Now().Add(-time.Minute).Unix()),
		`spillway_uploads_total{outcome="refused",reason="token_check"}`: 1,
	} {
		if values[name] < least {
			t.Errorf("%s is %v, want at least %v", name, values[name], least)
		}
	}

	m.tecken.Set(newToken, tecken.Token{Email: "new@example.com"})
	serveAt(t, &http.Server{Handler: m.tecken}, m.address)
	client.AwaitCheck(t, m.API, "tokens", "ok")
	m.wantAuthInfo(t, newToken, http.StatusOK, "new@example.com")
	m.wantUpload(t, newToken, 2, http.StatusCreated)
}

// serveAt serves at an address until the test ends or the server is closed. It returns the
// address with its port.
func serveAt(t *testing.T, server *http.Server, address string) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }() // until it is closed
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

// TestUpstreamOverTLS: a token goes to the host that was named and to nobody else. Its
// certificate has to be right, a proxy sees no token, and no redirect is followed.
func TestUpstreamOverTLS(t *testing.T) {
	t.Parallel()
	const key = "0123456789abcdef0123456789abcdef"
	known := map[string]tecken.Token{key: {Email: "someone@example.com"}}
	elsewhere := tecken.Start(t, known)
	moved := remote.Start(t, http.RedirectHandler(elsewhere.URL+"/upload/auth_info/", http.StatusTemporaryRedirect), true)
	server := tecken.New(known)
	secure := remote.Start(t, server, true)
	trust := remote.Trust(t, secure)
	for _, c := range []struct {
		name, url string
		env       []string
		status    int
	}{
		{"trusted", secure.URL, []string{trust}, http.StatusOK},
		{"not trusted", secure.URL, nil, http.StatusServiceUnavailable},
		{"plain http to https", strings.Replace(secure.URL, "https:", "http:", 1), []string{trust}, http.StatusServiceUnavailable},
		{"a redirect", moved.URL, []string{trust, remote.Trust(t, moved)}, http.StatusServiceUnavailable},
	} {
		d := start(t, c.env, append(noStore, "--tokens-upstream="+c.url)...)
		if status, body := authInfoOf(t, d.API, key); status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, status, body, c.status)
		}
	}
	if n := len(elsewhere.Requests()); n > 0 {
		t.Errorf("the target of the redirect got %d requests", n)
	}

	for url, uses := range map[string]bool{"https://tecken.invalid": true, "http://tecken.invalid": false} {
		seen := make(chan string, 100)
		proxy := remote.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen <- fmt.Sprint(r.Method, " ", r.Host, " ", r.Header)
			http.Error(w, "no", http.StatusBadGateway)
		}), false)
		d := start(t, []string{"HTTPS_PROXY=" + proxy.URL, "HTTP_PROXY=" + proxy.URL}, append(noStore, "--tokens-upstream="+url)...)
		if status, body := authInfoOf(t, d.API, key); status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", url, status, body)
		}
		var got string
		for len(seen) > 0 {
			got += <-seen + "\n"
		}
		if strings.Contains(got, "CONNECT tecken.invalid:443") != uses || strings.Contains(got, "Auth-Token") || strings.Contains(got, key) {
			t.Errorf("%s: the proxy got %q", url, got)
		}
	}
}

// TestSlowUpstream: an upstream that hangs delays a refusal by seconds, not by more, and
// uploads with a token of the file not at all.
func TestSlowUpstream(t *testing.T) {
	t.Parallel()
	server := tecken.Start(t, nil)
	server.SetFault(tecken.Hang)
	s := startEmbedded(t, "--tokens-upstream="+server.URL)
	began := time.Now()
	done := make(chan string, 1)
	go func() {
		status, body := authInfoOf(t, s.API, "0123456789abcdef0123456789abcdef")
		done <- fmt.Sprint(status, json.Valid([]byte(body)))
	}()
	if a := client.MustSend(t, s.API, "dev", archive.GoWriter(archive.Samples(1)...)); a.Status != http.StatusCreated {
		t.Errorf("%+v", a)
	}
	select {
	case got := <-done:
		t.Errorf("%s before the upload with a token of the file", got)
	default:
	}
	if got := <-done; got != "503 true" || time.Since(began) > 12*time.Second {
		t.Errorf("%s after %v", got, time.Since(began))
	}
	if _, m := client.CheckState(t, s.API, "tokens"); !strings.Contains(m, "no answer in time") {
		t.Errorf("tokens: %q", m)
	}
}

// TestSecretsOfTheUpstream: no token that it is asked about is anywhere, however it answers, and
// nothing else of its answers. E-mail addresses appear only in the log, and in answers that tell
// a client its own.
func TestSecretsOfTheUpstream(t *testing.T) {
	t.Parallel()
	const (
		key   = "0123456789abcdef0123456789abcdef"
		echo  = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
		html  = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		email = "someone@example.com"
	)
	server := tecken.New(map[string]tecken.Token{key: {Email: email}})
	front := remote.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch given := r.Header.Get("Auth-Token"); given {
		case echo: // no HTTP
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_, _ = fmt.Fprintf(conn, "%s %s\r\n\r\n", given, email)
				_ = conn.Close()
			}
		case html:
			w.Header().Set("Location", "https://elsewhere.example.com/"+given)
			w.WriteHeader(http.StatusFound)
			_, _ = fmt.Fprint(w, given, email)
		default:
			server.ServeHTTP(w, r)
		}
	}), false)
	sentry := sentryserver.Start(t)
	s := startEmbedded(t, "--tokens-upstream="+front.URL, "--log-level=debug", "--sentry-dsn="+sentry.DSN)
	var answers strings.Builder
	for _, c := range []struct {
		given string
		want  int
	}{
		{key, 201},
		{key + "-label", 201},
		{"ffffffffffffffffffffffffffffffff", 403},
		{echo, 503},
		{html, 503}, // the log has the first of these at once
	} {
		a := client.MustSend(t, s.API, c.given, archive.PythonZipfile(archive.File{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 1000)}))
		if a.Status != c.want {
			t.Errorf("%s: %+v, want %d", c.given, a, c.want)
		}
		fmt.Fprintf(&answers, "%+v\n", a)
	}
	fmt.Fprintf(&answers, "%+v\n", client.GetHeartbeat(t, s.API))
	awaitLog(t, s.Daemon, `"outcome":"stored"`, email)
	awaitLog(t, s.Daemon, "the answer is not HTTP")
	seen := map[string]string{"answers": answers.String(), "metrics": metrics(t, s.Admin), "live page": livePage(t, s.Admin), "log": s.Log(), "Sentry": sentry.Raw()}
	for where, text := range seen {
		secrets := []string{key, echo, html, "ffffffffffffffffffffffffffffffff", tecken.TelemetrySecret, "elsewhere.example.com"}
		if where != "log" {
			secrets = append(secrets, email)
		}
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s has %s: %s", where, secret, text)
			}
		}
	}
}
