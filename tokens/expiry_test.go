package tokens

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// expiringIn returns an entry with that digest that expires after d.
func expiringIn(digit string, d time.Duration) Token {
	return Token{
		ID: 1, Email: digit + "@example.com", SHA256: strings.Repeat(digit, 64), Permissions: []string{PermissionUpload},
		CreatedAt: time.Now(), ExpiresAt: time.Now().Add(d), Note: "note " + digit,
	}
}

const day = 24 * time.Hour

// The list, its JSON and the status agree on which tokens have expired or expire soon.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time stands still at 2000-01-01
		none := expiringIn("f", day)
		none.Permissions = nil
		entries := []Token{
			expiringIn("1", -time.Second), expiringIn("2", 0), expiringIn("3", time.Second), expiringIn("4", day), expiringIn("5", 3*day),
			expiringIn("A", ExpiresSoon), expiringIn("b", ExpiresSoon+time.Second), none,
		}
		want := []struct{ expires, state string }{
			{"1999-12-31 (expired)", "expired"},
			{"2000-01-01 (expired)", "expired"},
			{"2000-01-01 (in less than a day)", "expires soon"},
			{"2000-01-02 (in 1 day)", "expires soon"},
			{"2000-01-04 (in 3 days)", "expires soon"},
			{"2000-01-31 (in 30 days)", "expires soon"},
			{"2000-01-31  ", "valid"},
			{"2000-01-02 (in 1 day)", "expires soon"},
		}

		var table, object bytes.Buffer
		if err := writeTable(&table, entries, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := writeJSON(&object, entries, time.Now()); err != nil {
			t.Fatal(err)
		}
		var list struct{ Tokens []listed }
		if err := json.Unmarshal(object.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(table.String(), "\n")[1:]
		for i, w := range want {
			digest := strings.ToLower(entries[i].SHA256[:8])
			if !strings.HasPrefix(lines[i], digest+" ") || !strings.Contains(lines[i], " "+w.expires) {
				t.Errorf("line %q, want %s and %q", lines[i], digest, w.expires)
			}
			if l := list.Tokens[i]; l.Digest != digest || string(l.State) != w.state || l.Email != entries[i].Email || l.Note != entries[i].Note || !l.ExpiresAt.Equal(entries[i].ExpiresAt) {
				t.Errorf("in JSON: %+v, want %s and %q", l, digest, w.state)
			}
		}

		set, err := New(entries...)
		if err != nil {
			t.Fatal(err)
		}
		expiring := func() (digests []string) {
			for _, e := range set.Status().Expiring {
				digests = append(digests, e.Digest)
			}
			return digests
		}
		// A token that may not upload is of no use, so it does not matter when it expires.
		if got := expiring(); !slices.Equal(got, []string{"33333333", "44444444", "55555555", "aaaaaaaa"}) {
			t.Errorf("expiring: %q", got)
		}
		time.Sleep(day)
		if got := expiring(); !slices.Equal(got, []string{"55555555", "aaaaaaaa", "bbbbbbbb"}) {
			t.Errorf("expiring a day later: %q", got)
		}
	})
}

// The JSON of an empty file has an empty list, and none has characters that a terminal acts
// on.
func TestJSONOfTheList(t *testing.T) {
	var out bytes.Buffer
	if err := writeJSON(&out, nil, time.Now()); err != nil || out.String() != "{\n  \"tokens\": []\n}\n" {
		t.Errorf("no tokens: %q, %v", out.String(), err)
	}
	entry := expiringIn("1", day)
	entry.Note = "\x1b[31m\u202e\u009b"
	if err := writeJSON(&out, []Token{entry}, time.Now()); err != nil || strings.ContainsAny(out.String(), "\x1b\u202e\u009b") {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// A use is what authenticates a request. It outlives a reload of the file, and ends with
// the token.
func TestLastUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entry := func(token string, d time.Duration) Token {
			e := expiringIn("0", d)
			e.SHA256 = Digest(token)
			return e
		}
		a, b, old := entry("a", day), entry("b", day), entry("old", -day)
		set, err := New(a, b, old)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		want := func(what string, want ...string) {
			t.Helper()
			var got []string
			for _, u := range set.Status().Uses {
				last := "never"
				if !u.Last.IsZero() {
					last = fmt.Sprint(u.Last.Sub(began))
				}
				got = append(got, u.Digest+" "+last)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		da, db, dold := ShortDigest("a"), ShortDigest("b"), ShortDigest("old")
		want("at the start", da+" never", db+" never", dold+" never")
		time.Sleep(time.Minute)
		for _, given := range []string{"a-label", "old", "nobody", ""} {
			_, _ = authenticate(set, given, time.Now())
		}
		want("after a use", da+" 1m0s", db+" never", dold+" never")
		if err := set.set([]Token{b, a}); err != nil {
			t.Fatal(err)
		}
		want("after a reload", db+" never", da+" 1m0s")
		if err := set.set([]Token{b}); err != nil {
			t.Fatal(err)
		}
		want("after its end", db+" never")
	})
}
