package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"spillway/testdata/archive"
	"spillway/testdata/s3server"
)

// bench is a run of the program.
type bench struct {
	options
	binary  string
	folder  string
	run     int // number of the present run, from 1
	results []result
	profile []share  // of the CPU time of one upload
	notes   []string // what else to know of the results
}

// work is an archive, and how it is sent.
type work struct {
	archive.Sample
	pieces      []string // archives with its entries
	connections int      // that send them
}

// clientName is the archive firefox, sent as by the official client.
const clientName = "client"

// The official client sends a build in archives that end once they have clientLimit bytes, over
// clientConnections at once.
const (
	clientLimit       = 64 << 20
	clientConnections = 3
)

// whole is an archive that is sent as it is.
func whole(a archive.Sample) work { return work{a, []string{a.Path}, 1} }

// asClient is an archive that is sent as the official client sends its files. The pieces are
// made in a folder.
func asClient(a archive.Sample, folder string, limit int64) (w work, err error) {
	w = work{Sample: a, connections: clientConnections}
	w.Name = clientName
	w.pieces, err = archive.Split(a, folder, limit)
	return w, err
}

// result is what one thing cost, once.
type result struct {
	Archive string `json:"archive"`
	Bytes   int64  `json:"archive_bytes"`
	Files   int    `json:"archive_files"`
	What    string `json:"what"`
	Run     int    `json:"run"` // results with the same number were measured one after the other
	AtOnce  int    `json:"at_once"`

	Wall     float64          `json:"wall_seconds"`
	CPU      float64          `json:"cpu_seconds"`
	Answer   float64          `json:"last_byte_to_answer_seconds"`
	Peak     int64            `json:"peak_resident_bytes"`
	Disk     int64            `json:"peak_disk_bytes"`
	Written  int64            `json:"written_to_disk_bytes"`
	Sent     int64            `json:"sent_to_s3_bytes"`
	Fetched  int64            `json:"fetched_bytes,omitempty"`  // from a URL
	Asked    int64            `json:"fetch_requests,omitempty"` // for them
	Requests map[string]int64 `json:"s3_requests,omitempty"`

	// Spent is Spillway's own account of the uploads' time, in seconds.
	Spent map[string]float64 `json:"spent_seconds,omitempty"`
}

// result returns an empty result.
func (b *bench) result(w work, what string) result {
	return result{Archive: w.Name, Bytes: w.Bytes, Files: w.Files, What: what, Run: b.run, AtOnce: 1}
}

// note keeps a remark, once.
func (b *bench) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(b.notes, n) {
		b.notes = append(b.notes, n)
	}
}

// What is measured.
const (
	first    = "spillway"
	second   = "spillway, again"
	distant  = "spillway, distant S3"
	byURL    = "spillway, by URL"
	inRanges = "spillway, by URL in ranges"
	atOnce   = "spillway, at once"

	inRangesAgain   = "spillway, by URL in ranges, again"
	inRangesQuarter = "spillway, by URL in ranges, a quarter is missing"
	bound           = "PUT of the objects"
	extract         = "extract"
	libdeflate      = "inflate: libdeflate"
	isal            = "inflate: ISA-L"
	ownInflater     = "inflate: stream/inflate"
)

var everything = []string{first, second, distant, byURL, inRanges, inRangesAgain, inRangesQuarter, atOnce, bound, libdeflate, isal, ownInflater, extract}

// round measures everything once with one archive.
func (b *bench) round(ctx context.Context, w work, extracts bool) (err error) {
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
			if err := b.measure(ctx, s, w, what, 1); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(w.pieces) == 1 {
		if err := b.fetched(ctx, server, w); err != nil {
			return err
		}
	}
	say("%s: %s", w.Name, bound)
	r, err := b.putAll(ctx, server, bucket, w)
	if err != nil {
		return err
	}
	b.results = append(b.results, r)
	if err := b.floor(ctx, w); err != nil {
		return err
	}
	if extracts && w.Name != clientName {
		say("%s: %s", w.Name, extract)
		if r, err = b.extract(ctx, server, w); err != nil {
			return err
		}
		b.results = append(b.results, r)
	}
	return b.distant(ctx, w)
}

// distant measures an upload before an S3 server that takes its time.
func (b *bench) distant(ctx context.Context, w work) (err error) {
	far, err := startNothing(ctx, b.latency)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, far.Close()) }()
	return b.serve(ctx, far.Endpoint, "b", b.memory, func(s *service) error {
		err := b.measure(ctx, s, w, distant, 1)
		if err == nil && w.Name == b.profileOf && b.profile == nil {
			b.profile, err = s.profile(ctx, b.folder, w)
		}
		return err
	})
}

// many measures uploads at once, in little memory.
func (b *bench) many(ctx context.Context, w work, count int) (err error) {
	near, err := startNothing(ctx, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, near.Close()) }()
	return b.serve(ctx, near.Endpoint, "b", "32MiB", func(s *service) error {
		return b.measure(ctx, s, w, atOnce, count)
	})
}
