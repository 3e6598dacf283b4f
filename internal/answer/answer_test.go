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

// hostile is what a client might put into a name for whoever reads it in a
// terminal: escape sequences in both spellings, lines and bells, text that runs
// backwards, what cannot be seen, and characters beyond 16 bits.
const hostile = "a\x1b[31m\u009b31m\r\nb\x07\x7f\u0085\u202etxt.exe\u2066\u200b\u2028\ufeff\U000e0041\x00é✓𝒳"

func TestPrintable(t *testing.T) {
	text, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	got := Printable(text)
	for _, r := range string(got) {
		if !unicode.IsPrint(r) {
			t.Errorf("%U is in %s", r, got)
		}
	}
	var back string
	if err := json.Unmarshal(got, &back); err != nil || back != hostile {
		t.Errorf("it means %q, error %v", back, err)
	}
	for _, keep := range []string{"é", "✓", "𝒳"} {
		if !bytes.Contains(got, []byte(keep)) {
			t.Errorf("%s is not in %s", keep, got)
		}
	}
	if plain := []byte(`{"a": "b"}`); &Printable(plain)[0] != &plain[0] {
		t.Error("what has nothing to escape is copied")
	}
}

func TestJSON(t *testing.T) {
	w := httptest.NewRecorder()
	Error(w, 400, hostile)
	if h := w.Header(); w.Code != 400 || h.Get("Content-Type") != "application/json" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", w.Code, h)
	}
	var got Failure
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Error != hostile {
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
		{"no panic", func(w http.ResponseWriter, _ *http.Request) { Error(w, 404, "Not Found") }, 404, nil, false},
		{"panic", func(http.ResponseWriter, *http.Request) { panic("a bug") }, 500, "a bug", false},
		{"panic after the beginning", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")); panic("a bug") }, 200, "a bug", true},
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
				t.Errorf("status %d, callback with %v, panic again: %v", w.Code, panicked, again)
			}
		})
	}
}

// FuzzPrintable: whatever JSON is made printable means what it meant.
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
				t.Errorf("%U is in %q", r, got)
			}
		}
		var before, after string
		if err := json.Unmarshal(text, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(got, &after); err != nil || after != before {
			t.Errorf("%q means %q, not %q: %v", got, after, before, err)
		}
	})
}
