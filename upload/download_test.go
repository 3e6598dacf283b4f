package upload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"spillway/testdata/archive"
)

// link is where the tests' archive is. Its query is a secret.
const link = "https://files.example.com/a/symbols.zip?sig=SECRET"

// urlForm is a request of a form without files, as curl -d sends it.
func urlForm(fields ...string) string {
	values := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		values.Add(fields[i], fields[i+1])
	}
	body := values.Encode()
	return fmt.Sprintf("POST /upload/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n%s\r\nConnection: close\r\n\r\n%s",
		len(body), asDev, body)
}

// roundTrip is a remote without a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// has is a remote with one file. If length is -1, the length is not stated.
func has(content io.Reader, length int) http.RoundTripper {
	return roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, ContentLength: int64(length), Body: io.NopCloser(content)}, nil
	})
}

func hasZip() http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		return has(bytes.NewReader(symbolZip), len(symbolZip)).RoundTrip(r)
	})
}

// answers is a remote that gives that answer.
func answers(status int, header ...string) http.RoundTripper {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: h, Body: http.NoBody}, nil
	})
}

// wantNoSecret checks that the query of a URL is nowhere but in the answer to a stored upload.
func (s *site) wantNoSecret(r *reply) {
	s.t.Helper()
	for _, e := range s.logs.All() {
		if text := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(text, "SECRET") {
			s.t.Errorf("in the log: %s", text)
		}
	}
	if r.StatusCode != http.StatusCreated && bytes.Contains(r.body, []byte("SECRET")) {
		s.t.Errorf("in the answer: %s", r.body)
	}
}

func TestUploadByURL(t *testing.T) {
	s := newSite(t)
	address := s.serve()
	s.remote = roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/a/symbols.zip" {
			return answers(http.StatusFound, "Location", "/b/x?sig=SECRET2").RoundTrip(r)
		}
		return hasZip().RoundTrip(r)
	})
	for what, request := range map[string]string{
		"as curl -d":     urlForm("url", link),
		"as curl --form": request(len(encode(formPart{"url", "", []byte(link)})), asDev, "Connection: close") + string(encode(formPart{"url", "", []byte(link)})),
	} {
		s.logs.TakeAll()
		c := dial(t, address)
		c.send(request)
		r := c.reply()
		var got stored
		if err := json.Unmarshal(r.body, &got); err != nil || r.StatusCode != http.StatusCreated {
			t.Fatalf("%s: status %d: %s", what, r.StatusCode, r.body)
		}
		u := got.Upload
		if u.DownloadURL == nil || *u.DownloadURL != link || !slices.Equal(u.RedirectURLs, []string{"https://files.example.com/b/x?sig=SECRET2"}) ||
			u.Filename != "symbols.zip" || u.Size != int64(len(symbolZip)) || u.TrySymbols {
			t.Errorf("%s: %s", what, r.body)
		}
		if keys := s.store.keys(); !slices.Equal(keys, []string{"v1/" + symbolKeys[0], "v1/" + symbolKeys[1]}) {
			t.Errorf("%s: stored %q", what, keys)
		}
		event := s.event()
		for field, want := range map[string]any{
			"outcome": "stored", "filename": "symbols.zip", "archive_bytes": int64(len(symbolZip)),
			"download_url": "https://files.example.com/a/symbols.zip", "redirect_urls": []any{"https://files.example.com/b/x"}, "download_resumes": int64(0),
		} {
			if fmt.Sprint(event[field]) != fmt.Sprint(want) {
				t.Errorf("%s: event: %s is %v, want %v", what, field, event[field], want)
			}
		}
		s.wantNoSecret(r)
	}
}

