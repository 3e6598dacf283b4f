package fetch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spillway/testdata/nightly"
	"spillway/testdata/remote"
)

const tailSize = 1000

// openTail opens a download whose first request asks for the tail.
func (w *world) openTail(text string) (*Download, error) {
	w.t.Helper()
	u, err := w.fetcher.Parse(text)
	if err != nil {
		w.t.Fatal(err)
	}
	d, err := w.fetcher.Open(w.t.Context(), u, nil, tailSize)
	if err == nil {
		w.t.Cleanup(d.Close)
	}
	return d, err
}

// TestTail checks which remotes a file is read from in ranges, and how many requests it takes to
// know. From all others, the whole file arrives.
func TestTail(t *testing.T) {
	etag := remote.StrongETag()
	file := func(h http.Header) *remote.File { return &remote.File{Content: content, Header: h} }
	const right = "bytes 999000-999999/1000000"
	// tail is a remote that answers requests for a range with that status and header.
	tail := func(status int, header ...string) *remote.File {
		f := file(etag)
		f.Rest = func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Add(header[i], header[i+1])
			}
			w.WriteHeader(status)
			_, _ = w.Write(content[999_000:])
		}
		return f
	}
	for _, c := range []struct {
		name     string
		file     *remote.File
		ranged   bool
		requests int
		err      bool
	}{
		{"an ETag", file(etag), true, 1, false},
		{"a Last-Modified", file(remote.Before(time.Hour)), true, 1, false},
		{"a chunked range", &remote.File{Content: content, Header: etag, Chunked: true}, true, 1, false},
		{"a file that is shorter than the tail", &remote.File{Content: content[:100], Header: etag}, true, 1, false},
		{"no ranges", &remote.File{Content: content, Header: etag, NoRanges: true}, false, 1, false},
		{"an empty file", &remote.File{Header: etag}, false, 1, false},
		{"a weak ETag", file(http.Header{"Etag": {`W/"one"`}}), false, 2, false},
		{"a Last-Modified of just now", file(remote.Before(2 * time.Second)), false, 2, false},
		{"no validator", file(nil), false, 2, false},
		{"a range that breaks off", &remote.File{Content: content, Header: etag, Breaks: []int{999_500}}, false, 2, false},
		{"no total", tail(206, "ETag", `"one"`, "Content-Range", "bytes 999000-999999/*"), false, 2, false},
		{"no range", tail(206, "ETag", `"one"`), false, 2, false},
		{"two ranges", tail(206, "ETag", `"one"`, "Content-Range", right, "Content-Range", right), false, 2, false},
		{"a shorter range", tail(206, "ETag", `"one"`, "Content-Range", "bytes 999001-999999/1000000"), false, 2, false},
		{"a longer range", tail(206, "ETag", `"one"`, "Content-Range", "bytes 998999-999999/1000000"), false, 2, false},
		{"the first bytes", tail(206, "ETag", `"one"`, "Content-Range", "bytes 0-999/1000000"), false, 2, false},
		{"another length", tail(206, "ETag", `"one"`, "Content-Range", "bytes 0-499/500"), false, 2, false},
		{"an empty file in MinIO", tail(206, "ETag", `"one"`, "Content-Range", "bytes 0--1/0"), false, 2, false},
		{"an encoded range", tail(206, "ETag", `"one"`, "Content-Range", right, "Content-Encoding", "gzip"), false, 2, false},
		{"400", tail(400), false, 2, false},
		{"403", tail(403), false, 2, false},
		{"416", tail(416, "Content-Range", "bytes */1000000"), false, 2, false},
		{"500", tail(500), false, 2, false},
		{"501", tail(501), false, 2, false},
		{"404", tail(404), false, 1, true},
		{"410", tail(410), false, 1, true},
		{"429", tail(429), false, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			requests := 0
			w.mux.HandleFunc("/x.zip", func(rw http.ResponseWriter, r *http.Request) {
				requests++
				c.file.ServeHTTP(rw, r)
			})
			w.mux.Handle("/first.zip", http.RedirectHandler("/x.zip?"+secret, http.StatusSeeOther))
			d, err := w.openTail(w.at(allowedHost, "/first.zip"))
			if (err != nil) != c.err || requests != c.requests {
				t.Fatalf("%d requests, want %d: %v", requests, c.requests, err)
			}
			if err != nil {
				return
			}
			if d.Ranged() != c.ranged || d.Requests() != c.requests+1 {
				t.Errorf("ranged: %t, %d requests", d.Ranged(), d.Requests())
			}
			if d.Ranged() {
				d.Range(0, d.Size())
			}
			if got, err := io.ReadAll(d); err != nil || !bytes.Equal(got, c.file.Content) {
				t.Errorf("%d bytes: %v", len(got), err)
			}
		})
	}
}

