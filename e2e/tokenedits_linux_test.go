package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"spillway/testdata/client"
)

// listedTokens returns the entries of token list --json.
func listedTokens(t *testing.T, file string) (entries []struct{ Digest, SHA256, Email, State, Note string }) {
	t.Helper()
	out, _ := command(t, 0, "token", "list", "--json", "--tokens-file="+file)
	var list struct {
		Tokens []struct{ Digest, SHA256, Email, State, Note string }
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return list.Tokens
}

// Processes that edit one file at the same time, through its path and through a link, lose
// none of each other's changes.
func TestTokenCommandsAtTheSameTime(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file, link := filepath.Join(folder, "tokens.json"), filepath.Join(folder, "link.json")
	if err := os.Symlink("tokens.json", link); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			path := []string{file, link}[i%2]
			command(t, 0, "token", "create", "--tokens-file="+path, fmt.Sprintf("--email=%d@example.com", i), fmt.Sprintf("--note=number %d", i))
		})
	}
	all.Wait()
	entries := listedTokens(t, file)
	for _, e := range entries[:8] {
		all.Go(func() { command(t, 0, "token", "revoke", "--tokens-file="+link, e.SHA256) })
	}
	all.Wait()
	if left := listedTokens(t, link); len(entries) != 16 || len(left) != 8 || left[0] != entries[8] || left[7] != entries[15] {
		t.Errorf("%d entries, then %d: %v, want 16, then the last 8 of them: %v", len(entries), len(left), left, entries)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, want mode 0600", info, err)
	}
}

// A command that is killed, whenever that is, leaves the old file or the new one, and its
// lock ends with it. What it leaves beside the file, the next edit removes.
func TestTokenCommandsThatAreKilled(t *testing.T) {
	t.Parallel()
	binary, err := checked()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tokens.json")
	began := time.Now()
	command(t, 0, "token", "create", "--tokens-file="+file, "--email=first@example.com")
	whole := time.Since(began)
	count, killed, changed := 1, 0, 0
	const runs = 60
	for i := range runs {
		c := exec.CommandContext(client.Within(t), binary, "token", "create", "--tokens-file="+file, "--email=a@example.com")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(whole * time.Duration(i) / runs)
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait() // says that it was killed
		if c.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
			killed++
		}
		now := len(listedTokens(t, file))
		if now != count && now != count+1 {
			t.Fatalf("%d entries after a kill, want %d or one more", now, count)
		}
		changed += now - count
		count = now
	}
	t.Logf("%d of %d were killed, %d had changed the file", killed, runs, changed)
	if killed == 0 {
		t.Error("no command was killed before its end")
	}
	leftover := filepath.Join(filepath.Dir(file), ".tokens.json4711")
	if err := os.WriteFile(leftover, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, 0, "token", "create", "--tokens-file="+file, "--email=last@example.com")
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("the folder has %v, %v, want the tokens file only", left, err)
	}
}

// The commands warn of a file that everybody may read or change, and an edit closes it to
// them. The owner and the group keep what they may.
func TestTokensFileThatIsTooOpen(t *testing.T) {
	t.Parallel()
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 1234, 2345 // only root may give files away
	}
	for _, c := range []struct {
		mode, after os.FileMode
		warning     string
	}{
		{0o600, 0o600, ""},
		{0o640, 0o640, ""},
		{0o660, 0o660, ""},
		{0o644, 0o640, "may read "},
		{0o666, 0o660, "may change "},
		{0o400, 0o600, ""},
	} {
		file := filepath.Join(t.TempDir(), "tokens.json")
		command(t, 0, "token", "create", "--tokens-file="+file, "--email=first@example.com")
		if err := os.Chown(file, uid, gid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, c.mode); err != nil {
			t.Fatal(err)
		}
		warned := func(stderr string) bool {
			return strings.Contains(stderr, "warning: everybody on this machine "+c.warning+file) && c.warning != "" || c.warning == "" && !strings.Contains(stderr, "warning")
		}
		if _, stderr := command(t, 0, "token", "list", "--tokens-file="+file); !warned(stderr) {
			t.Errorf("list of a file with mode %o says %q", c.mode, stderr)
		}
		if _, stderr := command(t, 0, "token", "create", "--tokens-file="+file, "--email=second@example.com"); !warned(stderr) {
			t.Errorf("create in a file with mode %o says %q", c.mode, stderr)
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != c.after || s.Uid != uint32(uid) || s.Gid != uint32(gid) {
			t.Errorf("mode %o of user %d and group %d after an edit, want %o of %d and %d", info.Mode().Perm(), s.Uid, s.Gid, c.after, uid, gid)
		}
	}
}

// The list, the heartbeat and the metrics say which tokens expire soon, and when each was
// last used. The heartbeat, which anybody can read, says no more than their digests.
func TestTokensThatExpireSoon(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens.json")
	flag := "--tokens-file=" + file
	token, _ := command(t, 0, "token", "create", flag, "--email=soon@example.com", "--note=of the nightly builds", "--expires-in=240h")
	command(t, 0, "token", "create", flag, "--email=later@example.com")
	entries := listedTokens(t, file)
	soon, later := entries[0], entries[1]
	if soon.State != "expires soon" || later.State != "valid" || soon.Note != "of the nightly builds" {
		t.Errorf("%+v", entries)
	}
	if list, _ := command(t, 0, "token", "list", flag); !strings.Contains(list, "(in 9 days)") || strings.Count(list, "(") != 1 || !strings.Contains(list, soon.Digest+" ") {
		t.Errorf("list:\n%s", list)
	}

	s := startWithTokens(t, file)
	h := client.GetHeartbeat(t, s.API)
	m := h.Message("tokens")
	if h.Status != http.StatusOK || h.Checks["tokens"] != "warning" || !strings.Contains(m, "1 token expires within 30 days: "+soon.Digest+" on ") || strings.Contains(m, "example.com") {
		t.Errorf("%d, tokens: %s: %q", h.Status, h.Checks["tokens"], m)
	}
	lastUse := func(digest string) float64 {
		t.Helper()
		values, err := s.Metrics(client.Within(t))
		if err != nil {
			t.Fatal(err)
		}
		v, ok := values[`spillway_token_last_used_timestamp_seconds{token="`+digest+`"}`]
		if !ok {
			t.Fatalf("no last use of %s", digest)
		}
		return v
	}
	if lastUse(soon.Digest) != 0 || lastUse(later.Digest) != 0 {
		t.Error("a token has a last use before any")
	}
	before := float64(time.Now().Unix())
	authInfo(client.Within(t), t, s.API, strings.TrimSpace(token)+"-label")
	if got := lastUse(soon.Digest); got < before || lastUse(later.Digest) != 0 {
		t.Errorf("the last use was at %v, want at least %v", got, before)
	}
	command(t, 0, "token", "revoke", flag, soon.Digest)
	awaitLog(t, s.Daemon, "tokens file loaded", `"tokens":1`)
	if text := metrics(t, s.Admin); strings.Contains(text, soon.Digest) || !strings.Contains(text, later.Digest) {
		t.Error("a revoked token still has a series, or the other has none")
	}
	client.AwaitCheck(t, s.API, "tokens", "ok")
}
