package e2e

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/hungfs"
)

// tokensLink is a symbolic link to a tokens file. A test can change its target atomically.
type tokensLink struct {
	path  string
	good  string // the file that it first leads to
	token string // that is in this file
}

func newTokensLink(t *testing.T) tokensLink {
	t.Helper()
	folder := t.TempDir()
	l := tokensLink{path: filepath.Join(folder, "link.json"), good: filepath.Join(folder, "tokens.json")}
	token, _ := command(t, 0, "token", "create", "--tokens-file="+l.good, "--email=a@example.com")
	l.token = strings.TrimSpace(token)
	l.lead(t, l.good)
	return l
}

func (l tokensLink) lead(t *testing.T, target string) {
	t.Helper()
	if err := errors.Join(os.Symlink(target, l.path+".new"), os.Rename(l.path+".new", l.path)); err != nil {
		t.Fatal(err)
	}
}

func (l tokensLink) start(t *testing.T) *daemon.Daemon {
	t.Helper()
	return startEmbedded(t, "--tokens-file="+l.path).Daemon
}

// wantToken checks that the token in force works.
func (l tokensLink) wantToken(t *testing.T, d *daemon.Daemon) {
	t.Helper()
	if got := authInfo(client.Within(t), t, d.API, l.token); got != http.StatusOK {
		t.Errorf("the token in force: %d, want 200", got)
	}
}

