package sender

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// identify returns the sender of a request, and the answer to it.
func identify(t *testing.T, change func(*http.Request)) (Sender, *httptest.ResponseRecorder) {
	t.Helper()
	var s Sender
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	change(r)
	w := httptest.NewRecorder()
	Identify(nil, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { s = Of(r.Context()) })).ServeHTTP(w, r)
	return s, w
}

// TestRequestID: an ID is taken over if it is well-formed and the only one. Otherwise each
// request gets one of its own. The answer has it.
func TestRequestID(t *testing.T) {
	for _, c := range []struct {
		name  string
		given []string
		kept  bool
	}{
		{"none", nil, false},
		{"empty", []string{""}, false},
		{"a UUID", []string{"f6d3a6f2-6a6b-4e5a-9d1c-0a1b2c3d4e5f"}, true},
		{"an X-Ray trace", []string{"Root=1-67891233-abcdef012345678912345678"}, true},
		{"Base64", []string{"q83vASNFZ4k/+w=="}, true},
		{"the longest", []string{strings.Repeat("x", 128)}, true},
		{"too long", []string{strings.Repeat("x", 129)}, false},
		{"two", []string{"one", "two"}, false},
		{"a space", []string{"a b"}, false},
		{"a line break", []string{"a\nb"}, false},
		{"a last line break", []string{"a\n"}, false},
		{"a quote", []string{`a"b`}, false},
		{"HTML", []string{"<b>"}, false},
		{"an email address", []string{"a@example.com"}, false},
		{"not ASCII", []string{"ä"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			give := func(r *http.Request) { r.Header["X-Request-Id"] = c.given }
			s, w := identify(t, give)
			if kept := len(c.given) > 0 && s.RequestID == c.given[0]; kept != c.kept {
				t.Errorf("%q becomes %q", c.given, s.RequestID)
			}
			if got := w.Header().Values("X-Request-ID"); len(got) != 1 || got[0] != s.RequestID {
				t.Errorf("the answer has %q, want %q", got, s.RequestID)
			}
			if again, _ := identify(t, give); (again.RequestID == s.RequestID) != c.kept {
				t.Errorf("first %q, then %q", s.RequestID, again.RequestID)
			}
		})
	}
}

// TestUserAgent: user agents are cut, and what is not printable is replaced.
func TestUserAgent(t *testing.T) {
	for _, c := range []struct{ name, given, want string }{
		{"none", "", ""},
		{"curl", "curl/8.5.0", "curl/8.5.0"},
		{"not ASCII", "Grüße/1 🦊", "Grüße/1 🦊"},
		{"HTML stays text", "<script>alert(1)</script>", "<script>alert(1)</script>"},
		{"line breaks", "a\r\nb\u2028c\u0085d", "a��b�c�d"},
		{"terminal", "a\x1b[31mb\x7f\u009b", "a�[31mb��"},
		{"direction", "a\u202eb\u2066c\u200f", "a�b�c�"},
		{"not UTF-8", "a\xff\xfeb", "a��b"},
		{"the longest", strings.Repeat("x", 197), strings.Repeat("x", 197)},
		{"longer", strings.Repeat("x", 198), strings.Repeat("x", 197) + "…"},
		{"longer by its last character", strings.Repeat("x", 196) + "é", strings.Repeat("x", 196) + "…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := identify(t, func(r *http.Request) { r.Header.Set("User-Agent", c.given) })
			if s.UserAgent != c.want {
				t.Errorf("%q becomes %q, want %q", c.given, s.UserAgent, c.want)
			}
		})
	}
}

// FuzzUserAgent: whatever a client sends, its user agent is short and printable.
func FuzzUserAgent(f *testing.F) {
	for _, seed := range []string{"curl/8.5.0", strings.Repeat("\xff", 300), strings.Repeat("é", 150), "a\u202eb"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, given string) {
		got := userAgent(given)
		if len(got) > maxUserAgent || !utf8.ValidString(got) {
			t.Errorf("%d bytes: %q", len(got), got)
		}
		if i := strings.IndexFunc(got, func(r rune) bool { return r != utf8.RuneError && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%q has something unprintable at %d", got, i)
		}
	})
}
