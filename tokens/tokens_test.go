package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// authenticate authenticates a request with the given Auth-Token header.
func authenticate(t *Set, given string, now time.Time) (Token, error) {
	r := httptest.NewRequestWithContext(context.Background(), "POST", "/upload/", nil)
	if given != "" {
		r.Header.Set("Auth-Token", given)
	}
	return t.Authenticate(r, now, nil)
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

func TestInvalidTokensFiles(t *testing.T) {
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
		t.Errorf("valid entry: %v", err)
	}
	for what, content := range map[string]string{
		"empty":              "",
		"cut off":            good[:len(good)-3],
		"trailing data":      good + "{}",
		"plain token":        entry(func(e map[string]any) { e["sha256"] = "x" }),
		"no expiry":          entry(func(e map[string]any) { delete(e, "expires_at") }),
		"no email address":   entry(func(e map[string]any) { delete(e, "email") }),
		"unknown permission": entry(func(e map[string]any) { e["permissions"] = []string{"upload"} }),
		"unknown field":      entry(func(e map[string]any) { e["expiry"] = "2030-01-01T00:00:00Z" }),
		"duplicate token":    strings.Replace(good, "}]", "},"+good[len(`{"tokens":[`):len(good)-2]+"]", 1),
	} {
		write(content)
		if _, err := Load(path, zap.NewNop()); err == nil {
			t.Errorf("%s: %q is accepted", what, content)
		}
	}
}
