package fetch

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"spillway/testdata/remote"
)

// TestRequestsAreTold: each request of a download is told once, when it has ended, however it
// ends.
func TestRequestsAreTold(t *testing.T) {
	file := func(breaks ...int) *remote.File {
		return &remote.File{Content: content, Header: remote.StrongETag(), Breaks: breaks}
	}
	handler := http.NewServeMux()
	handler.Handle("/whole.zip", file())
	handler.Handle("/broken.zip", file(400_000))
	handler.Handle("/moved.zip", http.RedirectHandler("/whole.zip?secret", http.StatusFound))
	server := remote.Start(t, handler, false)
	for _, c := range []struct {
		path   string
		closed int // bytes after which the download is closed; 0: never
		want   []Request
	}{
		{"/whole.zip", 0, []Request{{Status: 200, Received: 1_000_000}}},
		{"/broken.zip", 0, []Request{{Status: 200, Received: 400_000, Failure: "the connection was closed"}, {Status: 206, Received: 600_000}}},
		{"/moved.zip", 0, []Request{{Status: 302}, {Status: 200, Received: 1_000_000}}},
		{"/none.zip", 0, []Request{{Status: 404}}},
		{"/whole.zip", 10, []Request{{Status: 200, Received: 10}}},
	} {
		var got []Request
		f := New(Config{Any: true, Idle: time.Minute, OnRequest: func(_ context.Context, r Request) {
			if r.Host != server.Listener.Addr().String() || r.Took <= 0 || time.Since(r.Began) < r.Took {
				t.Errorf("%s: %+v", c.path, r)
			}
			r.Host, r.Began, r.Took = "", time.Time{}, 0
			got = append(got, r)
		}})
		u, err := f.Parse(server.URL + c.path)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := f.Open(t.Context(), u, nil, 0); err == nil {
			if c.closed > 0 {
				_, err = io.ReadFull(d, make([]byte, c.closed))
			} else {
				_, err = io.Copy(io.Discard, d)
			}
			if err != nil {
				t.Error(err)
			}
			d.Close()
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.path, got, c.want)
		}
	}
}

// TestFailedRequestsAreTold: a request without an answer, one that stalls and one whose upload
// ends say so.
func TestFailedRequestsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []Request
		transport := roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/refused.zip" {
				return nil, &AddressError{Host: "x"}
			}
			return &http.Response{StatusCode: http.StatusOK, ContentLength: -1, Body: &slowBody{r.Context(), time.Hour, 1}}, nil
		})
		f := New(Config{Any: true, Idle: time.Minute, Transport: transport, OnRequest: func(_ context.Context, r Request) { got = append(got, r) }})
		for _, c := range []struct {
			path     string
			patience time.Duration
		}{{"/refused.zip", time.Hour}, {"/stalls.zip", time.Hour}, {"/ends.zip", time.Second}} {
			ctx, cancel := context.WithTimeout(t.Context(), c.patience)
			if d, err := f.Open(ctx, &url.URL{Scheme: "http", Host: "x", Path: c.path}, nil, 0); err == nil {
				_, _ = io.Copy(io.Discard, d) // fails
				d.Close()
			}
			cancel()
		}
		want := []struct {
			failure string
			took    time.Duration
		}{{"the address is not public", 0}, {"nothing arrived in time", time.Minute}, {"canceled", time.Second}}
		if len(got) != len(want) {
			t.Fatalf("%+v", got)
		}
		for i, w := range want {
			if got[i].Failure != w.failure || got[i].Took != w.took {
				t.Errorf("%+v, want %+v", got[i], w)
			}
		}
	})
}
