package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"spillway/testdata/archive"
	"spillway/testdata/client"
)

// authInfo returns the status of POST /upload/auth_info/.
func authInfo(ctx context.Context, t *testing.T, api, token string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, api+"/upload/auth_info/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Auth-Token", token)
	a, err := client.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return a.Status
}

// A token works from its creation until it is revoked, without a restart.
func TestTokens(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens.json")
	flag := "--tokens-file=" + file
	_, complaint := command(t, 1, "token", "list", flag)
	if !strings.Contains(complaint, file) {
		t.Errorf("listing a file that is not there says %q", complaint)
	}
	first, _ := command(t, 0, "token", "create", flag, "--email=first@example.com", "--note=the first")
	first = strings.TrimSuffix(first, "\n")

	s := startWithTokens(t, file)
	d := s.Daemon
	ctx := client.Within(t)
	if got := authInfo(ctx, t, d.API, first); got != 200 {
		t.Errorf("the first token: %d, want 200", got)
	}
	if got := authInfo(ctx, t, d.API, "dev"); got != 403 {
		t.Errorf("the token dev without --dev: %d, want 403", got)
	}
	files := archive.Samples(1)
	if a := client.MustSend(t, d.API, first+"-label", archive.GoWriter(files...)); a.Status != 201 {
		t.Errorf("%+v", a)
	}
	s.WantStored(t, "v1/", files)

	second, _ := command(t, 0, "token", "create", flag, "--email=second@example.com", "--permission=upload_try_symbols")
	second = strings.TrimSuffix(second, "\n")
	awaitLog(t, d, "tokens file loaded", `"tokens":2`)
	if got := authInfo(ctx, t, d.API, second); got != 200 {
		t.Errorf("a token that was made later: %d, want 200", got)
	}

	list, _ := command(t, 0, "token", "list", flag)
	lines := strings.Split(strings.TrimSpace(list), "\n")
	if len(lines) != 3 || !strings.Contains(lines[1], "first@example.com") || !strings.Contains(lines[1], "the first") || !strings.Contains(lines[2], "upload_try_symbols") {
		t.Fatalf("list:\n%s", list)
	}
	if strings.Contains(list, first) || strings.Contains(list, second) {
		t.Error("the list holds a token")
	}
	digest, _, _ := strings.Cut(lines[1], " ")
	command(t, 1, "token", "revoke", flag, "0123")
	if out, _ := command(t, 0, "token", "revoke", flag, digest); !strings.Contains(out, "first@example.com") {
		t.Errorf("revoke says %q", out)
	}
	awaitLog(t, d, "tokens file loaded", `"tokens":1`)
	if got := authInfo(ctx, t, d.API, first); got != 403 {
		t.Errorf("a revoked token: %d, want 403", got)
	}
	if got := authInfo(ctx, t, d.API, second); got != 200 {
		t.Errorf("the other token: %d, want 200", got)
	}
}

// A revoked token stops working, also if the command and the service open the file through
// different links.
func TestRevokeThroughALink(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file, link := filepath.Join(folder, "tokens.json"), filepath.Join(folder, "link.json")
	if err := os.Symlink("tokens.json", link); err != nil {
		t.Fatal(err)
	}
	token, _ := command(t, 0, "token", "create", "--tokens-file="+file, "--email=a@example.com")
	token = strings.TrimSpace(token)
	d := start(t, nil, "--tokens-file="+file, "--s3-bucket=b", "--s3-region=us-east-1")
	if got := authInfo(client.Within(t), t, d.API, token); got != http.StatusOK {
		t.Errorf("the token: %d, want 200", got)
	}
	list, _ := command(t, 0, "token", "list", "--tokens-file="+link)
	digest, _, _ := strings.Cut(strings.Split(list, "\n")[1], " ")
	command(t, 0, "token", "revoke", "--tokens-file="+link, digest)
	awaitLog(t, d, "tokens file loaded", `"tokens":0`)
	if got := authInfo(client.Within(t), t, d.API, token); got != http.StatusForbidden {
		t.Errorf("the revoked token: %d, want 403", got)
	}
}

// Whatever a tokens file contains, the commands print nothing that controls a terminal.
func TestTokenCommandsAreHarmless(t *testing.T) {
	t.Parallel()
	const hostile = "\x1b[31mred\u009b31m\r\n\x07\u202etxt.exe\u2066"
	file := filepath.Join(t.TempDir(), "tokens.json")
	write := func(email, permission, expires string) {
		t.Helper()
		entry := map[string]any{
			"id": 1, "email": email, "sha256": strings.Repeat("ab", 32), "permissions": []string{permission}, "expires_at": expires, "note": hostile,
		}
		data, err := json.Marshal(map[string]any{"tokens": []any{entry}})
		if err == nil {
			err = os.WriteFile(file, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	wantHarmless := func(what, text string, lines int) {
		t.Helper()
		if strings.Count(text, "\n") != lines || strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
			t.Errorf("%s: %q", what, text)
		}
	}
	const good, expires = "a@example.com", "2030-01-01T00:00:00Z"
	write("a\u202e"+good, "upload_symbols", expires)
	out, _ := command(t, 0, "token", "list", "--tokens-file="+file)
	wantHarmless("list", out, 2)
	for _, escape := range []string{`\x1b[31mred\u009b31m\r\n\a\u202etxt.exe\u2066`, `a\u202ea@example.com`} {
		if !strings.Contains(out, escape) {
			t.Errorf("the list has no %s:\n%s", escape, out)
		}
	}
	out, _ = command(t, 0, "token", "revoke", "--tokens-file="+file, "abab")
	wantHarmless("revoke", out, 1)

	for what, bad := range map[string]func(){
		"email":      func() { write(hostile, "upload_symbols", expires) },
		"permission": func() { write(good, hostile, expires) },
		"time":       func() { write(good, "upload_symbols", hostile) },
		"no JSON": func() {
			if err := os.WriteFile(file, []byte(hostile), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"unknown field": func() {
			if err := os.WriteFile(file, fmt.Appendf(nil, `{%q: 1}`, "\u202efield"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		bad()
		_, complaint := command(t, 1, "token", "list", "--tokens-file="+file)
		wantHarmless(what, complaint, 1)
	}
	_, complaint := command(t, 1, "token", "list", "--tokens-file="+hostile)
	wantHarmless("a path", complaint, 1)
	_, complaint = command(t, 2, "token", hostile)
	wantHarmless("an argument", complaint, 1)
}

func TestTokensAreReadAgainOnSIGHUP(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens.json")
	command(t, 0, "token", "create", "--tokens-file="+file, "--email=a@example.com")
	d := start(t, nil, "--tokens-file="+file, "--s3-bucket=b", "--s3-region=us-east-1")
	if err := d.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	awaitLog(t, d, "tokens file loaded", `"tokens":1`)
}

// A tokens file that cannot be used ends the start with one line.
func TestBadTokensFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens.json")
	_, stderr := command(t, 2, "--listen=127.0.0.1:0", "--s3-bucket=b", "--s3-region=us-east-1", "--tokens-file="+file)
	if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "spillway: --tokens-file: ") || !strings.Contains(stderr, file) {
		t.Errorf("stderr %q", stderr)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if out, _ := command(t, 0, "version"); !strings.HasPrefix(out, "spillway ") {
		t.Errorf("version says %q", out)
	}
}
