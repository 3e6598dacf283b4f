package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/remote"
	"spillway/testdata/sentryserver"
)

// TestPrintedCommandByURL: with --download-any, --dev prints a command that uploads an archive by
// its URL, and the log says that this is for development.
func TestPrintedCommandByURL(t *testing.T) {
	t.Parallel()
	s := startEmbedded(t, "--download-any")
	awaitLog(t, s.Daemon, `"level":"warn"`, "--download-any is for development")
	line, err := s.AwaitStdout(client.Within(t), "  curl ", "url=")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("curl"); err == nil {
		out, err := exec.CommandContext(client.Within(t), "/bin/sh", "-c", line).CombinedOutput()
		if err != nil || !strings.Contains(string(out), sampleFile) || strings.Contains(string(out), `"error"`) {
			t.Errorf("%s: %v: %s", line, err, out)
		}
	}
	sample := s.API + "/sample.zip"
	a, err := client.SendURL(client.Within(t), s.API, "dev", sample)
	if err != nil || a.Status != http.StatusCreated || a.Upload.Filename != "sample.zip" || a.Upload.DownloadURL == nil || *a.Upload.DownloadURL != sample {
		t.Errorf("%+v, %v", a, err)
	}
	if keys := s.Keys(t); len(keys) != 2 {
		t.Errorf("the bucket holds %q", keys)
	}
}

// TestOnlyPublicAddresses: without --download-any, nothing of this machine is connected to, not
// even if its name is allowed, and no variable brings in a proxy.
func TestOnlyPublicAddresses(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	count := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	server, proxy := remote.Start(t, count, true), remote.Start(t, count, false)
	var env []string
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"} {
		env = append(env, name+"="+proxy.URL)
	}
	d := start(t, env, "--dev", "--dev-s3-listen=127.0.0.1:0", "--download-domains=127.0.0.1,localhost")
	port := server.URL[strings.LastIndexByte(server.URL, ':'):]
	for host, want := range map[string]string{
		"https://127.0.0.1": "Not an allowed domain ('127.0.0.1') to download from.",
		"https://localhost": "Not an allowed domain ('localhost') to download from.",
		"https://[::1]":     "Not an allowed domain ('::1') to download from.",
		"https://127.1":     "Not an allowed domain ('127.1') to download from.",
		"http://127.0.0.1":  "Insecure URL",
	} {
		a, err := client.SendURL(client.Within(t), d.API, "dev", host+port+"/x.zip")
		if err != nil || a.Status != http.StatusBadRequest || a.Error != want {
			t.Errorf("%s: %+v, %v, want %q", host, a, err, want)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("%d requests arrived", n)
	}
	if strings.Contains(d.Log(), "--download-any is for development") {
		t.Error("the log warns of what is off")
	}
}

// TestSecretsOfURLs: the query of a URL is in no log, metric, page, report and error, however
// the upload ends. Only the answer to a stored upload has it.
func TestSecretsOfURLs(t *testing.T) {
	t.Parallel()
	const secret = "SECRET-SIGNATURE"
	symbols := archive.PythonZipfile(archive.File{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 20_000)})
	noise := archive.Build(archive.Entry{Name: archive.SymbolsName(2), Data: archive.Noise(2, 1_000_000)})
	resumed := archive.Build(archive.Entry{Name: archive.SymbolsName(3), Data: archive.Noise(3, 1_000_000)})
	mux := http.NewServeMux()
	server := remote.Start(t, mux, true)
	mux.Handle("/x.zip", &remote.File{Content: symbols})
	mux.Handle("/moved.zip", http.RedirectHandler("/x.zip?"+secret, http.StatusFound))
	mux.Handle("/loop.zip", http.RedirectHandler("/loop.zip?"+secret, http.StatusFound))
	mux.Handle("/malformed.zip", http.RedirectHandler("https://["+secret, http.StatusFound))
	mux.Handle("/resumed.zip", &remote.File{Content: resumed, Header: remote.StrongETag(), Breaks: []int{len(resumed) + 1, 300_000}})
	mux.Handle("/cut.zip", &remote.File{Content: noise, Breaks: []int{300_000}, NoRanges: true})
	mux.Handle("/damaged.zip", &remote.File{Content: symbols[:5000]})
	mux.Handle("/stalls.zip", &remote.File{Content: noise, Breaks: []int{300_000}, Stall: true, NoRanges: true})
	mux.HandleFunc("/502.zip", func(w http.ResponseWriter, r *http.Request) { http.Error(w, r.URL.String(), http.StatusBadGateway) })
	mux.HandleFunc("/echo.zip", func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = fmt.Fprintf(conn, "%s\r\n\r\n", r.URL)
			_ = conn.Close()
		}
	})
	sentry := sentryserver.Start(t)
	d := start(t, []string{remote.Trust(t, server)}, "--dev", "--dev-s3-listen=127.0.0.1:0", "--download-any", "--log-level=debug",
		"--sentry-dsn="+sentry.DSN, "--upload-timeout=1s", "--idle-timeout=30s", "--sweep-age=1m")

	var failures strings.Builder
	for path, status := range map[string]int{
		"/x.zip": 201, "/moved.zip": 201, "/resumed.zip": 201, "/loop.zip": 400, "/malformed.zip": 400, "/404.zip": 400, "/damaged.zip": 400,
		"/502.zip": 503, "/cut.zip": 503, "/echo.zip": 503, "/stalls.zip": 503,
	} {
		a, err := client.SendURL(client.Within(t), d.API, "dev", server.URL+path+"?sig="+secret+"#"+secret)
		if err != nil || a.Status != status {
			t.Errorf("%s: %+v, %v, want status %d", path, a, err, status)
		}
		if a.Status != http.StatusCreated {
			fmt.Fprintf(&failures, "%+v\n", a)
		} else if a.Upload.DownloadURL == nil || !strings.Contains(*a.Upload.DownloadURL, secret) {
			t.Errorf("%s: the client is not told its own URL: %+v", path, a)
		}
	}
	for _, text := range []string{"https://user:" + secret + "@127.0.0.1/x.zip", "https://[" + secret + "/x.zip", "ftp://127.0.0.1/x.zip?" + secret} {
		a, err := client.SendURL(client.Within(t), d.API, "dev", text)
		if err != nil || a.Status != http.StatusBadRequest {
			t.Errorf("%s: %+v, %v", text, a, err)
		}
		fmt.Fprintf(&failures, "%+v\n", a)
	}
	seen := map[string]string{"errors": failures.String(), "metrics": metrics(t, d.Admin), "live page": livePage(t, d.Admin)}
	if err := d.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantExit(t, d, statusDone)
	seen["log"], seen["Sentry"] = d.Log(), sentry.Raw()
	if len(sentry.Events()) == 0 {
		t.Error("no report to Sentry")
	}
	for where, text := range seen {
		if len(text) < 100 {
			t.Errorf("%s: only %q", where, text)
		}
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("%s has the query: …%s…", where, text[max(0, i-200):min(len(text), i+200)])
		}
	}
	host := strings.TrimPrefix(server.URL, "https://")
	for where, want := range map[string]string{
		"metrics":   "spillway_download_resumes_total 1",
		"live page": fmt.Sprintf(`"host":%q`, host),
		"log":       fmt.Sprintf(`"download_url":%q,"redirect_urls":[%q]`, server.URL+"/moved.zip", server.URL+"/x.zip"),
	} {
		if !strings.Contains(seen[where], want) {
			t.Errorf("%s does not say %s", where, want)
		}
	}
}
