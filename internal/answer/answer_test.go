package answer

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"spillway/internal/guard"
)

// hostile is a name that attacks a terminal: escape sequences in both spellings, line
// breaks, bells, reversed text, invisible characters, and characters beyond 16 bits.
const hostile = "a\x1b[31m\u009b31m\r\nb\x07\x7f\u0085\u202etxt.exe\u2066\u200b\u2028\ufeff\U000e0041\x00é✓𝒳"

func TestPrintable(t *testing.T) {
	text, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	got := Printable(text)
	for _, r := range string(got) {
		if !unicode.IsPrint(r) {
			t.Errorf("%s contains %U", got, r)
		}
	}
	var back string
	if err := json.Unmarshal(got, &back); err != nil || back != hostile {
		t.Errorf("it decodes to %q, error %v", back, err)
	}
	for _, keep := range []string{"é", "✓", "𝒳"} {
		if !bytes.Contains(got, []byte(keep)) {
			t.Errorf("%s lacks %s", got, keep)
		}
	}
	if plain := []byte(`{"a": "b"}`); &Printable(plain)[0] != &plain[0] {
		t.Error("text without anything to escape is copied")
	}
}

func TestJSON(t *testing.T) {
	w := httptest.NewRecorder()
	Error(w, 400, hostile, hostile)
	if h := w.Header(); w.Code != 400 || h.Get("Content-Type") != "application/json" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", w.Code, h)
	}
	var got Failure
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Error != hostile || got.Detail != hostile || got.UploadID != nil {
		t.Errorf("%q, error %v", got.Error, err)
	}
	if strings.ContainsFunc(strings.TrimSuffix(w.Body.String(), "\n"), func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("%q", w.Body)
	}
}

// A panic becomes a 500. Once the response has begun, it closes the connection instead.
func TestGuard(t *testing.T) {
	for _, c := range []struct {
		name     string
		serve    http.HandlerFunc
		status   int
		panicked any // the value for the callback; nil if it is not called
		again    bool
	}{
		{"no panic", func(w http.ResponseWriter, _ *http.Request) { Error(w, 404, "Not Found", "Look elsewhere.") }, 404, nil, false},
		{"panic", func(http.ResponseWriter, *http.Request) { panic("a bug") }, 500, "a bug", false},
		{"panic after the response began", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")); panic("a bug") }, 200, "a bug", true},
		{"abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 200, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			var panicked, again any
			func() {
				defer func() { again = recover() }()
				Guard(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), c.serve, func(p *guard.PanicError) { panicked = p.Value })
			}()
			if w.Code != c.status || panicked != c.panicked || (again == any(http.ErrAbortHandler)) != c.again {
				t.Errorf("status %d, callback got %v, panicked again with %v", w.Code, panicked, again)
			}
		})
	}
}

// FuzzPrintable checks that printable JSON decodes to the same value.
func FuzzPrintable(f *testing.F) {
	f.Add(hostile)
	f.Add("\u2028\\u2028\"\\")
	f.Add("\xff\xc2")
	f.Fuzz(func(t *testing.T, s string) {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		got := Printable(text)
		for _, r := range string(got) {
			if r != utf8.RuneError && !unicode.IsPrint(r) {
				t.Errorf("%q contains %U", got, r)
			}
		}
		var before, after string
		if err := json.Unmarshal(text, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(got, &after); err != nil || after != before {
			t.Errorf("%q decodes to %q, error %v, want %q", got, after, err, before)
		}
	})
}
