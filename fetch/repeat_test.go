package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"spillway/testdata/remote"
)

// TestRangesThatFailOnce: a request for a range, or for the rest of a file, is repeated once if it
// gets no answer, or one that a retry may cure.
func TestRangesThatFailOnce(t *testing.T) {
	noAnswer := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	status := func(code int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.WriteHeader(code) }
	}
	for name, c := range map[string]struct {
		fail  func(http.ResponseWriter)
		times int
		want  string // the reason; empty if the range arrives
	}{
		"429":                {status(429), 1, ""},
		"500":                {status(500), 1, ""},
		"503":                {status(503), 1, ""},
		"503 twice":          {status(503), 2, "status 503"},
		"403":                {status(403), 1, "status 403"},
		"no answer":          {noAnswer, 1, ""},
		"never an answer":    {noAnswer, 9, "the connection was closed"},
		"an answer too late": {func(http.ResponseWriter) { time.Sleep(500 * time.Millisecond); panic(http.ErrAbortHandler) }, 1, ""},
	} {
		for _, ranged := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", in ranges: ", ranged), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				f := &remote.File{Content: content, Header: remote.StrongETag()}
				if !ranged {
					f.Breaks = []int{600_000}
				}
				var failed atomic.Int64
				w.mux.HandleFunc("/x.zip", func(rw http.ResponseWriter, r *http.Request) {
					asked := r.Header.Get("Range")
					if asked != "" && !strings.HasPrefix(asked, "bytes=-") && failed.Add(1) <= int64(c.times) {
						c.fail(rw)
					} else {
						f.ServeHTTP(rw, r)
					}
				})
				var (
					got []byte
					err error
				)
				if ranged {
					var d *Download
					if d, err = w.openTail(w.at(allowedHost, "/x.zip")); err != nil {
						t.Fatal(err)
					}
					got, err = readRange(d, 0, len(content))
				} else {
					got, _, err = w.fetch(w.at(allowedHost, "/x.zip"))
				}
				if c.want == "" {
					if err != nil || !bytes.Equal(got, content) {
						t.Errorf("%d bytes, %v", len(got), err)
					}
				} else if e, ok := errors.AsType[*RemoteError](err); !ok || e.Changed || !strings.Contains(e.Reason, c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
			})
		}
	}
}

// TestEndBeforeARepetition: the download ends with its context while it waits to repeat a request.
func TestEndBeforeARepetition(t *testing.T) {
	w := newWorld(t)
	asked := make(chan bool, 9)
	w.mux.HandleFunc("/x.zip", func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Range"), "bytes=-") {
			(&remote.File{Content: content, Header: remote.StrongETag()}).ServeHTTP(rw, r)
			return
		}
		rw.WriteHeader(http.StatusServiceUnavailable)
		asked <- true
	})
	u, err := w.fetcher.Parse(w.at(allowedHost, "/x.zip"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	d, err := w.fetcher.Open(ctx, u, nil, tailSize)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	gone := errors.New("gone")
	go func() {
		<-asked
		cancel(gone)
	}()
	if _, err := readRange(d, 0, 1000); !errors.Is(err, gone) {
		t.Error(err)
	}
	if len(asked) > 0 {
		t.Error("the request was repeated")
	}
}
