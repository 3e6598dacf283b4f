package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"spillway/internal/account"
	"spillway/testdata/archive"
	"spillway/testdata/nightly"
	"spillway/testdata/remote"
)

// content is the file of these tests. No two of its ranges are alike.
var content = archive.Noise(1, 1_000_000)

// TestResume breaks downloads in every way, and checks which of them go on.
func TestResume(t *testing.T) {
	etag := remote.StrongETag()
	weak := http.Header{"Etag": {`W/"one"`}}
	with := func(h http.Header, field, value string) http.Header {
		h = h.Clone()
		h.Set(field, value)
		return h
	}
	rest := func(status int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			_, _ = w.Write(content[600_000:])
		}
	}
	const right = "bytes 600000-999999/1000000"
	for _, c := range []struct {
		name string
		file *remote.File
		want string // of RemoteError.Reason; empty: the whole file arrives
	}{
		{"an ETag", &remote.File{Header: etag}, ""},
		{"a Last-Modified", &remote.File{Header: remote.Before(time.Hour)}, ""},
		{"a weak ETag and a Last-Modified", &remote.File{Header: with(remote.Before(time.Hour), "ETag", `W/"one"`)}, ""},
		{"no length", &remote.File{Header: etag, Chunked: true}, ""},
		{"a connection that is reset", &remote.File{Header: etag, Reset: true}, ""},
		{"a connection that stalls", &remote.File{Header: etag, Stall: true}, ""},
		{"a range that has no total", &remote.File{Header: etag, Rest: rest(206, "Content-Range", "bytes 600000-999999/*")}, ""},
		{"a range with the same ETag", &remote.File{Header: etag, Rest: rest(206, "Content-Range", right, "ETag", `"one"`)}, ""},
		{"a range in capitals", &remote.File{Header: etag, Rest: rest(206, "Content-Range", "BYTES 600000-999999/1000000")}, ""},

		{"no length, and a range without a length", &remote.File{Header: etag, Chunked: true, Rest: rest(206, "Content-Range", right, "Transfer-Encoding", "chunked")}, ""},

		{"no length, and a range that has no total", &remote.File{Header: etag, Chunked: true, Rest: rest(206, "Content-Range", "bytes 600000-999999/*")}, "another range"},
		{"no length, and a range that is shorter than it says", &remote.File{Header: etag, Chunked: true, Rest: rest(206, "Content-Range", "bytes 600000-1000000/1000001")}, "the connection was closed, and it cannot be resumed"},
		{"no length, and a range that is longer than it says", &remote.File{Header: etag, Chunked: true, Rest: rest(206, "Content-Range", "bytes 600000-999998/999999")}, "more arrived"},
		{"a weak ETag", &remote.File{Header: weak}, "no strong validator"},
		{"an ETag without quotes", &remote.File{Header: http.Header{"Etag": {"one"}}}, "no strong validator"},
		{"a Last-Modified of just now", &remote.File{Header: remote.Before(2 * time.Second)}, "no strong validator"},
		{"a Last-Modified of later", &remote.File{Header: remote.Before(-time.Hour)}, "no strong validator"},
		{"no validator", &remote.File{}, "no strong validator"},
		{"no ranges", &remote.File{Header: with(etag, "Accept-Ranges", "none")}, "no strong validator"},
		{"a 200", &remote.File{Header: etag, Rest: rest(200, "ETag", `"one"`)}, "the file has changed, or the remote has no ranges of it"},
		{"a 200 with the header of a range", &remote.File{Header: etag, Rest: rest(200, "Content-Range", right)}, "the file has changed, or"},
		{"a 404", &remote.File{Header: etag, Rest: rest(404)}, "status 404"},
		{"a 412", &remote.File{Header: etag, Rest: rest(412)}, "status 412"},
		{"a 416", &remote.File{Header: etag, Rest: rest(416, "Content-Range", "bytes */1000000")}, "status 416"},
		{"a 503", &remote.File{Header: etag, Rest: rest(503)}, "status 503"},
		{"a redirect", &remote.File{Header: etag, Rest: rest(302, "Location", "/elsewhere?"+secret)}, "status 302"},
		{"a range without its header", &remote.File{Header: etag, Rest: rest(206)}, "does not say which range"},
		{"many ranges", &remote.File{Header: etag, Rest: rest(206, "Content-Type", "multipart/byteranges; boundary=x")}, "does not say which range"},
		{"an earlier range", &remote.File{Header: etag, Rest: rest(206, "Content-Range", "bytes 599999-999999/1000000")}, "another range"},
		{"a later range", &remote.File{Header: etag, Rest: rest(206, "Content-Range", "bytes 600001-999999/1000000")}, "another range"},
		{"the whole file as a range", &remote.File{Header: etag, Rest: rest(206, "Content-Range", "bytes 0-999999/1000000")}, "another range"},
		{"a range that ends early", &remote.File{Header: etag, Rest: rest(206, "Content-Range", "bytes 600000-999998/1000000")}, "another range"},
		{"a range of a longer file", &remote.File{Header: etag, Rest: rest(206, "Content-Range", "bytes 600000-1000000/1000001")}, "another range"},
		{"a range of a longer file that has no total", &remote.File{Header: etag, Rest: rest(206, "Content-Range", "bytes 600000-1000000/*")}, "another range"},
		{"a malformed range", &remote.File{Header: etag, Rest: rest(206, "Content-Range", "bytes=600000-999999/1000000")}, "does not say which range"},
		{"a range backwards", &remote.File{Header: etag, Rest: rest(206, "Content-Range", "bytes 600000-1/1000000")}, "does not say which range"},
		{"a range of negative numbers", &remote.File{Header: etag, Rest: rest(206, "Content-Range", "bytes -600000-999999/1000000")}, "does not say which range"},
		{"a range in other units", &remote.File{Header: etag, Rest: rest(206, "Content-Range", "lines 600000-999999/1000000")}, "does not say which range"},
		{"a range of another length", &remote.File{Header: etag, Rest: rest(206, "Content-Range", right, "Content-Length", "399999")}, "another length"},
		{"another ETag", &remote.File{Header: etag, Rest: rest(206, "Content-Range", right, "ETag", `"two"`)}, "the file has changed"},
		{"the same ETag, but weak", &remote.File{Header: etag, Rest: rest(206, "Content-Range", right, "ETag", `W/"one"`)}, "the file has changed"},
		{"another Last-Modified", &remote.File{Header: remote.Before(time.Hour), Rest: rest(206, "Content-Range", right, "Last-Modified", time.Now().UTC().Format(http.TimeFormat))}, "the file has changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetcher.idle = 200 * time.Millisecond
			c.file.Content, c.file.Breaks = content, []int{600_000}
			w.mux.Handle("/x.zip", c.file)
			got, d, err := w.fetch(w.at(allowedHost, "/x.zip"))
			if !bytes.HasPrefix(content, got) {
				t.Errorf("%d bytes that are not the file's", len(got))
			}
			if c.want == "" {
				if err != nil || len(got) != len(content) || d.Resumes() != 1 {
					t.Errorf("%d bytes, resumed %d times, %v", len(got), d.Resumes(), err)
				}
				return
			}
			if e, ok := errors.AsType[*RemoteError](err); !ok || !strings.Contains(e.Reason, c.want) || e.Offset != int64(len(got)) || e.URL == "" ||
				len(got) != 600_000 && !strings.HasSuffix(c.name, "than it says") {
				t.Errorf("%d bytes, %v, want %q", len(got), err, c.want)
			}
		})
	}
}

