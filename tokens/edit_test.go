//go:build unix

package tokens

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
)

// linkTo creates a link and the folders above it.
func linkTo(t *testing.T, target, path string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.Symlink(target, path)); err != nil {
		t.Fatal(err)
	}
}

func TestCreateListRevoke(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	var made []string
	for _, email := range []string{"a@example.com", "b@example.com", "A@example.com"} {
		token, err := Create(path, email, []string{PermissionUpload}, soon(), "for a test")
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(token) {
			t.Errorf("token %q, want 64 hexadecimal digits", token)
		}
		made = append(made, token)
	}
	data, _ := os.ReadFile(path)
	for _, token := range made {
		if strings.Contains(string(data), token) {
			t.Error("the file contains a token")
		}
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}

	list, err := List(path)
	if err != nil {
		t.Fatal(err)
	}
	var ids []int
	for i, entry := range list {
		ids = append(ids, entry.ID)
		if entry.SHA256 != Digest(made[i]) || entry.Note != "for a test" || time.Since(entry.CreatedAt) > time.Minute {
			t.Errorf("entry %d: %+v", i, entry)
		}
	}
	if !slices.Equal(ids, []int{1, 2, 1}) {
		t.Errorf("user IDs %v, want one for each email address", ids)
	}

	tokens, err := Load(path, zap.NewNop(), Dev()...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := authenticate(tokens, made[1], time.Now()); err != nil {
		t.Errorf("a new token: %v", err)
	}
	for _, prefix := range []string{"", "xyz"} {
		if _, err := Revoke(path, prefix); err == nil {
			t.Errorf("revoking %q succeeded", prefix)
		}
	}
	revoked, err := Revoke(path, strings.ToUpper(Digest(made[1])[:20]))
	if err != nil || revoked.Email != "b@example.com" {
		t.Errorf("revoked %+v, %v", revoked, err)
	}
	tokens.follow(t.Context(), false)
	if _, err := authenticate(tokens, made[1], time.Now()); !errors.Is(err, ErrUnknown) {
		t.Errorf("the revoked token: %v", err)
	}
	for _, other := range []string{made[0], "dev"} {
		if _, err := authenticate(tokens, other, time.Now()); err != nil {
			t.Errorf("another token: %v", err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) != 1 {
		t.Errorf("the folder contains %v, want only the tokens file", left)
	}
}

func TestRevokeRefusesAmbiguousDigest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	for range 17 { // at least two digests start with the same digit
		if _, err := Create(path, "a@example.com", []string{PermissionUpload}, soon(), ""); err != nil {
			t.Fatal(err)
		}
	}
	list, _ := List(path)
	seen := make(map[string]bool)
	for _, entry := range list {
		if first := entry.SHA256[:1]; seen[first] {
			if _, err := Revoke(path, first); err == nil {
				t.Errorf("revoking %q, a prefix of two digests, succeeded", first)
			}
		} else {
			seen[first] = true
		}
	}
	if after, _ := List(path); len(after) != 17 {
		t.Errorf("%d entries, want 17", len(after))
	}
}

func TestCreateRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	for what, create := range map[string]func() (string, error){
		"no email address": func() (string, error) {
			return Create(path, "someone", []string{PermissionUpload}, soon(), "")
		},
		"no permission": func() (string, error) { return Create(path, "a@example.com", nil, soon(), "") },
		"unknown permission": func() (string, error) {
			return Create(path, "a@example.com", []string{"upload"}, soon(), "")
		},
		"expires in the past": func() (string, error) {
			return Create(path, "a@example.com", []string{PermissionUpload}, time.Now().Add(-time.Second), "")
		},
	} {
		if token, err := create(); err == nil || token != "" {
			t.Errorf("%s: got token %q, error %v", what, token, err)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the tokens file was created")
	}
}

func TestConcurrentEdits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if _, err := Create(path, fmt.Sprintf("%d@example.com", i), []string{PermissionUpload}, soon(), ""); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	list, err := List(path)
	ids := make(map[int]bool)
	for _, entry := range list {
		ids[entry.ID] = true
	}
	if err != nil || len(list) != 20 || len(ids) != 20 {
		t.Errorf("%d entries with %d IDs, error %v, want 20", len(list), len(ids), err)
	}
}

func TestEditKeepsGroupPermissions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	if err := os.WriteFile(path, []byte(`{"tokens":[]}`), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, "a@example.com", []string{PermissionUpload}, soon(), ""); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, want 0640", info.Mode())
	}
}