// TestURLForms checks which URL of a form counts, and that a file comes before it.
func TestURLForms(t *testing.T) {
	long := "https://files.example.com/" + strings.Repeat("x", 8<<10)
	field := func(value string) formPart { return formPart{"url", "", []byte(value)} }
	try := formPart{"try", "", []byte("1")}
	encoded := func(parts ...formPart) string {
		body := encode(parts...)
		return request(len(body), asDev, "Connection: close") + string(body)
	}
	for _, c := range []struct {
		name, request string
		status        int
		asked         string
		try           bool
	}{
		{"a URL", urlForm("url", link), 201, link, false},
		{"space around it", urlForm("url", " "+link+"\n"), 201, link, false},
		{"try before", urlForm("try", "1", "url", link), 201, link, true},
		{"try after", urlForm("url", link, "try", "yes"), 201, link, true},
		{"try empty", urlForm("url", link, "try", ""), 201, link, false},
		{"two URLs: the last counts", urlForm("url", "https://files.example.com/first.zip", "url", link), 201, link, false},
		{"an empty one as well", urlForm("url", link, "url", ""), 201, link, false},
		{"too long", urlForm("url", long), 400, "", false},
		{"parts: a URL", encoded(field(link)), 201, link, false},
		{"parts: try before", encoded(try, field(link)), 201, link, true},
		{"parts: try after", encoded(field(link), try), 201, link, true},
		{"parts: two URLs", encoded(field("https://files.example.com/first.zip"), field(link)), 201, link, false},
		{"parts: too long", encoded(field(long)), 400, "", false},
		{"parts: a file as well", encoded(field(link), formPart{"symbols.zip", "symbols.zip", symbolZip}), 201, "", false},
		{"parts: a file before", encoded(formPart{"symbols.zip", "symbols.zip", symbolZip}, field(link)), 201, "", false},
	} {
		s := newSite(t)
		asked := ""
		s.remote = roundTrip(func(r *http.Request) (*http.Response, error) {
			asked = r.URL.String()
			return hasZip().RoundTrip(r)
		})
		client := dial(t, s.serve())
		client.send(c.request)
		r := client.reply()
		if r.StatusCode != c.status || asked != c.asked {
			t.Errorf("%s: status %d, asked for %q, want %d, %q: %s", c.name, r.StatusCode, asked, c.status, c.asked, r.body)
		}
		if got := (stored{}); c.asked != "" && (json.Unmarshal(r.body, &got) != nil || got.Upload.DownloadURL == nil || *got.Upload.DownloadURL != c.asked) {
			t.Errorf("%s: %s", c.name, r.body)
		}
		keys := s.store.keys()
		if c.status == 201 && (len(keys) != 2 || strings.HasPrefix(keys[0], "try/") != c.try) {
			t.Errorf("%s: stored %q", c.name, keys)
		}
		s.wantNoSecret(r)
	}
}