// readRange reads a range of a download.
func readRange(d *Download, from, to int) ([]byte, error) {
	d.Range(int64(from), int64(to))
	return io.ReadAll(d)
}

// TestRange reads ranges in any order, and counts what they take.
func TestRange(t *testing.T) {
	w := newWorld(t)
	f := &remote.File{Content: content, Header: remote.StrongETag()}
	w.mux.Handle("/x.zip", f)
	d, err := w.openTail(w.at(allowedHost, "/x.zip"))
	if err != nil {
		t.Fatal(err)
	}
	end := len(content)
	for _, r := range []struct {
		from, to int
		sent     []remote.Span
	}{
		{end - tailSize, end, nil},
		{end - 10, end - 5, nil},
		{end, end, nil},
		{500, 500, nil},
		{0, 1, []remote.Span{{Start: 0, End: 1}}},
		{300_000, 700_000, []remote.Span{{Start: 300_000, End: 700_000}}},
		{end - 2*tailSize, end, []remote.Span{{Start: end - 2*tailSize, End: end - tailSize}}},
		{0, end, []remote.Span{{Start: 0, End: end - tailSize}}},
	} {
		before, fetched := len(f.Spans()), d.Fetched()
		got, err := readRange(d, r.from, r.to)
		if err != nil || !bytes.Equal(got, content[r.from:r.to]) {
			t.Errorf("%d to %d: %d bytes, %v", r.from, r.to, len(got), err)
		}
		sent, bytes := f.Spans()[before:], int64(0)
		for _, s := range sent {
			bytes += int64(s.End - s.Start)
		}
		if !slices.Equal(sent, r.sent) || d.Fetched()-fetched != bytes {
			t.Errorf("%d to %d: asked for %v, fetched %d", r.from, r.to, sent, d.Fetched()-fetched)
		}
	}
	d.Range(0, 500_000)
	if _, err := d.Read(make([]byte, 10)); err != nil {
		t.Error(err)
	}
	if got, err := readRange(d, 5, 10); err != nil || !bytes.Equal(got, content[5:10]) {
		t.Errorf("after a range that was not read to its end: %d bytes, %v", len(got), err)
	}
}

