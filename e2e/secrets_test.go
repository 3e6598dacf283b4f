package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/otlpserver"
	"spillway/testdata/sentryserver"
)

// TestSecretsAreNowhere: tokens, their digests and the store's secret never appear in an
// answer, the log, the metrics, the live page, a report to Sentry or a span. Refused tokens
// have the first digits of their digest in the log and on the live page. E-mail addresses
// appear only in the log, and in answers that tell a client its own. Sentry, the metrics and
// the spans get no user agent. What authorizes the export of spans is nowhere else.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	const (
		email   = "somebody@example.com"
		unknown = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00"
		typed   = "correct horse battery staple" // a password in the place of a token
		secret  = "a-secret-that-is-not-the-right-one"
		agent   = "Go-http-client"

		exportKey = "an-open-sesame-for-spans"
	)
	file := filepath.Join(t.TempDir(), "tokens.json")
	token, _ := command(t, 0, "token", "create", "--tokens-file="+file, "--email="+email)
	expired, _ := command(t, 0, "token", "create", "--tokens-file="+file, "--email="+email, "--expires-in=1ns")
	token, expired = strings.TrimSpace(token), strings.TrimSpace(expired)
	refused := []string{unknown, typed, expired}
	backend := newBackend(t)
	sentry := sentryserver.Start(t)
	endpoint := otlpserver.Start(t)
	traces := append(exportTo(endpoint), "OTEL_EXPORTER_OTLP_HEADERS=api-key="+exportKey)
	args := func(more ...string) []string {
		return append(append(backend.flags(file), "--log-level=debug", "--sentry-dsn="+sentry.DSN, "--upload-timeout=1s", "--drain-timeout=100ms"), more...)
	}
	good := archive.PythonZipfile(archive.File{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 20_000)})
	var answers strings.Builder
	post := func(api, token string, body io.Reader) {
		t.Helper()
		a, err := client.Send(client.Within(t), api, token, body)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&answers, "%+v\n", a)
	}

	d := start(t, append(backend.credentials(), traces...), args()...)
	post(d.API, token, bytes.NewReader(good))
	post(d.API, token+"-a-label", bytes.NewReader(good))
	post(d.API, token, bytes.NewReader(good[:len(good)/2]))
	for _, token := range refused {
		post(d.API, token+"-a-label", bytes.NewReader(good))
	}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	post(d.API, token, stalls{bytes.NewReader(good[:len(good)/2]), ctx}) // times out: a report to Sentry
	failing := start(t, append([]string{"AWS_ACCESS_KEY_ID=" + backend.AccessKey, "AWS_SECRET_ACCESS_KEY=" + secret}, traces...), args("--s3-bucket=nowhere")...)
	post(failing.API, token, bytes.NewReader(good))

	for _, path := range []string{"/__error__", "/__heartbeat__?token=" + token, "/upload/auth_info/", "/nothing"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			req, err := http.NewRequestWithContext(client.Within(t), method, failing.API+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Auth-Token", token)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if path != "/upload/auth_info/" { // it says whose token it is
				fmt.Fprintf(&answers, "%v %s\n", resp.Header, body)
			}
		}
	}
	seen := map[string]string{"answers": answers.String()}
	for name, d := range map[string]system{"": {Daemon: d}, "failing ": {Daemon: failing}} {
		seen[name+"metrics"] = metrics(t, d.Admin)
		seen[name+"live page"] = livePage(t, d.Admin)
		if err := d.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		wantExit(t, d.Daemon, statusDone)
		seen[name+"log"] = d.Log()
	}
	seen["Sentry"] = sentry.Raw()
	// The header is where it belongs.
	seen["spans"] = strings.ReplaceAll(strings.ReplaceAll(endpoint.Raw(), "Api-Key:["+exportKey+"]", ""), "User-Agent:["+agent, "")
	if n := len(endpoint.Spans()); n < 5 || strings.Count(endpoint.Raw(), exportKey) == 0 {
		t.Errorf("%d spans, with the header %d times", n, strings.Count(endpoint.Raw(), exportKey))
	}
	if n := len(sentry.Events()); n < 2 {
		t.Errorf("%d reports to Sentry", n)
	}
	for where, text := range seen {
		if len(text) < 100 {
			t.Errorf("%s: only %q", where, text)
		}
		secrets := append([]string{token, secret, backend.SecretKey, exportKey}, refused...)
		for _, token := range append(refused, token) {
			secrets = append(secrets, digest(token))
		}
		switch {
		case strings.HasSuffix(where, "log"):
		case strings.HasSuffix(where, "live page"):
			secrets = append(secrets, email)
		default:
			secrets = append(secrets, email, agent)
		}
		if where == "log" || where == "live page" {
			for _, token := range refused {
				if !strings.Contains(text, digest(token)[:8]) {
					t.Errorf("%s does not tell the refused token %s apart: %s", where, token, text)
				}
			}
		}
		for _, secret := range secrets {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s has %s: …%s…", where, secret, text[max(0, i-200):min(len(text), i+200)])
			}
		}
	}
}

// digest returns the SHA-256 of a token in hexadecimal.
func digest(token string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(token))) }

// livePage returns the first event of the live page.
func livePage(t *testing.T, admin string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(client.Within(t), http.MethodGet, admin+"/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var event bytes.Buffer
	for buf := make([]byte, 1<<16); !strings.Contains(event.String(), "\n\n"); {
		n, err := resp.Body.Read(buf)
		event.Write(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
	}
	return event.String()
}
