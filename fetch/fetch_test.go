package fetch

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"spillway/testdata/remote"
)

func TestURLs(t *testing.T) {
	secure := &InsecureError{}
	userinfo := &InsecureError{User: true}
	invalid := &InvalidError{}
	domain := func(host string) error { return &DomainError{Host: host} }
	strict := New(Config{Domains: []string{allowedHost, "10.0.0.1"}})
	lax := New(Config{Any: true})
	for _, c := range []struct {
		url       string
		want, any error
	}{
		{"https://files.example.com/x.zip", nil, nil},
		{"https://FILES.example.COM:8443/a/x.zip?q#f", nil, nil},
		{"HTTPS://files.example.com", nil, nil},
		{" https://files.example.com/x.zip", invalid, invalid},
		{"https://files.example.com/x.zip\n", invalid, invalid},
		{"https://10.0.0.1/x.zip", nil, nil}, // allowed, but the connection is not made
		{"http://files.example.com/x.zip", secure, nil},
		{"ftp://files.example.com/x.zip", secure, secure},
		{"file:///etc/passwd", secure, secure},
		{"//files.example.com/x.zip", secure, secure},
		{"files.example.com/x.zip", secure, secure},
		{"", secure, secure},
		{"https:", invalid, invalid},
		{"https:///x.zip", invalid, invalid},
		{"https:files.example.com/x.zip", invalid, invalid},
		{"https://:443/x.zip", invalid, invalid},
		{"https://files.example.com:port/x.zip", invalid, invalid},
		{"https://files.example.com/%zz", invalid, invalid},
		{"https://files.example.com/\x00", invalid, invalid},
		{"https://[::1/x.zip", invalid, invalid},
		{"https://files.example.com/" + strings.Repeat("x", MaxURL), invalid, invalid},
		{"https://user@files.example.com/x.zip", userinfo, userinfo},
		{"https://user:password@files.example.com/x.zip", userinfo, userinfo},
		{"https://files.example.com@evil.example.org/x.zip", userinfo, userinfo},
		{"https://@files.example.com/x.zip", userinfo, userinfo},
		{"https://evil.example.org/x.zip", domain("evil.example.org"), nil},
		{"https://files.example.com.evil.example.org/x.zip", domain("files.example.com.evil.example.org"), nil},
		{"https://files.example.com./x.zip", domain("files.example.com."), nil},
		{"https://a.files.example.com/x.zip", domain("a.files.example.com"), nil},
		{"https://evil.example.org\\@files.example.com/x.zip", invalid, invalid},
		{"https://evil.example.org#@files.example.com/x.zip", domain("evil.example.org"), nil},
		{"https://evil.example.org?@files.example.com/x.zip", domain("evil.example.org"), nil},
		{"https://127.0.0.1/x.zip", domain("127.0.0.1"), nil},
		{"https://2130706433/x.zip", domain("2130706433"), nil},
		{"https://0x7f000001/x.zip", domain("0x7f000001"), nil},
		{"https://017700000001/x.zip", domain("017700000001"), nil},
		{"https://127.1/x.zip", domain("127.1"), nil},
		{"https://0/x.zip", domain("0"), nil},
		{"https://[::1]/x.zip", domain("::1"), nil},
		{"https://[::ffff:127.0.0.1]:443/x.zip", domain("::ffff:127.0.0.1"), nil},
		{"https://[fe80::1%25eth0]/x.zip", domain("fe80::1%eth0"), nil},
	} {
		for f, want := range map[*Fetcher]error{strict: c.want, lax: c.any} {
			if _, err := f.Parse(c.url); (err != nil || want != nil) && !found(err, want) {
				t.Errorf("%q (any: %v): %v, want %v", c.url, f.any, err, want)
			}
		}
	}
}

func TestShown(t *testing.T) {
	u, err := url.Parse("https://user:password@host:8443/a%2Fb/x.zip?sig=SECRET#SECRET")
	if err != nil {
		t.Fatal(err)
	}
	if got := Shown(u); got != "https://host:8443/a%2Fb/x.zip" {
		t.Errorf("shown as %q", got)
	}
}