func wantTokensMetrics(t *testing.T, d *daemon.Daemon, failed, leastAge float64) {
	t.Helper()
	values, err := d.Metrics(client.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	age := values["spillway_tokens_age_seconds"]
	if values["spillway_tokens_failed"] != failed || age < leastAge || failed == 0 && age > 5 {
		t.Errorf("spillway_tokens_failed is %v and the age %v s, want %v and at least %v s", values["spillway_tokens_failed"], age, failed, leastAge)
	}
}

// mountHung mounts a file system that hangs. Only one process may touch it: the kernel makes
// others wait for the first, and they cannot be killed. The returned function unmounts it, or
// else the end of the test.
func mountHung(t *testing.T) (path string, unmount func()) {
	t.Helper()
	hung, err := hungfs.Mount()
	if err != nil {
		t.Fatal(err)
	}
	unmount = sync.OnceFunc(func() {
		if err := hung.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(unmount)
	return hung.Path, unmount
}

// When the tokens file is suddenly on a file system that hangs, the tokens in force stay, the
// heartbeat and the metrics say so, and SIGHUP does not block. Once the file can be read, it
// is loaded.
func TestTokensFileThatHangs(t *testing.T) {
	t.Parallel()
	hung, unmount := mountHung(t)
	l := newTokensLink(t)
	d := l.start(t)
	wantTokensMetrics(t, d, 0, 0)

	l.lead(t, filepath.Join(hung, "tokens.json"))
	awaitLog(t, d, "tokens file cannot be used", "has taken longer than 5s")
	wantCheck(t, d.API, "tokens", "warning", http.StatusOK, "reading it has taken longer than 5s", "stay in force")
	wantTokensMetrics(t, d, 1, 4)
	if err := d.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	l.wantToken(t, d)

	l.lead(t, l.good)
	unmount()
	awaitLog(t, d, "tokens file loaded", `"tokens":3`)
	wantCheck(t, d.API, "tokens", "ok", http.StatusOK)
	wantTokensMetrics(t, d, 0, 0)
	l.wantToken(t, d)
}

// SIGTERM does not wait for a tokens file that hangs.
func TestEndWithATokensFileThatHangs(t *testing.T) {
	t.Parallel()
	hung, _ := mountHung(t)
	l := newTokensLink(t)
	d := l.start(t)
	l.lead(t, filepath.Join(hung, "tokens.json"))
	awaitLog(t, d, "tokens file cannot be used", "has taken longer than 5s")
	if err := d.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	l.wantToken(t, d)
	wantEndInTime(t, d)
}

// A tokens file that cannot be read or is invalid leaves the tokens in force.
func TestTokensFileThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	invalid := filepath.Join(t.TempDir(), "\x1b[31m secret@example.com.json")
	if err := errors.Join(syscall.Mkfifo(fifo, 0o600), os.WriteFile(invalid, []byte(`{"tokens":[{"email":"secret"}]}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ target, reason string }{
		"FIFO":          {fifo, "it is not a regular file"},
		"device":        {"/dev/zero", "it is not a regular file"},
		"gone":          {"/nowhere", "no such file or directory"},
		"a loop":        {"link.json", "too many levels of symbolic links"},
		"invalid":       {invalid, "its content is invalid"},
		"below no file": {"/dev/null/tokens.json", "not a directory"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			l := newTokensLink(t)
			d := l.start(t)
			wantCheck(t, d.API, "tokens", "ok", http.StatusOK)
			l.lead(t, c.target)
			awaitLog(t, d, "tokens file cannot be used")
			wantCheck(t, d.API, "tokens", "warning", http.StatusOK, c.reason+".", "stay in force")
			wantTokensMetrics(t, d, 1, 0)
			if body := string(client.Get(t, d.API+"/__heartbeat__").Body); strings.Contains(body, "secret") || strings.Contains(body, "nowhere") {
				t.Errorf("the heartbeat, which is public, says too much: %s", body)
			}
			if err := d.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			l.wantToken(t, d)
			wantEndInTime(t, d)
		})
	}
}

// A service without a token that may upload is in error.
func TestNoTokenIsLeft(t *testing.T) {
	t.Parallel()
	l := newTokensLink(t)
	d := startWithTokens(t, l.path).Daemon
	wantCheck(t, d.API, "tokens", "ok", http.StatusOK)
	list, _ := command(t, 0, "token", "list", "--tokens-file="+l.path)
	digest, _, _ := strings.Cut(strings.Split(list, "\n")[1], " ")
	command(t, 0, "token", "revoke", "--tokens-file="+l.path, digest)
	awaitLog(t, d, "tokens file loaded", `"tokens":0`)
	wantCheck(t, d.API, "tokens", "error", http.StatusInternalServerError, "No token may upload", "spillway token create")
	l.lead(t, "/nowhere")
	awaitLog(t, d, "tokens file cannot be used")
	wantCheck(t, d.API, "tokens", "error", http.StatusInternalServerError, "No token may upload", "no such file or directory")
}

// A file that hangs ends the start with one line.
func TestStartWithAFileThatHangs(t *testing.T) {
	t.Parallel()
	tokens, _ := mountHung(t)
	certificate, _ := mountHung(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	l := newTokensLink(t)
	for what, c := range map[string]struct {
		args    []string
		message string
	}{
		"tokens that hang":       {[]string{"--tokens-file=" + tokens + "/tokens.json"}, "spillway: --tokens-file: it cannot be read within 5s"},
		"tokens in a FIFO":       {[]string{"--tokens-file=" + fifo}, "spillway: --tokens-file: tokens file " + fifo + ": it is not a regular file"},
		"certificate that hangs": {[]string{"--tokens-file=" + l.path, "--tls-cert=" + certificate + "/cert.pem", "--tls-key=" + certificate + "/key.pem"}, "spillway: --tls-cert, --tls-key: it cannot be read within 5s"},
		"certificate in a FIFO":  {[]string{"--tokens-file=" + l.path, "--tls-cert=" + fifo, "--tls-key=" + fifo}, "spillway: --tls-cert, --tls-key: it cannot be read within 5s"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--s3-bucket=b", "--s3-region=us-east-1"}, c.args...)
			_, got := command(t, statusUsage, args...)
			if strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, c.message) {
				t.Errorf("stderr %q, want one line with %q", got, c.message)
			}
		})
	}
}
