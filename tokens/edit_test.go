package tokens

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
)

// linkTo makes a link, and the folders to it.
func linkTo(t *testing.T, target, path string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.Symlink(target, path)); err != nil {
		t.Fatal(err)
	}
}

// Edits through links change the file that they lead to and leave the links as
// they are, so that the service, which may read through another link, sees them.
func TestEditsFollowLinks(t *testing.T) {
	for _, c := range []struct {
		name  string
		links map[string]string // by path in a folder; DIR is that folder
		file  string            // the file
		given string
	}{
		{"no link", nil, "tokens.json", "tokens.json"},
		{"relative", map[string]string{"link": "tokens.json"}, "tokens.json", "link"},
		{"absolute", map[string]string{"link": "DIR/data/tokens.json"}, "data/tokens.json", "link"},
		{"into another folder", map[string]string{"etc/link": "../data/tokens.json"}, "data/tokens.json", "etc/link"},
		{"chain", map[string]string{"a/1": "../b/2", "b/2": "DIR/c/3", "c/3": "../data/tokens.json"}, "data/tokens.json", "a/1"},
		{"folder", map[string]string{"etc": "data"}, "data/tokens.json", "etc/tokens.json"},
		{"as Kubernetes has it", map[string]string{"tokens.json": "..data/tokens.json", "..data": "..2026"}, "..2026/tokens.json", "tokens.json"},
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
						t.Errorf("%s: the revoked token: %v", path, err)
					}
					if _, err := authenticate(tokens, other, time.Now()); err != nil {
						t.Errorf("%s: the other token: %v", path, err)
					}
				}
				for path, target := range c.links {
					if got, err := os.Readlink(filepath.Join(dir, path)); err != nil || got != strings.ReplaceAll(target, "DIR", dir) {
						t.Errorf("the link %s leads to %q: %v", path, got, err)
					}
				}
			})
		}
	}
}

// Edits at once through a link and the file's own path lose nothing.
func TestEditsThroughLinksLoseNothing(t *testing.T) {
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
		t.Errorf("%d entries, %v, want 15", len(list), err)
	}
}

// What cannot be replaced as meant is refused and stays as it is.
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
		t.Errorf("%d entries, %v, want 1", len(list), err)
	}
	if info, err := os.Lstat(path("fifo")); err != nil || info.Mode().Type() != os.ModeNamedPipe {
		t.Errorf("the FIFO is %v, %v", info, err)
	}
}

// A tokens file that the service would refuse to read is not written.
func TestTokensFileHasABound(t *testing.T) {
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
	write(`{"tokens":[` + strings.Join(entries, ",") + `]}`) // longer with the indentation that we write
	if _, err := Create(path, "a@example.com", []string{PermissionUpload}, soon(), ""); !errors.Is(err, errTokensTooLarge) {
		t.Errorf("a file that gets too large: %v", err)
	}
	if list, err := List(path); err != nil || len(list) != len(entries) {
		t.Errorf("%d entries, %v, want %d", len(list), err, len(entries))
	}
	write(strings.Repeat(" ", maxTokensFile+1))
	if _, err := List(path); !errors.Is(err, errTokensTooLarge) {
		t.Errorf("a file that is too large: %v", err)
	}
}

// What people will read in a terminal is checked when it is made.
func TestCreateRefusesTexts(t *testing.T) {
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
			t.Errorf("%q, %q: %v, want it to be taken: %t", c.email, c.note, err, c.ok)
		}
	}
}