func TestRedirects(t *testing.T) {
	w := newWorld(t)
	const content = "content"
	w.mux.Handle("/x.zip", &remote.File{Content: []byte(content)})
	redirect := func(path string, status int, location string) {
		w.mux.HandleFunc(path, func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Referer") != "" {
				t.Errorf("the remote is told the URL before: %q", r.Header.Get("Referer"))
			}
			if location != "" {
				rw.Header().Set("Location", location)
			}
			rw.WriteHeader(status)
			_, _ = io.WriteString(rw, strings.Repeat("moved ", 10_000))
		})
	}
	redirect("/a/relative", 302, "../x.zip?"+secret)
	redirect("/absolute", 301, "/x.zip?"+secret)
	redirect("/same-scheme", 303, "//"+otherHost+":"+w.port+"/x.zip?"+secret)
	redirect("/other-host", 307, w.at(otherHost, "/x.zip"))
	redirect("/permanent", 308, w.at(allowedHost, "/x.zip"))
	for _, n := range []string{"1", "2", "3", "4", "5", "6"} {
		redirect("/chain/"+n, 302, map[string]string{"1": "/x.zip"}[n]+map[string]string{"2": "1", "3": "2", "4": "3", "5": "4", "6": "5"}[n]+"?"+secret)
	}
	redirect("/loop", 302, "/loop?"+secret)
	redirect("/http", 302, "http://"+allowedHost+"/x.zip?"+secret)
	redirect("/file", 302, "file:///etc/passwd?"+secret)
	redirect("/userinfo", 302, "https://user:SECRET@"+allowedHost+"/x.zip")
	redirect("/evil", 302, w.at("other.example.com", "/x.zip"))
	redirect("/loopback", 302, w.at("127.0.0.1", "/x.zip"))
	redirect("/malformed", 302, "https://[SECRET/x.zip")
	redirect("/no-host", 302, "https:///x.zip?"+secret)
	redirect("/long", 302, "/"+strings.Repeat("x", MaxURL))
	redirect("/nowhere", 302, "")
	redirect("/choices", 300, "/x.zip")
	redirect("/unchanged", 304, "/x.zip")

	host := "https://" + allowedHost + ":" + w.port
	for path, want := range map[string]struct {
		err       error
		redirects []string
	}{
		"/a/relative":  {nil, []string{w.at(allowedHost, "/x.zip")}},
		"/absolute":    {nil, []string{w.at(allowedHost, "/x.zip")}},
		"/same-scheme": {nil, []string{w.at(otherHost, "/x.zip")}},
		"/other-host":  {nil, []string{w.at(otherHost, "/x.zip")}},
		"/permanent":   {nil, []string{w.at(allowedHost, "/x.zip")}},
		"/chain/5": {nil, []string{
			w.at(allowedHost, "/chain/4"), w.at(allowedHost, "/chain/3"), w.at(allowedHost, "/chain/2"), w.at(allowedHost, "/chain/1"), w.at(allowedHost, "/x.zip"),
		}},
		"/chain/6":   {&RedirectsError{URL: host + "/chain/6"}, nil},
		"/loop":      {&RedirectsError{URL: host + "/loop"}, nil},
		"/http":      {&InsecureError{}, nil},
		"/file":      {&InsecureError{}, nil},
		"/userinfo":  {&InsecureError{User: true}, nil},
		"/evil":      {&DomainError{Host: "other.example.com"}, nil},
		"/loopback":  {&DomainError{Host: "127.0.0.1"}, nil},
		"/malformed": {&InvalidError{From: host + "/malformed"}, nil},
		"/no-host":   {&InvalidError{From: host + "/no-host"}, nil},
		"/long":      {&InvalidError{From: host + "/long"}, nil},
		"/nowhere":   {&StatusError{URL: host + "/nowhere", Status: 302}, nil},
		"/choices":   {&StatusError{URL: host + "/choices", Status: 300}, nil},
		"/unchanged": {&StatusError{URL: host + "/unchanged", Status: 304}, nil},
	} {
		got, d, err := w.fetch(w.at(allowedHost, path))
		if want.err != nil {
			if !found(err, want.err) {
				t.Errorf("%s: %v, want %v", path, err, want.err)
			}
			continue
		}
		if err != nil || string(got) != content {
			t.Errorf("%s: %q, %v", path, got, err)
			continue
		}
		var urls []string
		for _, u := range d.Redirects() {
			urls = append(urls, u.String())
		}
		if strings.Join(urls, " ") != strings.Join(want.redirects, " ") {
			t.Errorf("%s: redirects %q, want %q", path, urls, want.redirects)
		}
	}
}