// Edits through links change the target and keep the links. The service may read the
// file through another link and has to see the edits.
func TestEditsFollowLinks(t *testing.T) {
	for _, c := range []struct {
		name  string
		links map[string]string // targets by path in a folder; DIR stands for the folder
		file  string            // the target
		given string            // the path that the edits get
	}{
		{"no link", nil, "tokens.json", "tokens.json"},
		{"relative", map[string]string{"link": "tokens.json"}, "tokens.json", "link"},
		{"absolute", map[string]string{"link": "DIR/data/tokens.json"}, "data/tokens.json", "link"},
		{"into another folder", map[string]string{"etc/link": "../data/tokens.json"}, "data/tokens.json", "etc/link"},
		{"chain", map[string]string{"a/1": "../b/2", "b/2": "DIR/c/3", "c/3": "../data/tokens.json"}, "data/tokens.json", "a/1"},
		{"folder", map[string]string{"etc": "data"}, "data/tokens.json", "etc/tokens.json"},
		{"links of a Kubernetes volume", map[string]string{"tokens.json": "..data/tokens.json", "..data": "..2026"}, "..2026/tokens.json", "tokens.json"},
		{"up from a linked folder", map[string]string{"etc/far": "DIR/data/deep", "link": "etc/far/../tokens.json"}, "data/tokens.json", "link"},
	} {
		for _, dangling := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, dangling %t", c.name, dangling), func(t *testing.T) {
				dir := t.TempDir()
				file, given := filepath.Join(dir, c.file), filepath.Join(dir, c.given)
				if err := os.MkdirAll(filepath.Join(filepath.Dir(file), "deep"), 0o700); err != nil {
					t.Fatal(err)
				}
				for path, target := range c.links {
					linkTo(t, strings.ReplaceAll(target, "DIR", dir), filepath.Join(dir, path))
				}
				create := func(path string) string {
					t.Helper()
					token, err := Create(path, "a@example.com", []string{PermissionUpload}, soon(), "")
					if err != nil {
						t.Fatal(err)
					}
					return token
				}
				if !dangling {
					create(file)
				}
				token := create(given)
				other := create(file)
				if _, err := Revoke(given, Digest(token)); err != nil {
					t.Fatal(err)
				}
				for _, path := range []string{file, given} {
					tokens, err := Load(path, zap.NewNop())
					if err != nil {
						t.Fatal(err)
					}
					if _, err := authenticate(tokens, token, time.Now()); !errors.Is(err, ErrUnknown) {
						t.Errorf("%s: the revoked token: error %v", path, err)
					}
					if _, err := authenticate(tokens, other, time.Now()); err != nil {
						t.Errorf("%s: the other token: error %v", path, err)
					}
				}
				for path, target := range c.links {
					if got, err := os.Readlink(filepath.Join(dir, path)); err != nil || got != strings.ReplaceAll(target, "DIR", dir) {
						t.Errorf("the link %s now leads to %q, error %v", path, got, err)
					}
				}
			})
		}
	}
}

// Concurrent edits through a link and through the file's own path lose nothing.
func TestConcurrentEditsThroughLinks(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "data", "tokens.json"), filepath.Join(dir, "etc", "tokens.json")
	linkTo(t, "../data/tokens.json", link)
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			path := file
			if i%2 == 0 {
				path = link
			}
			token, err := Create(path, fmt.Sprintf("%d@example.com", i), []string{PermissionUpload}, soon(), "")
			if err == nil && i%4 == 0 {
				_, err = Revoke(file, Digest(token))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if list, err := List(link); err != nil || len(list) != 15 {
		t.Errorf("%d entries, error %v, want 15", len(list), err)
	}
}

// An edit refuses files that it cannot replace, and does not change them.
func TestEditRefuses(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	token, err := Create(path("a"), "a@example.com", []string{PermissionUpload}, soon(), "")
	if err != nil {
		t.Fatal(err)
	}
	linkTo(t, "loop", path("loop"))
	linkTo(t, "/nowhere/tokens.json", path("no folder"))
	if err := errors.Join(os.Link(path("a"), path("b")), syscall.Mkfifo(path("fifo"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a":         "2 names (hard links)",
		"fifo":      errNotRegular.Error(),
		"loop":      syscall.ELOOP.Error(),
		"no folder": syscall.ENOENT.Error(),
		".":         errNotRegular.Error(),
	} {
		if _, err := Revoke(path(name), Digest(token)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		if _, err := Create(path(name), "b@example.com", []string{PermissionUpload}, soon(), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if list, err := List(path("b")); err != nil || len(list) != 1 {
		t.Errorf("%d entries, error %v, want 1", len(list), err)
	}
	if info, err := os.Lstat(path("fifo")); err != nil || info.Mode().Type() != os.ModeNamedPipe {
		t.Errorf("the FIFO is now %v, error %v", info, err)
	}
}

// An edit does not write a tokens file that is too large to be read.
func TestTokensFileTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	entries := make([]string, maxTokensFile/300)
	for i := range entries {
		entries[i] = fmt.Sprintf(`{"id":1,"email":"a@example.com","sha256":"%064x","permissions":[],"expires_at":"2030-01-01T00:00:00Z","note":"%s"}`, i, strings.Repeat("x", 80))
	}
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"tokens":[` + strings.Join(entries, ",") + `]}`) // longer when an edit indents it
	if _, err := Create(path, "a@example.com", []string{PermissionUpload}, soon(), ""); !errors.Is(err, errTokensTooLarge) {
		t.Errorf("an edit that makes the file too large: error %v", err)
	}
	if list, err := List(path); err != nil || len(list) != len(entries) {
		t.Errorf("%d entries, error %v, want %d", len(list), err, len(entries))
	}
	write(strings.Repeat(" ", maxTokensFile+1))
	if _, err := List(path); !errors.Is(err, errTokensTooLarge) {
		t.Errorf("a file that is too large: error %v", err)
	}
}

// New entries contain only printable text, because people read it in a terminal.
func TestCreateRefusesUnprintableTexts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	for _, c := range []struct {
		email, note string
		ok          bool
	}{
		{"a@example.com", "CI of the releases, é✓", true},
		{"a@example.com", strings.Repeat("é", maxNote), true},
		{"a@example.com", strings.Repeat("é", maxNote+1), false},
		{"a@example.com", "\x1b[2J", false},
		{"a@example.com", "two\nlines", false},
		{"a@example.com", "a\ttab", false},
		{"a@example.com", "\u202edrowssap", false},
		{"a@example.com", "\x9b31m", false},
		{"a@example.com", "\u009b31m", false},
		{"a\u202e@example.com", "", false},
		{"a\x9b@example.com", "", false},
	} {
		_, err := Create(path, c.email, []string{PermissionUpload}, soon(), c.note)
		if (err == nil) != c.ok {
			t.Errorf("%q, %q: error %v, want success: %t", c.email, c.note, err, c.ok)
		}
	}
}
