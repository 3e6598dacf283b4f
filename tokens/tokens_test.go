package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// authenticate presents a value of the Auth-Token header.
func authenticate(t *Set, given string, now time.Time) (Token, error) {
	r := httptest.NewRequestWithContext(context.Background(), "POST", "/upload/", nil)
	if given != "" {
		r.Header.Set("Auth-Token", given)
	}
	return t.Authenticate(r, now)
}

func TestAuthenticate(t *testing.T) {
	expires := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	entry := func(token string, permissions ...string) Token {
		return Token{Email: token + "@example.com", SHA256: Digest(token), Permissions: permissions, ExpiresAt: expires}
	}
	upper := entry("upper", PermissionUpload)
	upper.SHA256 = strings.ToUpper(upper.SHA256)
	tokens, err := New(entry("aa", PermissionUpload), entry("bb", PermissionUploadTry), entry("none"), upper,
		entry("both", PermissionUpload, PermissionUploadTry))
	if err != nil {
		t.Fatal(err)
	}
	before := expires.Add(-time.Nanosecond)
	for _, c := range []struct {
		given string
		now   time.Time
		email string
		err   error
	}{
		{"aa", before, "aa@example.com", nil},
		{"bb", before, "bb@example.com", nil},
		{"both", before, "both@example.com", nil},
		{"upper", before, "upper@example.com", nil},
		{"aa-a label-of mine", before, "aa@example.com", nil},
		{"aa-", before, "aa@example.com", nil},
		{"", before, "", ErrMissing},
		{"-aa", before, "", ErrUnknown},
		{"a", before, "", ErrUnknown},
		{"AA", before, "", ErrUnknown},
		{Digest("aa"), before, "", ErrUnknown},
		{"aa", expires, "aa@example.com", ErrExpired},
		{"none", before, "none@example.com", ErrForbidden},
		{"none", expires, "none@example.com", ErrExpired},
	} {
		got, err := authenticate(tokens, c.given, c.now)
		if got.Email != c.email || !errors.Is(err, c.err) {
			t.Errorf("%q at %v: %q, %v, want %q, %v", c.given, c.now, got.Email, err, c.email, c.err)
		}
	}
}

func TestOnlyTry(t *testing.T) {
	for permissions, want := range map[string]bool{
		PermissionUpload: false, PermissionUploadTry: true, PermissionUpload + " " + PermissionUploadTry: false, "": false,
	} {
		if got := (Token{Permissions: strings.Fields(permissions)}).OnlyTry(); got != want {
			t.Errorf("%q: %t, want %t", permissions, got, want)
		}
	}
}

func soon() time.Time { return time.Now().Add(time.Hour) }

func TestCreateListRevoke(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	var made []string
	for _, email := range []string{"a@example.com", "b@example.com", "A@example.com"} {
		token, err := Create(path, email, []string{PermissionUpload}, soon(), "for a test")
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(token) {
			t.Errorf("token %q is not 64 hexadecimal digits", token)
		}
		made = append(made, token)
	}
	data, _ := os.ReadFile(path)
	for _, token := range made {
		if strings.Contains(string(data), token) {
			t.Error("the file has a token in it")
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
		t.Errorf("user ids %v, want one for each address", ids)
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
			t.Errorf("revoking %q did something", prefix)
		}
	}
	revoked, err := Revoke(path, strings.ToUpper(Digest(made[1])[:20]))
	if err != nil || revoked.Email != "b@example.com" {
		t.Errorf("revoked %+v, %v", revoked, err)
	}
	tokens.follow(t.Context(), false)
	if _, err := authenticate(tokens, made[1], time.Now()); !errors.Is(err, ErrUnknown) {
		t.Errorf("a revoked token: %v", err)
	}
	for _, other := range []string{made[0], "dev"} {
		if _, err := authenticate(tokens, other, time.Now()); err != nil {
			t.Errorf("another token after revoking one: %v", err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) != 1 {
		t.Errorf("the folder has %v, want the file only", left)
	}
}

func TestRevokeNeedsEnoughOfADigest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	for range 17 { // two of them begin with the same digit
		if _, err := Create(path, "a@example.com", []string{PermissionUpload}, soon(), ""); err != nil {
			t.Fatal(err)
		}
	}
	list, _ := List(path)
	seen := make(map[string]bool)
	for _, entry := range list {
		if first := entry.SHA256[:1]; seen[first] {
			if _, err := Revoke(path, first); err == nil {
				t.Error("revoked one of two")
			}
		} else {
			seen[first] = true
		}
	}
	if after, _ := List(path); len(after) != 17 {
		t.Errorf("%d entries are left of 17", len(after))
	}
}

func TestCreateRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	for what, create := range map[string]func() (string, error){
		"no address": func() (string, error) {
			return Create(path, "someone", []string{PermissionUpload}, soon(), "")
		},
		"no permission": func() (string, error) { return Create(path, "a@example.com", nil, soon(), "") },
		"unknown permission": func() (string, error) {
			return Create(path, "a@example.com", []string{"upload"}, soon(), "")
		},
		"the past": func() (string, error) {
			return Create(path, "a@example.com", []string{PermissionUpload}, time.Now().Add(-time.Second), "")
		},
	} {
		if token, err := create(); err == nil || token != "" {
			t.Errorf("%s: made %q", what, token)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a refusal made a file")
	}
}

func TestEditsAtOnceLoseNothing(t *testing.T) {
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
		t.Errorf("%d entries with %d ids, %v, want 20", len(list), len(ids), err)
	}
}

