package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"spillway/testdata/client"
	"spillway/testdata/s3server"
)

// files is a server of files, as artifacts are served from.
type files struct {
	server  *http.Server
	address string
	latency time.Duration // before each answer
}

func serveFiles(ctx context.Context, latency time.Duration) (*files, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &files{address: "http://" + listener.Addr().String(), latency: latency}
	f.server = &http.Server{Handler: f, ReadHeaderTimeout: time.Minute}
	go func() { _ = f.server.Serve(listener) }() // until it is closed
	return f, nil
}

// fromStart is the query of a URL whose file is served without ranges.
const fromStart = "from-start"

// ServeHTTP serves the file whose path is that of the URL.
func (f *files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(f.latency)
	content, err := os.Open(r.URL.Path)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer content.Close()
	if r.URL.RawQuery == fromStart {
		r.Header.Del("Range")
	}
	w.Header().Set("ETag", `"1"`)
	http.ServeContent(w, r, "", time.Time{}, content)
}

// fetched measures uploads by URL: from the start and in ranges, to an empty bucket; and in ranges
// to one that has all of the archive, or three quarters.
func (b *bench) fetched(ctx context.Context, server *s3server.Server, w work) error {
	remote, err := serveFiles(ctx, b.latency)
	if err != nil {
		return err
	}
	defer func() { _ = remote.server.Close() }()
	both := []string{byURL, inRanges}
	if b.run%2 == 0 {
		both = []string{inRanges, byURL}
	}
	for _, what := range both {
		bucket, err := server.MakeBucket(ctx)
		if err != nil {
			return err
		}
		err = b.serve(ctx, server.Endpoint, bucket, b.memory, func(s *service) error {
			upload := func(what string) error {
				query := map[string]string{byURL: "?" + fromStart}[what]
				return b.measureSending(ctx, s, w, what, 1, func() (float64, error) {
					a, err := client.SendURL(ctx, s.API, "dev", remote.address+w.Path+query)
					if err == nil && a.Status != http.StatusCreated {
						err = fmt.Errorf("%+v", a)
					}
					return 0, err
				})
			}
			if err := upload(what); err != nil || what == byURL {
				return err
			}
			if err := upload(inRangesAgain); err != nil {
				return err
			}
			keys, err := server.ListKeys(ctx, bucket)
			for i := 0; i < len(keys) && err == nil; i += 4 {
				err = server.Delete(ctx, bucket, keys[i])
			}
			if err != nil {
				return err
			}
			return upload(inRangesQuarter)
		}, "--download-any")
		if err != nil {
			return err
		}
	}
	return nil
}
