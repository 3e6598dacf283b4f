package upload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/remote"
)

// rangedFiles are the files of rangedZip, of which most are not in its tail.
var rangedFiles = []archive.Entry{
	{Name: "a.pdb/A1/a.sym", Data: archive.Noise(1, 150_000), Method: archive.Deflate},
	{Name: "b.pdb/B1/b.pd_", Data: archive.Noise(2, 280_000)},
	{Name: "c.pdb/C1/c.pd_", Data: archive.Noise(3, 200_000)},
}

var rangedZip = archive.Build(rangedFiles...)

// rangesOf is a remote that has ranges of a file. read, if not nil, wraps the body of each answer.
func rangesOf(content []byte, read func(r *http.Request, start int, body io.Reader) io.Reader) roundTrip {
	return func(r *http.Request) (*http.Response, error) {
		span, ok := remote.ParseRange(r.Header.Get("Range"), len(content))
		response := &http.Response{StatusCode: http.StatusPartialContent, Header: remote.StrongETag()}
		if ok {
			response.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", span.Start, span.End-1, len(content)))
		} else {
			span, response.StatusCode = remote.Span{End: len(content)}, http.StatusOK
		}
		var body io.Reader = bytes.NewReader(content[span.Start:span.End])
		if read != nil {
			body = read(r, span.Start, body)
		}
		response.ContentLength, response.Body = int64(span.End-span.Start), io.NopCloser(body)
		return response, nil
	}
}

// TestUploadInRanges uploads an archive by URL, and again with another file: only that is fetched.
func TestUploadInRanges(t *testing.T) {
	s := newSite(t)
	address := s.serve()
	next := slices.Clone(rangedFiles)
	next[0].Data = archive.Noise(9, 150_000)
	for _, c := range []struct {
		content                 []byte
		skipped                 int
		requests, fetched, most int
	}{
		{rangedZip, 0, 2, len(rangedZip), len(rangedZip)},
		{rangedZip, 3, 1, 76 << 10, 76 << 10},
		{archive.Build(next...), 2, 2, 150_000 + 76<<10, 151_000 + 76<<10},
	} {
		s.logs.TakeAll()
		s.remote = rangesOf(c.content, nil)
		client := dial(t, address)
		client.send(urlForm("url", link))
		r := client.reply()
		var got struct {
			Upload struct {
				Size        int      `json:"size"`
				SkippedKeys []string `json:"skipped_keys"`
			} `json:"upload"`
		}
		if err := json.Unmarshal(r.body, &got); err != nil || r.StatusCode != http.StatusCreated || got.Upload.Size != len(c.content) || len(got.Upload.SkippedKeys) != c.skipped {
			t.Errorf("status %d: %s", r.StatusCode, r.body)
		}
		e := s.event()
		for field, want := range map[string]int{"archive_bytes": len(c.content), "download_requests": c.requests, "unread": c.skipped, "skipped": c.skipped, "entries": 3} {
			if fmt.Sprint(e[field]) != fmt.Sprint(want) {
				t.Errorf("event: %s is %v, want %d", field, e[field], want)
			}
		}
		if n, ok := e["download_bytes"].(int64); !ok || n < int64(c.fetched) || n > int64(c.most) {
			t.Errorf("event: %v bytes were fetched, want %d to %d", e["download_bytes"], c.fetched, c.most)
		}
	}
}

// TestEveryCutOffInRanges checks that nothing is stored or kept of an archive whose ranges break off
// for good, at any place.
func TestEveryCutOffInRanges(t *testing.T) {
	bubble(t, func(t *testing.T, s *site, connect func() *client) {
		tail := len(rangedZip) - 76<<10
		for n := 0; n < tail; n += 9_973 {
			s.remote = rangesOf(rangedZip, func(_ *http.Request, start int, body io.Reader) io.Reader {
				if start == tail {
					return body
				}
				return io.MultiReader(io.LimitReader(body, int64(max(0, n-start))), brokenReader{})
			})
			s.breaksOff(connect(), n)
		}
	})
}

// stalling is a body that pauses at its end.
type stalling struct {
	io.Reader
	r     *http.Request
	pause time.Duration
}

func (s *stalling) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if errors.Is(err, io.EOF) && s.pause > 0 {
		select {
		case <-time.After(s.pause):
			s.pause = 0
		case <-s.r.Context().Done():
			return 0, s.r.Context().Err()
		}
	}
	return n, err
}

// TestEndsOfRanges checks what ends an upload while it waits for a range, and where its time goes.
func TestEndsOfRanges(t *testing.T) {
	tail := len(rangedZip) - 76<<10
	for name, e := range map[string]downloadEnd{
		"the remote pauses":       {6 * time.Second, nil, 6 * time.Second, 201, "stored"},
		"the remote is idle":      {time.Hour, nil, 20 * time.Second, 503, "refused"}, // and so is the answer that resumes
		"the client leaves":       {9 * time.Second, leaves, 3 * time.Second, 0, "client gone"},
		"the upload is long":      {9 * time.Second, nil, 4 * time.Second, 503, "timed out"},
		"the server shuts down":   {9 * time.Second, shutsDown, 2 * time.Second, 503, "shut down"},
		"the store fails at once": {9 * time.Second, nil, 0, 503, "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			event := e.check(t, func(s *site) {
				s.remote = rangesOf(rangedZip, func(r *http.Request, start int, body io.Reader) io.Reader {
					if start == tail {
						return body
					}
					return io.MultiReader(&stalling{io.LimitReader(body, int64(max(0, 100_000-start))), r, e.pause}, body)
				})
				if e.outcome == "failed" {
					s.store.onFind = func() error { return errStore }
				}
			})
			if fmt.Sprint(event["waited_remote"]) != fmt.Sprint(event["duration"]) {
				t.Errorf("event %v", event)
			}
		})
	}
}