// TestRefusedURLs checks the answers to URLs that give no archive.
func TestRefusedURLs(t *testing.T) {
	const shown = "https://files.example.com/a/symbols.zip"
	big := archive.Build(archive.Entry{Name: "a/1/b", Data: archive.Noise(1, 2<<20)})
	redirect := func(to string) http.RoundTripper { return answers(302, "Location", to) }
	for _, c := range []struct {
		name, url string
		remote    http.RoundTripper
		status    int
		message   string // or its beginning, if it ends in …
		reason    string
	}{
		{"http", "http://files.example.com/x.zip?SECRET", hasZip(), 400, "Insecure URL", "url"},
		{"no scheme", "files.example.com/x.zip?SECRET", hasZip(), 400, "Insecure URL", "url"},
		{"userinfo", "https://user:SECRET@files.example.com/x.zip", hasZip(), 400, "Insecure URL", "url"},
		{"not a URL", "https://[SECRET", hasZip(), 400, "Enter a valid URL.", "url"},
		{"another host", "https://evil.example.org:8443/x.zip?SECRET", hasZip(), 400, "Not an allowed domain ('evil.example.org') to download from.", "url"},
		{"an address", "https://127.0.0.1/x.zip?SECRET", hasZip(), 400, "Not an allowed domain ('127.0.0.1') to download from.", "url"},
		{"an extension", "https://files.example.com/x.rar?SECRET.zip", hasZip(), 400, `Unrecognized archive file extension ".rar"`, "form"},
		{"no name", "https://files.example.com/?SECRET", hasZip(), 400, `Unrecognized archive file extension ""`, "form"},
		{"a folder", "https://files.example.com/x.zip/?SECRET", hasZip(), 400, `Unrecognized archive file extension ""`, "form"},
		{"no path", "https://files.example.com?SECRET", hasZip(), 400, `Unrecognized archive file extension ""`, "form"},
		{"a redirect to http", link, redirect("http://files.example.com/x.zip?SECRET"), 400, "Insecure URL", "url"},
		{"a redirect to another host", link, redirect("https://evil.example.org/x.zip?SECRET"), 400, "Not an allowed domain ('evil.example.org') to download from.", "url"},
		{"a redirect to nowhere", link, redirect("https://?SECRET"), 400, "Enter a valid URL.", "url"},
		{"a loop", link, redirect(link), 400, "Too many redirects trying to open " + shown, "url"},
		{"not found", link, answers(404), 400, shown + " can't be found (404)", "url"},
		{"forbidden", link, answers(403), 400, shown + " can't be found (403)", "url"},
		{"no content", link, answers(204), 400, "non-200 status code when retrieving " + shown, "url"},
		{"not modified", link, answers(304), 400, "non-200 status code when retrieving " + shown, "url"},
		{"too many requests", link, answers(429), 503, shown + " errored (429)", "remote"},
		{"a bad gateway", link, answers(502), 503, shown + " errored (502)", "remote"},
		{"no answer", link, roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("SECRET") }), 503, "ConnectionError trying to open " + shown, "remote"},
		{"encoded", link, answers(200, "Content-Encoding", "gzip"), 400, "The file at " + shown + " has the Content-Encoding gzip", "url"},
		{"cut off", link, has(bytes.NewReader(symbolZip[:5000]), len(symbolZip)), 503, "ConnectionError trying to open " + shown, "remote"},
		{"cut off, and no length", link, has(io.MultiReader(bytes.NewReader(symbolZip[:5000]), brokenReader{}), -1), 503, "ConnectionError trying to open " + shown, "remote"},
		{"an archive cut off", link, has(bytes.NewReader(symbolZip[:5000]), 5000), 400, "File is not a zip file", "archive"},
		{"empty", link, has(http.NoBody, 0), 400, "File is not a zip file", "archive"},
		{"not a zip", link, has(strings.NewReader("<html>"), -1), 400, "File is not a zip file", "archive"},
		{"a bad name", link, has(bytes.NewReader(named("x")), -1), 400, "Unrecognized file pattern.…", "name"},
		{"too large", link, has(brokenReader{}, 1<<20+1), 413, "The upload is larger than the 1.0 MiB…", "limit"},
		{"too large, and no length", link, has(bytes.NewReader(big), -1), 413, "The upload is larger than the 1.0 MiB…", "limit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.remote = c.remote
			client := dial(t, s.serve())
			client.send(urlForm("url", c.url))
			r := client.reply()
			text, cut := strings.CutSuffix(c.message, "…")
			if r.StatusCode != c.status || r.message() != c.message && (!cut || !strings.HasPrefix(r.message(), text)) {
				t.Errorf("status %d: %q\nwant   %d: %q", r.StatusCode, r.message(), c.status, c.message)
			}
			if strings.Contains(c.message, "extension") && !strings.Contains(string(r.body), "The last part of the URL's path") {
				t.Errorf("the detail is not about the URL: %s", r.body)
			}
			if keys := s.store.keys(); len(keys) != 0 {
				t.Errorf("stored %q", keys)
			}
			if e := s.event(); e["outcome"] != "refused" || e["reason"] != c.reason || e["error"] == nil {
				t.Errorf("event %v", e)
			}
			s.wantNoSecret(r)
		})
	}
}

// brokenReader is a connection that breaks.
type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestTokenLimitOfADownload checks that the stated size of a file counts before it is read.
func TestTokenLimitOfADownload(t *testing.T) {
	s := newSite(t, func(c *Config) { c.MaxTokenBytes = 30_000 })
	s.remote = has(brokenReader{}, 30_001)
	c := dial(t, s.serve())
	c.send(urlForm("url", link))
	if r := c.reply(); r.StatusCode != http.StatusTooManyRequests {
		t.Errorf("status %d: %s", r.StatusCode, r.body)
	}
}

