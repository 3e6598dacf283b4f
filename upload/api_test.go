package upload

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"spillway/internal/answer"
	"spillway/tokens"
)

func TestUpload(t *testing.T) {
	s := newSite(t)
	address := s.serve()
	before := time.Now().UTC().Add(-time.Millisecond)
	r := s.upload(address, symbolForm(), asDev)
	if r.StatusCode != http.StatusCreated {
		t.Fatalf("status %d: %s", r.StatusCode, r.body)
	}
	var got map[string]map[string]any
	if err := json.Unmarshal(r.body, &got); err != nil {
		t.Fatal(err)
	}
	u := got["upload"]
	for _, field := range []string{"created_at", "completed_at"} {
		text, _ := u[field].(string)
		at, err := time.Parse(time.RFC3339, text)
		if err != nil || !regexp.MustCompile(`\.\d{6}Z$`).MatchString(text) || at.Before(before) || at.After(time.Now()) {
			t.Errorf("%s is %q", field, text)
		}
		delete(u, field)
	}
	if id, ok := u["id"].(float64); !ok || id < 1 || id > math.MaxUint32 { // the official client takes no larger one
		t.Errorf("id %v", u["id"])
	}
	delete(u, "id")
	uploaded := u["uploaded_keys"].([]any)
	slices.SortFunc(uploaded, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	want := map[string]any{
		"size": float64(len(symbolZip)), "filename": "symbols.zip", "bucket": "symbols", "download_url": nil,
		"try_symbols": false, "redirect_urls": []any{}, "user": "dev@example.com", "skipped_keys": []any{},
		"uploaded_keys": []any{symbolKeys[0], symbolKeys[1]}, "ignored_keys": []any{"build-symbols.txt"},
	}
	g, _ := json.Marshal(u)
	if w, _ := json.Marshal(want); string(g) != string(w) {
		t.Errorf("got  %s\nwant %s", g, w)
	}
	if keys := s.store.keys(); !slices.Equal(keys, []string{"v1/" + symbolKeys[0], "v1/" + symbolKeys[1]}) {
		t.Errorf("stored %q", keys)
	}

	event := s.event()
	for field, want := range map[string]any{
		"outcome": "stored", "status": int64(201), "user": "dev@example.com", "filename": "symbols.zip",
		"archive_bytes": int64(len(symbolZip)), "entries": int64(3), "uploaded": int64(2), "skipped": int64(0), "ignored": int64(1),
		"biggest_entry": symbolKeys[1], "try": false, "sent_bytes": s.store.size(),
	} {
		if event[field] != want {
			t.Errorf("event: %s is %v (%T), want %v", field, event[field], event[field], want)
		}
	}
	if _, failed := event["error"]; failed {
		t.Errorf("event of what went well: %v", event)
	}

	symbols := s.logs.FilterMessage("entry verified").FilterField(zap.String("entry", symbolKeys[1])).All()
	if len(symbols) != 1 {
		t.Fatalf("%d events of %s", len(symbols), symbolKeys[1])
	}
	about := symbols[0].ContextMap()
	for _, field := range []string{"os", "arch", "debug_id", "debug_file", "code_id", "generator"} {
		if about[field] == "" {
			t.Errorf("the event of a symbol file lacks its %s: %v", field, about)
		}
	}

	if err := json.Unmarshal(s.upload(address, symbolForm(), asDev).body, &got); err != nil {
		t.Fatal(err)
	}
	if u := got["upload"]; len(u["skipped_keys"].([]any)) != 2 || len(u["uploaded_keys"].([]any)) != 0 {
		t.Errorf("second upload: %v", u)
	}
}

func TestTrySymbols(t *testing.T) {
	zip := formPart{"symbols.zip", "symbols.zip", symbolZip}
	try := formPart{"try", "", []byte("1")}
	for _, c := range []struct {
		name, token string
		form        []byte
		try         bool
	}{
		{"regular token", "dev", encode(zip), false},
		{"regular token, try", "dev", encode(try, zip), true},
		{"try token", "devtry", encode(zip), true},
		{"try token, try", "devtry", encode(try, zip), true},
		{"try token, try after", "devtry", encode(zip, try), true},
		{"regular token, try before and after", "dev", encode(try, zip, try), true},
	} {
		s := newSite(t)
		r := s.upload(s.serve(), c.form, "Auth-Token: "+c.token)
		var got stored
		if err := json.Unmarshal(r.body, &got); err != nil || r.StatusCode != http.StatusCreated {
			t.Errorf("%s: status %d: %s", c.name, r.StatusCode, r.body)
			continue
		}
		prefix, bucket := "v1/", "symbols"
		if c.try {
			prefix, bucket = "try/v1/", "symbols-try"
		}
		if got.Upload.TrySymbols != c.try || got.Upload.Bucket != bucket || !strings.HasPrefix(s.store.keys()[0], prefix) {
			t.Errorf("%s: try %t, bucket %s, keys %q", c.name, got.Upload.TrySymbols, got.Upload.Bucket, s.store.keys())
		}
	}
}

func zipForm(content []byte) []byte { return encode(formPart{"file.zip", "file.zip", content}) }

func TestChunkedBodies(t *testing.T) {
	s := newSite(t)
	address := s.serve()
	c := dial(t, address)
	f := symbolForm()
	c.send(request(-1, asDev), fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", 1000, f[:1000], len(f)-1000, f[1000:]))
	if r := c.reply(); r.StatusCode != http.StatusCreated {
		t.Errorf("status %d: %s", r.StatusCode, r.body)
	}
	// The connection is used again after a stored upload.
	c.send(request(len(f), asDev), string(f))
	if r := c.reply(); r.StatusCode != http.StatusCreated {
		t.Errorf("second upload on the connection: status %d: %s", r.StatusCode, r.body)
	}
	c.leave()
}

func TestFormsWithoutFiles(t *testing.T) {
	for body, want := range map[string]string{
		"url=https%3A%2F%2Fx%2Fy.zip":     "Not an allowed domain ('x') to download from.",
		"url=":                            "Must be multipart form data with at least one file",
		"x=y":                             "Must be multipart form data with at least one file",
		"":                                "Must be multipart form data with at least one file",
		"%zz":                             "Must be multipart form data with at least one file",
		strings.Repeat("x", maxURLForm+1): "The form has more than the 65536 bytes that are allowed. Send the archive and the field 'try', and nothing else.",
	} {
		s := newSite(t)
		c := dial(t, s.serve())
		c.send("POST /upload/ HTTP/1.1\r\nHost: x\r\nAuth-Token: dev\r\nContent-Type: application/x-www-form-urlencoded\r\n",
			fmt.Sprintf("Connection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		if r := c.reply(); r.message() != want || r.StatusCode != 400 && r.StatusCode != 413 {
			t.Errorf("%.30q: status %d: %q, want %q", body, r.StatusCode, r.message(), want)
		}
	}
}

func TestOtherContentTypes(t *testing.T) {
	for _, contentType := range []string{"application/zip", "multipart/form-data", "text/plain; charset"} {
		s := newSite(t)
		c := dial(t, s.serve())
		c.send("POST /upload/ HTTP/1.1\r\nHost: x\r\nAuth-Token: dev\r\nConnection: close\r\nContent-Length: 3\r\nContent-Type: ", contentType, "\r\n\r\nPK!")
		if r := c.reply(); r.StatusCode != 400 || r.message() != "Must be multipart form data with at least one file" {
			t.Errorf("%s: status %d: %s", contentType, r.StatusCode, r.body)
		}
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		method, path string
		status       int
		message      string
	}{
		{"GET", "/upload/", 405, "Method Not Allowed (GET): /upload/"},
		{"PUT", "/upload/", 405, "Method Not Allowed (PUT): /upload/"},
		{"GET", "/upload/auth_info/", 405, "Method Not Allowed (GET): /upload/auth_info/"},
		{"GET", "/", 404, "Not Found"},
		{"POST", "/upload", 404, "Not Found"},
		{"POST", "/upload//", 404, "Not Found"},
		{"POST", "/upload/../upload/", 404, "Not Found"},
		{"POST", "/upload/auth_info/", 403, "This requires an Auth-Token to authenticate the request"},
	} {
		w := httptest.NewRecorder()
		s.api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), c.method, c.path, nil))
		var f answer.Failure
		if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil || w.Code != c.status || f.Error != c.message {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, w.Body)
		}
		if allow := w.Header().Get("Allow"); (allow == "POST") != (c.status == 405) {
			t.Errorf("%s %s: Allow %q", c.method, c.path, allow)
		}
		for header, want := range map[string]string{"Content-Type": "application/json", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"} {
			if got := w.Header().Get(header); got != want {
				t.Errorf("%s %s: %s %q", c.method, c.path, header, got)
			}
		}
	}
}