func TestEditKeepsWhatTheGroupMayDo(t *testing.T) {
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

func TestTokensFilesThatAreNotValid(t *testing.T) {
	digest := Digest("x")
	entry := func(change func(map[string]any)) string {
		e := map[string]any{"id": 1, "email": "a@example.com", "sha256": digest, "permissions": []string{PermissionUpload}, "expires_at": "2030-01-01T00:00:00Z"}
		change(e)
		data, _ := json.Marshal(map[string]any{"tokens": []any{e}})
		return string(data)
	}
	path := filepath.Join(t.TempDir(), "tokens.json")
	write := func(content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := entry(func(map[string]any) {})
	write(good)
	if _, err := Load(path, zap.NewNop()); err != nil {
		t.Errorf("the entry that the others are made of: %v", err)
	}
	for what, content := range map[string]string{
		"nothing":            "",
		"cut off":            good[:len(good)-3],
		"more":               good + "{}",
		"a token in clear":   entry(func(e map[string]any) { e["sha256"] = "x" }),
		"no expiry":          entry(func(e map[string]any) { delete(e, "expires_at") }),
		"no address":         entry(func(e map[string]any) { delete(e, "email") }),
		"unknown permission": entry(func(e map[string]any) { e["permissions"] = []string{"upload"} }),
		"unknown field":      entry(func(e map[string]any) { e["expiry"] = "2030-01-01T00:00:00Z" }),
		"a token twice":      strings.Replace(good, "}]", "},"+good[len(`{"tokens":[`):len(good)-2]+"]", 1),
	} {
		write(content)
		if _, err := Load(path, zap.NewNop()); err == nil {
			t.Errorf("%s: loaded %q", what, content)
		}
	}
}

func TestWatchFollowsTheFile(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(folder, "tokens.json")
		first, err := Create(path, "a@example.com", []string{PermissionUpload}, soon(), "")
		if err != nil {
			t.Fatal(err)
		}
		core, logs := observer.New(zapcore.ErrorLevel)
		tokens, err := Load(path, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go tokens.Watch(ctx)
		wait := func() {
			time.Sleep(2 * tokensPoll)
			synctest.Wait()
		}
		known := func(token string) bool {
			_, err := authenticate(tokens, token, time.Now())
			return err == nil
		}

		second, err := Create(path, "b@example.com", []string{PermissionUpload}, soon(), "")
		if err != nil {
			t.Fatal(err)
		}
		if wait(); !known(first) || !known(second) {
			t.Error("a new entry is not followed")
		}
		good, _ := os.ReadFile(path)
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if wait(); !known(first) || !known(second) {
			t.Error("a broken file locks everybody out")
		}
		if wait(); logs.Len() != 1 {
			t.Errorf("%d errors logged for one broken file, want 1", logs.Len())
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if wait(); !known(first) || logs.Len() != 2 {
			t.Errorf("a file that is gone: known %t, %d errors logged, want true, 2", known(first), logs.Len())
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Revoke(path, Digest(first)); err != nil {
			t.Fatal(err)
		}
		if wait(); known(first) || !known(second) {
			t.Error("a revoked token is still good, or another one is not")
		}
	})
}

// TestWatchTriesAgain: a file that cannot be used for a moment is read as soon as
// it can be, also where neither its time nor its size shows that. The log has each
// failure once, however long it lasts.
func TestWatchTriesAgain(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(folder, "tokens.json")
		token, err := Create(path, "a@example.com", []string{PermissionUpload}, soon(), "")
		if err != nil {
			t.Fatal(err)
		}
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		written := time.Now()
		write := func(content string) {
			t.Helper()
			if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Chtimes(path, written, written)); err != nil {
				t.Fatal(err)
			}
		}
		write(string(good))
		core, logs := observer.New(zapcore.InfoLevel)
		tokens, err := Load(path, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		go tokens.Watch(t.Context())
		// expect looks at what the file's last change has led to.
		expect := func(what string, failures, loads int) {
			t.Helper()
			time.Sleep(10 * tokensPoll)
			synctest.Wait()
			events := logs.TakeAll()
			counts := map[zapcore.Level]int{}
			for _, e := range events {
				counts[e.Level]++
			}
			if counts[zapcore.ErrorLevel] != failures || counts[zapcore.InfoLevel] != loads {
				t.Errorf("%s: %d failures and %d loads logged, want %d and %d", what, counts[zapcore.ErrorLevel], counts[zapcore.InfoLevel], failures, loads)
			}
			if _, err := authenticate(tokens, token, time.Now()); err != nil {
				t.Errorf("%s: the token that was there: %v", what, err)
			}
		}

		expect("nothing", 0, 0)
		write(string(good[:len(good)/2]))
		expect("half of it is written", 1, 0)
		write(strings.Replace(string(good), "{", "(", 1))
		expect("all of it is there, but not valid", 1, 0)
		write(string(good))
		expect("the same time and size, but valid", 0, 1)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		expect("it is gone", 1, 0)
		if err := os.Symlink("tokens.json", path); err != nil {
			t.Fatal(err)
		}
		expect("it cannot be reached, which is another failure", 1, 0)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		write(string(good))
		expect("it is back", 0, 1)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		expect("a folder", 1, 0)
		for range 3 {
			tokens.Reload()
			synctest.Wait()
		}
		expect("asked for, each time", 3, 0)
	})
}

// TestWatchGivesUpOnAFileThatHangs: a look that hangs is told once, and no other
// is begun beside it, whatever is asked for; the tokens in force stay. What it
// finds in the end counts.
func TestWatchGivesUpOnAFileThatHangs(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(folder, "tokens.json")
		token, err := Create(path, "a@example.com", []string{PermissionUpload}, soon(), "")
		if err != nil {
			t.Fatal(err)
		}
		core, logs := observer.New(zapcore.InfoLevel)
		tokens, err := Load(path, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		var reads atomic.Int64
		hang := make(chan struct{})
		tokens.read = func(path string) ([]Token, error) {
			reads.Add(1)
			<-hang
			return read(path)
		}
		ctx, stop := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() { tokens.Watch(ctx) })
		wait := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		wait(time.Minute)
		if s := tokens.Status(); s.Err != nil || time.Since(s.AsOf) > tokensPoll || s.Usable != 1 {
			t.Errorf("while all is well: %+v", s)
		}

		if _, err := Create(path, "b@example.com", []string{PermissionUpload}, soon(), ""); err != nil {
			t.Fatal(err)
		}
		hangs := time.Now()
		wait(tokensPoll + tokensTimeout)
		if s := tokens.Status(); !errors.Is(s.Err, errTokensHang) || s.Reason == "" || s.AsOf.After(hangs) || s.Usable != 1 {
			t.Errorf("while it hangs: %+v", s)
		}
		wait(time.Minute)
		for range 3 {
			tokens.Reload()
			wait(0)
		}
		if n := logs.FilterMessageSnippet("not usable").Len(); n != 1+3 {
			t.Errorf("%d failures are logged, want one, and one each time that it was asked for", n)
		}
		if _, err := authenticate(tokens, token, time.Now()); err != nil {
			t.Errorf("the token in force: %v", err)
		}
		if n := reads.Load(); n != 1 {
			t.Errorf("%d reads are under way, want 1", n)
		}

		close(hang)
		wait(0)
		if s := tokens.Status(); s.Err != nil || s.Usable != 2 {
			t.Errorf("once it answers: %+v", s)
		}
		hang = make(chan struct{})
		tokens.Reload()
		wait(tokensTimeout)
		stop()
		watching.Wait() // although the look hangs
		close(hang)
	})
}