// TestRedirectsByScheme checks that only development allows plain http, to this machine.
func TestRedirectsByScheme(t *testing.T) {
	w := newWorld(t)
	w.fetcher = New(Config{Any: true, Idle: time.Second})
	plain := remote.Start(t, w.mux, false)
	w.mux.Handle("/x.zip", &remote.File{Content: []byte("content")})
	w.mux.HandleFunc("/moved", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, plain.URL+"/x.zip", http.StatusFound)
	})
	if got, _, err := w.fetch(plain.URL + "/moved"); err != nil || string(got) != "content" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestStatuses(t *testing.T) {
	w := newWorld(t)
	for status, temporary := range map[int]bool{
		201: false, 204: false, 206: false, 400: false, 401: false, 403: false, 404: false, 410: false, 416: false, 451: false,
		408: true, 425: true, 429: true, 500: true, 502: true, 503: true, 504: true, 507: true, 599: true,
	} {
		path := "/" + http.StatusText(status)
		path = strings.ReplaceAll(path, " ", "-") + string(rune('a'+status%26))
		w.mux.HandleFunc(path, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(status) })
		_, _, err := w.fetch(w.at(allowedHost, path))
		if e, ok := errors.AsType[*StatusError](err); !ok || e.Status != status || e.Temporary() != temporary || e.URL != "https://"+allowedHost+":"+w.port+path {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

func TestEncodings(t *testing.T) {
	w := newWorld(t)
	for encoding, taken := range map[string]bool{"": true, "identity": true, "Identity, identity": true, "gzip": false, "identity, br": false, "x": false} {
		path := "/" + strings.NewReplacer(" ", "", ",", "-").Replace(encoding) + "/x.zip"
		if encoding == "" {
			path = "/none/x.zip"
		}
		f := &remote.File{Content: []byte("content"), Header: http.Header{}}
		if encoding != "" {
			f.Header.Set("Content-Encoding", encoding)
		}
		w.mux.HandleFunc(path, func(rw http.ResponseWriter, r *http.Request) {
			if got := strings.Join(r.Header["Accept-Encoding"], " "); got != "identity" {
				t.Errorf("Accept-Encoding: %q", got)
			}
			f.ServeHTTP(rw, r)
		})
		_, _, err := w.fetch(w.at(allowedHost, path))
		if _, refused := errors.AsType[*EncodingError](err); refused == taken || taken && err != nil {
			t.Errorf("%q: %v", encoding, err)
		}
	}
}

func TestSizes(t *testing.T) {
	w := newWorld(t)
	w.mux.Handle("/stated.zip", &remote.File{Content: make([]byte, 100_000)})
	w.mux.Handle("/chunked.zip", &remote.File{Content: make([]byte, 100_000), Chunked: true})
	w.mux.Handle("/empty.zip", &remote.File{})
	for path, want := range map[string]int64{"/stated.zip": 100_000, "/chunked.zip": 0, "/empty.zip": 0} {
		got, d, err := w.fetch(w.at(allowedHost, path))
		if err != nil || d.Size() != want || path != "/empty.zip" && len(got) != 100_000 {
			t.Errorf("%s: %d bytes of %d, %v", path, len(got), d.Size(), err)
		}
	}
}