func TestAuthInfo(t *testing.T) {
	expires := time.Now().Add(time.Hour)
	entry := func(token string, at time.Time, permissions ...string) tokens.Token {
		return tokens.Token{ID: 7, Email: token + "@b", SHA256: tokens.Digest(token), Permissions: permissions, ExpiresAt: at}
	}
	s := newSite(t, func(c *Config) {
		c.Tokens, _ = tokens.New(entry("regular", expires, tokens.PermissionUpload), entry("try", expires, tokens.PermissionUploadTry),
			entry("both", expires, tokens.PermissionUploadTry, tokens.PermissionUpload), entry("old", time.Unix(1, 0), tokens.PermissionUpload), entry("none", expires))
	})
	info := func(token string, try bool) string {
		return fmt.Sprintf(`{"email":"%s@b","user_id":7,"try_symbols":%t,"token_expires_at":%d,"upload_api_version":1}`, token, try, expires.Unix())
	}
	for token, want := range map[string]string{
		"regular":       info("regular", false),
		"regular-label": info("regular", false),
		"try":           info("try", true),
		"both":          info("both", false),
		"old":           `{"error":"API Token found but expired"}`,
		"none":          `{"error":"Forbidden"}`,
		"nobody":        `{"error":"API Token not matched"}`,
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/upload/auth_info/", nil)
		r.Header.Set("Auth-Token", token)
		s.api.ServeHTTP(w, r)
		status := http.StatusOK
		if strings.Contains(want, "error") {
			status = http.StatusForbidden
		}
		got := strings.TrimSpace(w.Body.String())
		if status == http.StatusForbidden {
			got, _, _ = strings.Cut(got, `,"detail":"`)
			got += "}"
		}
		if got != want || w.Code != status {
			t.Errorf("%s: %d %s, want %d %s", token, w.Code, got, status, want)
		}
	}
}