// TestRangesShareAConnection: ranges that are read to their end take one connection, others and
// whole files one each.
func TestRangesShareAConnection(t *testing.T) {
	w := newWorld(t)
	var (
		seen  sync.Map // the addresses of clients
		conns atomic.Int64
	)
	w.mux.HandleFunc("/x.zip", func(rw http.ResponseWriter, r *http.Request) {
		if _, known := seen.LoadOrStore(r.RemoteAddr, true); !known {
			conns.Add(1)
		}
		(&remote.File{Content: content, Header: remote.StrongETag()}).ServeHTTP(rw, r)
	})
	d, err := w.openTail(w.at(allowedHost, "/x.zip"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := readRange(d, i*10_000, i*10_000+500_000); err != nil {
			t.Fatal(err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for ranges", n)
	}
	for range 2 {
		d.Range(0, 500_000)
		if _, err := d.Read(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := w.fetch(w.at(allowedHost, "/x.zip")); err != nil {
		t.Fatal(err)
	}
	if n := conns.Load(); n != 3 {
		t.Errorf("%d connections in the end", n)
	}
}

// TestRangesOfAnotherFile: what the remote answers to a request for a range, after the tail, and
// whether the file can be read from its start then.
func TestRangesOfAnotherFile(t *testing.T) {
	const right = "bytes 100000-199999/1000000"
	for _, c := range []struct {
		name    string
		status  int
		header  []string
		length  int // of the body
		changed bool
		want    string
	}{
		{"the file", 200, []string{"ETag", `"two"`}, 1_000_000, true, "the file has changed"},
		{"an earlier range", 206, []string{"Content-Range", "bytes 99999-199998/1000000"}, 100_000, true, "another range"},
		{"a range that overlaps", 206, []string{"Content-Range", "bytes 100000-200000/1000000"}, 100_001, true, "another range"},
		{"a range that is shorter", 206, []string{"Content-Range", "bytes 100000-199998/1000000"}, 99_999, true, "another range"},
		{"another total", 206, []string{"Content-Range", "bytes 100000-199999/1000001"}, 100_000, true, "another range"},
		{"another length", 206, []string{"Content-Range", right, "Content-Length", "99999"}, 99_999, true, "another length"},
		{"no range", 206, nil, 100_000, true, "does not say which range"},
		{"another ETag", 206, []string{"Content-Range", right, "ETag", `"two"`}, 100_000, true, "the file has changed"},
		{"an encoded range", 206, []string{"Content-Range", right, "Content-Encoding", "gzip"}, 100_000, true, "encoded the range"},
		{"more than it says", 206, []string{"Content-Range", right, "Transfer-Encoding", "chunked"}, 100_001, true, "more arrived"},
		{"412", 412, nil, 0, true, "status 412"},
		{"416", 416, nil, 0, true, "status 416"},
		{"403", 403, nil, 0, false, "status 403"},
		{"404", 404, nil, 0, false, "status 404"},
		{"503", 503, nil, 0, false, "status 503"},
		{"a redirect", 302, []string{"Location", "/elsewhere"}, 0, false, "status 302"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			changed := content[:900_000]
			w.mux.HandleFunc("/x.zip", func(rw http.ResponseWriter, r *http.Request) {
				switch asked := r.Header.Get("Range"); {
				case strings.HasPrefix(asked, "bytes=-"):
					(&remote.File{Content: content, Header: remote.StrongETag()}).ServeHTTP(rw, r)
				case asked == "":
					maps.Copy(rw.Header(), http.Header{"Etag": {`"two"`}})
					_, _ = rw.Write(changed)
				default:
					for i := 0; i < len(c.header); i += 2 {
						rw.Header().Set(c.header[i], c.header[i+1])
					}
					rw.WriteHeader(c.status)
					_, _ = rw.Write(content[:c.length])
				}
			})
			d, err := w.openTail(w.at(allowedHost, "/x.zip"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = readRange(d, 100_000, 200_000)
			if e, ok := errors.AsType[*RemoteError](err); !ok || e.Changed != c.changed || !strings.Contains(e.Reason, c.want) {
				t.Errorf("%+v, want %q", err, c.want)
			}
			if err := d.Rewind(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(d); err != nil || !bytes.Equal(got, changed) || d.Ranged() {
				t.Errorf("from the start: %d bytes, %v", len(got), err)
			}
		})
	}
}

// TestRewind: what a remote answers once a file is to be read from its start after all.
func TestRewind(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"a status":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, &RemoteError{}},
		"a redirect":  {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/y.zip", http.StatusFound) }, &RemoteError{}},
		"an encoding": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Encoding", "br") }, &EncodingError{}},
	} {
		w := newWorld(t)
		w.mux.HandleFunc("/x.zip", func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") == "" {
				c.answer(rw, r)
				return
			}
			(&remote.File{Content: content, Header: remote.StrongETag()}).ServeHTTP(rw, r)
		})
		d, err := w.openTail(w.at(allowedHost, "/x.zip"))
		if err != nil {
			t.Fatal(err)
		}
		if err = d.Rewind(); fmt.Sprintf("%T", err) != fmt.Sprintf("%T", c.want) {
			t.Errorf("%s: %v, want a %T", name, err, c.want)
		}
		if n, again := d.Read(make([]byte, 10)); n != 0 || again == nil {
			t.Errorf("%s: read %d bytes, %v", name, n, again)
		}
	}
}

// TestBreaksInRanges checks that ranges are whole wherever they break off.
func TestBreaksInRanges(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for run := range nightly.Pick(20, 200) {
		f := &remote.File{Content: content, Header: remote.StrongETag(), Breaks: []int{len(content) + 1}, Chunked: run%2 == 1}
		for range 1 + random.IntN(maxResumes) {
			f.Breaks = append(f.Breaks, 1+random.IntN(len(content)-1))
		}
		w := newWorld(t)
		w.mux.Handle("/x.zip", f)
		d, err := w.openTail(w.at(allowedHost, "/x.zip"))
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			from := random.IntN(len(content))
			to := from + random.IntN(len(content)-from)
			got, err := readRange(d, from, to)
			if err != nil && strings.Contains(err.Error(), "before anything had arrived") {
				break // two breaks at the start of a range
			}
			if err != nil || !bytes.Equal(got, content[from:to]) {
				t.Errorf("breaks at %v: %d to %d: %d bytes, %v", f.Breaks, from, to, len(got), err)
				break
			}
		}
	}
}