// TestEncodedRest checks that an encoding is refused where a download is resumed, too.
func TestEncodedRest(t *testing.T) {
	w := newWorld(t)
	w.mux.Handle("/x.zip", &remote.File{Content: content, Header: remote.StrongETag(), Breaks: []int{600_000}, Rest: func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Encoding", "gzip")
		rw.Header().Set("Content-Range", "bytes 600000-999999/1000000")
		rw.WriteHeader(http.StatusPartialContent)
		_, _ = rw.Write(content[600_000:])
	}})
	_, _, err := w.fetch(w.at(allowedHost, "/x.zip"))
	if _, ok := errors.AsType[*EncodingError](err); !ok {
		t.Error(err)
	}
}

// TestResumesHaveAnEnd checks that a download is resumed a few times only, with progress each
// time.
func TestResumesHaveAnEnd(t *testing.T) {
	for _, c := range []struct {
		name   string
		breaks []int
		want   string
	}{
		{"five breaks", []int{1, 2, 3, 4, 5}, ""},
		{"six breaks", []int{1, 2, 3, 4, 5, 6}, "resumed 5 times"},
		{"a break at the start", []int{0}, "before anything had arrived"},
		{"two breaks at one place", []int{500_000, 500_000}, "before anything had arrived"},
		{"a break at the end", []int{len(content) - 1, len(content)}, ""},
	} {
		w := newWorld(t)
		f := &remote.File{Content: content, Header: remote.StrongETag(), Breaks: c.breaks}
		w.mux.Handle("/x.zip", f)
		got, _, err := w.fetch(w.at(allowedHost, "/x.zip"))
		if c.want == "" && (err != nil || !bytes.Equal(got, content)) {
			t.Errorf("%s: %d bytes, %v", c.name, len(got), err)
		}
		if e, ok := errors.AsType[*RemoteError](err); c.want != "" && (!ok || !strings.Contains(e.Reason, c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if last := c.breaks[len(c.breaks)-1]; err != nil && !bytes.Equal(got, content[:last]) {
			t.Errorf("%s: %d bytes arrived, want %d", c.name, len(got), last)
		}
	}
}

// TestBreaksAtRandomPlaces checks that the file is whole wherever its download breaks, and
// that no more of it is sent twice than what was on its way.
func TestBreaksAtRandomPlaces(t *testing.T) {
	const record = 16 << 10 // of TLS: a part of one cannot be read
	random := rand.New(rand.NewPCG(1, 2))
	runs := nightly.Pick(20, 200)
	for run := range runs {
		breaks := make([]int, 1+random.IntN(maxResumes))
		for i := range breaks {
			breaks[i] = 1 + random.IntN(len(content)-1)
		}
		slices.Sort(breaks)
		breaks = slices.Compact(breaks)
		f := &remote.File{Content: content, Header: remote.StrongETag(), Breaks: breaks, Reset: run%4 == 3, Chunked: run%2 == 1}
		w := newWorld(t)
		w.mux.Handle("/x.zip", f)
		got, d, err := w.fetch(w.at(allowedHost, "/x.zip"))
		if err != nil && f.Reset && strings.Contains(err.Error(), "before anything had arrived") {
			if !bytes.HasPrefix(content, got) {
				t.Errorf("breaks at %v: %d bytes that are not the file's", breaks, len(got))
			}
			continue // a reset may lose all that was sent
		}
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("breaks at %v: %d bytes, %v", breaks, len(got), err)
			continue
		}
		starts := f.Starts()
		if len(starts) != len(breaks)+1 || d.Resumes() != len(breaks) {
			t.Errorf("breaks at %v: answers from %v", breaks, starts)
			continue
		}
		for i, at := range breaks {
			if twice := at - starts[i+1]; twice < 0 || twice > record && !f.Reset {
				t.Errorf("breaks at %v: %d bytes were sent twice", breaks, twice)
			}
		}
	}
}

// TestReaderContract checks what io.Reader asks for, across breaks.
func TestReaderContract(t *testing.T) {
	w := newWorld(t)
	short := content[:5000]
	w.mux.HandleFunc("/x.zip", func(rw http.ResponseWriter, r *http.Request) {
		f := &remote.File{Content: short, Header: remote.StrongETag()}
		if r.Header.Get("Range") == "" {
			f.Breaks = []int{1234}
		}
		f.ServeHTTP(rw, r)
	})
	u, err := w.fetcher.Parse(w.at(allowedHost, "/x.zip"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := w.fetcher.Open(t.Context(), u, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := iotest.TestReader(d, short); err != nil {
		t.Error(err)
	}
	d.Close()
	d.Close()
}

func TestReadAfterClose(t *testing.T) {
	w := newWorld(t)
	f := &remote.File{Content: content, Header: remote.StrongETag()}
	w.mux.Handle("/x.zip", f)
	u, err := w.fetcher.Parse(w.at(allowedHost, "/x.zip"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := w.fetcher.Open(t.Context(), u, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if n, err := d.Read(make([]byte, 100)); n != 0 || err == nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if starts := f.Starts(); len(starts) != 1 {
		t.Errorf("answers from %v: it was resumed", starts)
	}
}

// roundTrip is a transport without a network, for fake time.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// lying returns a transport whose bodies have another length than they state. No server that
// speaks HTTP can send them, but a range may.
func lying(stated int64, bodies ...io.ReadCloser) roundTrip {
	n := 0
	return func(r *http.Request) (*http.Response, error) {
		h := remote.StrongETag()
		status := http.StatusOK
		if from := r.Header.Get("Range"); from != "" {
			status = http.StatusPartialContent
			h.Set("Content-Range", fmt.Sprintf("bytes %s%d/%d", strings.TrimPrefix(from, "bytes="), stated-1, stated))
		}
		n++
		length := int64(-1)
		if n == 1 {
			length = stated
		}
		return &http.Response{StatusCode: status, Header: h, ContentLength: length, Body: bodies[n-1]}, nil
	}
}

func body(r io.Reader) io.ReadCloser { return io.NopCloser(r) }

// TestLengthsThatLie checks that a file is as long as the first answer says, or refused.
func TestLengthsThatLie(t *testing.T) {
	text := func(n int) io.ReadCloser { return body(bytes.NewReader(content[:n])) }
	for name, c := range map[string]struct {
		transport roundTrip
		arrives   int
		want      string
	}{
		"as stated":              {lying(100, text(100)), 100, ""},
		"longer":                 {lying(100, text(150)), 100, "more arrived than the remote had stated"},
		"shorter, twice":         {lying(100, text(60), text(0)), 60, "before anything had arrived"},
		"shorter, then the rest": {lying(100, text(60), text(40)), 100, ""},
		"shorter, then more":     {lying(100, text(60), text(41)), 100, "more arrived than the remote had stated"},
	} {
		f := New(Config{Any: true, Idle: time.Second, Transport: c.transport})
		d, err := f.Open(t.Context(), &url.URL{Scheme: "http", Host: "x", Path: "/x.zip"}, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(d)
		d.Close()
		if e, _ := errors.AsType[*RemoteError](err); len(got) != c.arrives || (err == nil) != (c.want == "") || e != nil && !strings.Contains(e.Reason, c.want) {
			t.Errorf("%s: %d bytes, %v, want %q", name, len(got), err, c.want)
		}
	}
}

// slowBody returns n bytes after each pause, and ends with the context.
type slowBody struct {
	ctx   context.Context
	pause time.Duration
	n     int
}

func (b *slowBody) Read(p []byte) (int, error) {
	select {
	case <-time.After(b.pause):
		return copy(p, make([]byte, b.n)), nil
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
}

func (b *slowBody) Close() error { return nil }

// TestSlowRemotes checks when a download ends as idle or too slow, and where its time goes.
func TestSlowRemotes(t *testing.T) {
	for _, c := range []struct {
		name  string
		pause time.Duration
		n     int
		ends  time.Duration // 0: not within an hour
		want  string
	}{
		{"nothing", 11 * time.Second, 1, 10 * time.Second, "nothing arrived in time"},
		{"too little", time.Second, minRate - 1, rateWindow, "too little arrived in time"},
		{"little", time.Second, minRate, 0, ""},
		{"in pieces", 9 * time.Second, 9 * minRate, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := New(Config{Any: true, Idle: 10 * time.Second, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					time.Sleep(time.Second)
					return &http.Response{StatusCode: http.StatusOK, ContentLength: -1, Body: &slowBody{r.Context(), c.pause, c.n}}, nil
				})})
				spent := account.New()
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				began := time.Now()
				d, err := f.Open(ctx, &url.URL{Scheme: "http", Host: "x", Path: "/x.zip"}, spent, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				_, err = io.Copy(io.Discard, d)
				took := time.Since(began)
				if c.ends == 0 {
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
				} else if e, ok := errors.AsType[*RemoteError](err); !ok || !strings.HasPrefix(e.Reason, c.want) || took != time.Second+c.ends {
					t.Errorf("after %v: %v, want %q after %v", took, err, c.want, c.ends)
				}
				s := spent.Spent()
				if s.By[account.OnRemote] != took {
					t.Errorf("of %v, %v are accounted to the remote", took, s.By[account.OnRemote])
				}
			})
		})
	}
}

func TestValidators(t *testing.T) {
	at := func(d time.Duration) string { return time.Unix(1e9, 0).Add(d).UTC().Format(http.TimeFormat) }
	for _, c := range []struct {
		header http.Header
		want   string
	}{
		{http.Header{}, ""},
		{http.Header{"Etag": {`"a"`}}, `"a"`},
		{http.Header{"Etag": {`""`}}, `""`},
		{http.Header{"Etag": {`"ä"`}}, `"ä"`},
		{http.Header{"Etag": {`W/"a"`}}, ""},
		{http.Header{"Etag": {`w/"a"`}}, ""},
		{http.Header{"Etag": {`a`}}, ""},
		{http.Header{"Etag": {`"`}}, ""},
		{http.Header{"Etag": {`"a" "b"`}}, ""},
		{http.Header{"Etag": {"\"a\"\r\nX: \""}}, ""},
		{http.Header{"Etag": {`"a"`}, "Last-Modified": {at(-time.Hour)}, "Date": {at(0)}}, `"a"`},
		{http.Header{"Last-Modified": {at(-certainAge)}, "Date": {at(0)}}, at(-certainAge)},
		{http.Header{"Last-Modified": {at(-certainAge + time.Second)}, "Date": {at(0)}}, ""},
		{http.Header{"Last-Modified": {at(time.Hour)}, "Date": {at(0)}}, ""},
		{http.Header{"Last-Modified": {at(-time.Hour)}}, ""},
		{http.Header{"Last-Modified": {"yesterday"}, "Date": {at(0)}}, ""},
	} {
		if v := newValidator(c.header); v.value != c.want || (v.field == "") != (c.want == "") {
			t.Errorf("%v: %+v, want %q", c.header, v, c.want)
		}
	}
}