// brokenWriter panics in the middle of an answer.
type brokenWriter struct {
	*httptest.ResponseRecorder
	inHeader bool
}

func (b *brokenWriter) Header() http.Header {
	if b.inHeader {
		b.inHeader = false
		panic("header")
	}
	return b.ResponseRecorder.Header()
}

func (b *brokenWriter) Write([]byte) (int, error) { panic("body") }

func TestPanicBeforeAnAnswer(t *testing.T) {
	s := newSite(t)
	w := &brokenWriter{ResponseRecorder: httptest.NewRecorder(), inHeader: true}
	func() {
		defer func() { _ = recover() }() // the second answer panics as well
		s.api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
	}()
	if w.Code != http.StatusInternalServerError {
		t.Errorf("status %d, want 500", w.Code)
	}
	if n := s.logs.FilterMessage("panic").Len(); n != 1 {
		t.Errorf("%d panics logged, want 1", n)
	}
}

func TestPanicWithinAnAnswer(t *testing.T) {
	s := newSite(t)
	defer func() {
		if p := recover(); p != any(http.ErrAbortHandler) {
			t.Errorf("panic %v, want http.ErrAbortHandler", p)
		}
		if n := s.logs.FilterMessage("panic").Len(); n != 1 {
			t.Errorf("%d panics logged, want 1", n)
		}
	}()
	s.api.ServeHTTP(&brokenWriter{ResponseRecorder: httptest.NewRecorder()}, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
}

func TestAbortHandlerPassesOn(t *testing.T) {
	defer func() {
		if p := recover(); p != any(http.ErrAbortHandler) {
			t.Errorf("panic %v, want http.ErrAbortHandler", p)
		}
	}()
	_ = guarded(func() error { panic(http.ErrAbortHandler) })
}
