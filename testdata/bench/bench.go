package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"sync"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/daemon"
	"spillway/testdata/s3server"
)

// bench is a run of the program.
type bench struct {
	options
	binary  string
	folder  string
	results []result
	profile []share // of the CPU time of one upload
}

// result is what one thing cost, once.
type result struct {
	Archive string `json:"archive"`
	Bytes   int64  `json:"archive_bytes"`
	What    string `json:"what"`
	AtOnce  int    `json:"at_once"`

	Wall     float64          `json:"wall_seconds"`
	CPU      float64          `json:"cpu_seconds"`
	Answer   float64          `json:"last_byte_to_answer_seconds"`
	Peak     int64            `json:"peak_resident_bytes"`
	Disk     int64            `json:"peak_disk_bytes"`
	Written  int64            `json:"written_to_disk_bytes"`
	Sent     int64            `json:"sent_to_s3_bytes"`
	Requests map[string]int64 `json:"s3_requests,omitempty"`

	// Spent is Spillway's own account of the uploads' time, in seconds.
	Spent map[string]float64 `json:"spent_seconds,omitempty"`
}

// What is measured.
const (
	first   = "spillway"
	second  = "spillway, again"
	distant = "spillway, distant S3"
	atOnce  = "spillway, at once"
	bound   = "PUT of the objects"
	extract = "extract"
)

// round measures everything once with one archive.
func (b *bench) round(ctx context.Context, a archive.Sample, extracts bool) (err error) {
	server, err := s3server.NewInMemory(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	bucket, err := server.MakeBucket(ctx)
	if err != nil {
		return err
	}
	err = b.serve(ctx, server.Endpoint, bucket, b.memory, func(s *service) error {
		for _, what := range []string{first, second} {
			say("%s: %s", a.Name, what)
			r, err := s.measure(ctx, a, what, 1)
			if err != nil {
				return err
			}
			b.results = append(b.results, r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	say("%s: %s", a.Name, bound)
	r, err := b.putAll(ctx, server, bucket, a)
	if err != nil {
		return err
	}
	b.results = append(b.results, r)
	if extracts {
		say("%s: %s", a.Name, extract)
		if r, err = b.extract(ctx, server, a); err != nil {
			return err
		}
		b.results = append(b.results, r)
	}
	return b.distant(ctx, a)
}

// distant measures an upload before an S3 server that takes its time.
func (b *bench) distant(ctx context.Context, a archive.Sample) (err error) {
	far, err := startNothing(ctx, b.latency)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, far.Close()) }()
	return b.serve(ctx, far.Endpoint, "b", b.memory, func(s *service) error {
		say("%s: %s", a.Name, distant)
		r, err := s.measure(ctx, a, distant, 1)
		b.results = append(b.results, r)
		if err == nil && a.Name == b.archives[len(b.archives)-1] && b.plots != "" && b.profile == nil {
			b.profile, err = s.profile(ctx, b.plots, a)
		}
		return err
	})
}

// many measures uploads at once, in little memory.
func (b *bench) many(ctx context.Context, a archive.Sample, count int) (err error) {
	near, err := startNothing(ctx, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, near.Close()) }()
	return b.serve(ctx, near.Endpoint, "b", "32MiB", func(s *service) error {
		say("%d of %s at once", count, a.Name)
		r, err := s.measure(ctx, a, atOnce, count)
		b.results = append(b.results, r)
		return err
	})
}

// measure uploads an archive so many times at once.
func (s *service) measure(ctx context.Context, a archive.Sample, what string, count int) (r result, err error) {
	r = result{Archive: a.Name, Bytes: a.Bytes, What: what, AtOnce: count}
	earlier, err := s.Metrics(ctx)
	if err != nil {
		return r, err
	}
	if err := daemon.ForgetPeak(s.PID()); err != nil {
		return r, err
	}
	before, err := daemon.UsageOf(s.PID())
	if err != nil {
		return r, err
	}
	disk := watchDisk(s.folder)
	begun := time.Now()
	errs := make(chan error, count)
	var mu sync.Mutex
	for range count {
		go func() {
			_, answer, err := upload(ctx, s.API, a.Path)
			mu.Lock()
			defer mu.Unlock()
			r.Answer = max(r.Answer, answer.Seconds())
			errs <- err
		}()
	}
	for range count {
		err = errors.Join(err, <-errs)
	}
	r.Wall = time.Since(begun).Seconds()
	r.Disk = disk.stop()
	if err != nil {
		return r, err
	}
	after, err := daemon.UsageOf(s.PID())
	if err != nil {
		return r, err
	}
	r.CPU, r.Peak, r.Written = (after.CPU - before.CPU).Seconds(), after.Peak, after.Written-before.Written
	now, err := s.Metrics(ctx)
	if err != nil {
		return r, err
	}
	r.Requests, r.Spent = map[string]int64{}, map[string]float64{}
	for name, value := range now {
		if value -= earlier[name]; value <= 0 {
			continue
		}
		if operation := requestName.FindStringSubmatch(name); operation != nil {
			r.Requests[operation[1]] += int64(value)
		}
		if on := spentName.FindStringSubmatch(name); on != nil {
			r.Spent[on[1]] = value
		}
	}
	delete(r.Requests, "ListMultipartUploads") // the janitor's
	r.Sent = int64(now[sentName] - earlier[sentName])
	return r, nil
}

// What is looked for in the metrics.
const sentName = "spillway_s3_sent_bytes_total"

var (
	requestName = regexp.MustCompile(`^spillway_s3_requests_total\{operation="(\w+)"`)
	spentName   = regexp.MustCompile(`^spillway_upload_time_seconds_total\{on="(\w+)"`)
)

// putAll puts the objects of an archive, as they are in a bucket, into another
// one, 64 at once: nobody can be faster who has the archive only.
func (b *bench) putAll(ctx context.Context, server *s3server.Server, from string, a archive.Sample) (r result, err error) {
	r = result{Archive: a.Name, Bytes: a.Bytes, What: bound, AtOnce: 1, Requests: map[string]int64{}}
	keys, err := server.ListKeys(ctx, from)
	if err != nil {
		return r, err
	}
	objects := make([][]byte, len(keys))
	for i, key := range keys {
		body, _, err := server.Open(ctx, from, key)
		if err != nil {
			return r, err
		}
		if objects[i], err = io.ReadAll(body); err != nil {
			return r, err
		}
		if err := body.Close(); err != nil {
			return r, err
		}
		r.Sent += int64(len(objects[i]))
	}
	to, err := server.MakeBucket(ctx)
	if err != nil {
		return r, err
	}
	r.Requests["PutObject"] = int64(len(keys))
	begun := time.Now()
	turn := make(chan struct{}, 64)
	errs := make(chan error, len(keys))
	for i, key := range keys {
		turn <- struct{}{}
		go func() {
			errs <- server.Store(ctx, to, key, bytes.NewReader(objects[i]))
			<-turn
		}()
	}
	for range keys {
		err = errors.Join(err, <-errs)
	}
	r.Wall = time.Since(begun).Seconds()
	return r, err
}
