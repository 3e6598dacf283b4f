package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// nothing is an S3 server that keeps nothing, answers each request after the
// same time, and has no object.
type nothing struct {
	server   *http.Server
	Endpoint string
	latency  time.Duration
	requests atomic.Int64
	bytes    atomic.Int64
}

func startNothing(ctx context.Context, latency time.Duration) (*nothing, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &nothing{Endpoint: "http://" + listener.Addr().String(), latency: latency}
	n.server = &http.Server{Handler: n, ReadHeaderTimeout: time.Minute}
	go func() { _ = n.server.Serve(listener) }() // until it is closed
	return n, nil
}

func (n *nothing) Close() error { return n.server.Close() }

// ServeHTTP answers what Spillway asks (S3 API, the pages of the operations).
func (n *nothing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.requests.Add(1)
	size, err := io.Copy(io.Discard, r.Body)
	n.bytes.Add(size)
	if err != nil {
		return
	}
	time.Sleep(n.latency)
	query := r.URL.Query()
	answer := func(name, content string) {
		w.Header().Set("Content-Type", "application/xml")
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><%[1]s xmlns="http://s3.amazonaws.com/doc/2006-03-01/">%[2]s</%[1]s>`, name, content)
	}
	switch {
	case r.Method == http.MethodHead && strings.Count(r.URL.Path, "/") > 1:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodPut:
		w.Header().Set("ETag", `"0123456789abcdef0123456789abcdef"`)
	case r.Method == http.MethodPost && query.Has("uploads"):
		answer("InitiateMultipartUploadResult", "<Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId>")
	case r.Method == http.MethodPost:
		answer("CompleteMultipartUploadResult", `<Bucket>b</Bucket><Key>k</Key><ETag>"0123456789abcdef0123456789abcdef-1"</ETag>`)
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	case query.Has("uploads"):
		answer("ListMultipartUploadsResult", "<IsTruncated>false</IsTruncated>")
	}
}