// TestEveryCutOffOfADownload checks that nothing is stored or kept of a download that breaks
// off for good.
func TestEveryCutOffOfADownload(t *testing.T) {
	for _, stated := range []int{len(symbolZip), -1} {
		bubble(t, func(t *testing.T, s *site, connect func() *client) {
			for n := 0; n < len(symbolZip); n += 173 {
				s.remote = has(io.MultiReader(bytes.NewReader(symbolZip[:n]), brokenReader{}), stated)
				s.breaksOff(connect(), n)
			}
		})
	}
}

// slowly returns the archive in two pieces, with a pause in between, or breaks with the
// request.
type slowly struct {
	r     *http.Request
	pause time.Duration
	sent  int
}

func (s *slowly) Read(p []byte) (int, error) {
	if s.sent == len(symbolZip)/2 {
		select {
		case <-time.After(s.pause):
		case <-s.r.Context().Done():
			return 0, s.r.Context().Err()
		}
	}
	end := len(symbolZip)
	if s.sent < end/2 {
		end /= 2
	}
	n := copy(p, symbolZip[s.sent:end])
	s.sent += n
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// hasSlowly is a remote whose answer takes a second, and whose file pauses.
func hasSlowly(pause time.Duration) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		time.Sleep(time.Second)
		return has(&slowly{r: r, pause: pause}, len(symbolZip)).RoundTrip(r)
	})
}

// TestDownloadUnderWay checks what the live page shows of a download, and where its time goes.
func TestDownloadUnderWay(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		s.remote = hasSlowly(6 * time.Second)
		began := time.Now()
		c := connect()
		c.send(urlForm("url", link))
		time.Sleep(5 * time.Second)
		if s.store.begun() != 1 || len(s.store.keys()) != 0 {
			t.Errorf("%d batches, stored %q", s.store.begun(), s.store.keys())
		}
		c.expect(began, 7*time.Second, 201)
		c.leave()
		if e := s.event(); fmt.Sprint(e["waited_remote"]) != "7s" && e["waited_remote"] != 7.0 || fmt.Sprint(e["duration"]) != fmt.Sprint(e["waited_remote"]) {
			t.Errorf("event %v", e)
		}
	})
}

// TestEndsOfDownloads checks what ends a download before its end, and that nothing is stored.
func TestEndsOfDownloads(t *testing.T) {
	for name, e := range map[string]downloadEnd{
		"the client leaves":     {9 * time.Second, leaves, 3 * time.Second, 0, "client gone"},
		"the remote is idle":    {11 * time.Second, nil, 11 * time.Second, 503, "refused"},
		"the upload is long":    {9 * time.Second, nil, 4 * time.Second, 503, "timed out"},
		"the store fails":       {9 * time.Second, nil, time.Second, 503, "failed"},
		"the server shuts down": {9 * time.Second, shutsDown, 2 * time.Second, 503, "shut down"},
	} {
		t.Run(name, func(t *testing.T) {
			e.check(t, func(s *site) {
				s.remote = hasSlowly(e.pause)
				if e.outcome == "failed" {
					s.store.onBegin = func(fail func(error)) { fail(errStore) }
				}
			})
		})
	}
}

// TestPublishingOfADownloadGoesOn checks that a client that leaves does not end an upload that
// is being published.
func TestPublishingOfADownloadGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		s.remote = hasZip()
		s.store.onPublish = func() error { time.Sleep(5 * time.Second); return nil }
		c := connect()
		c.send(urlForm("url", link))
		time.Sleep(time.Second)
		c.leave()
		time.Sleep(10 * time.Second)
		if e := s.event(); e["outcome"] != "stored" || len(s.store.keys()) != 2 {
			t.Errorf("event %v, stored %q", e, s.store.keys())
		}
	})
}
