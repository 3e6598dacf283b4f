package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/daemon"
)

// TestNothing: the S3 server that keeps nothing answers as S3 does. So Spillway's probe finds
// nothing wrong, and uploads are checked in the best way.
func TestNothing(t *testing.T) {
	n, err := startNothing(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	const sum = "AAAAAA==" // of nothing
	for _, c := range []struct {
		method, path string
		sum          string // the checksum that is sent; empty: none
		status       int
		says         string // the answer, or its ETag
	}{
		{"HEAD", "/b", "", 200, ""},
		{"HEAD", "/b/k", "", 404, ""},
		{"PUT", "/b/k", sum, 200, `"00000000000000000000000000000000"`},
		{"PUT", "/b/k", "AAAAAQ==", 400, "BadDigest"},
		{"HEAD", "/b/k", "", 404, ""},
		{"GET", "/b/k", "", 404, "NoSuchKey"},
		{"PUT", "/b/v1/.spillway-probe", sum, 200, ""},
		{"GET", "/b/v1/.spillway-probe", "", 200, ""},
		{"DELETE", "/b/v1/.spillway-probe", "", 204, ""},
		{"GET", "/b/v1/.spillway-probe", "", 404, ""},
		{"POST", "/b/k?uploads", "", 200, "<UploadId>1</UploadId>"},
		{"POST", "/b/l?uploads", "", 200, "<UploadId>2</UploadId>"},
		{"PUT", "/b/k?partNumber=1&uploadId=1", sum, 200, `"00000000000000000000000000000000"`},
		{"GET", "/b?uploads", "", 200, "<IsTruncated>false</IsTruncated><Upload><Key>k</Key><UploadId>1</UploadId>"},
		{"GET", "/b?uploads&max-uploads=1", "", 200, "<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>"},
		{"GET", "/b?uploads&key-marker=k", "", 200, "<UploadId>2</UploadId>"},
		{"POST", "/b/k?uploadId=1", sum, 200, "-1&#34;</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32>"},
		{"DELETE", "/b/l?uploadId=2", "", 204, ""},
		{"DELETE", "/b/l?uploadId=2", "", 404, "NoSuchUpload"},
		{"GET", "/b?uploads&prefix=k", "", 200, "<IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, n.Endpoint+c.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if c.sum != "" {
			req.Header.Set(checksumHeader, c.sum)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != c.status || !strings.Contains(resp.Header.Get("ETag")+string(body), c.says) {
			t.Errorf("%s %s: %d %s, error %v", c.method, c.path, resp.StatusCode, body, err)
		}
		resp.Body.Close()
	}
}

// TestWarnings: a run of the program that warns of anything is not measured.
func TestWarnings(t *testing.T) {
	const info = `{"level":"info","msg":"listening"}` + "\n"
	if err := warnings(info + info); err != nil {
		t.Error(err)
	}
	for _, line := range []string{`{"level":"warn","msg":"w"}`, `{"level":"error","msg":"e"}`, "panic: p"} {
		if err := warnings(info + line + "\n"); err == nil || !strings.Contains(err.Error(), line) {
			t.Errorf("%s: error %v", line, err)
		}
	}
}

// TestMain: this program may be one of the processes that it measures.
func TestMain(m *testing.M) {
	ran, err := runCommand(context.Background(), os.Args[1:])
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	case !ran:
		os.Exit(m.Run())
	}
}

// TestBench measures a small archive, whole and in pieces, in every way but one: the extract
// path takes long.
func TestBench(t *testing.T) {
	folder := t.TempDir()
	binary, err := daemon.Build(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{options: options{memory: "64MiB", runs: 1}, binary: binary, folder: folder, run: 1}
	a, err := archive.Prepare(t.Context(), folder, "small", t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	pieces, err := asClient(a, folder, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []work{whole(a), pieces} {
		if err := b.round(t.Context(), w, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.many(t.Context(), pieces, 2); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{a.Name, clientName} {
		for what, want := range map[string]map[string]int64{
			first:   {"HeadObject": 144, "PutObject": 144},
			second:  {"HeadObject": 144},
			distant: {"HeadObject": 144, "PutObject": 144},
			bound:   {"PutObject": 144},
		} {
			r, ok := b.inRun(name, what, 1)
			if !ok || !maps.Equal(r.Requests, want) || r.CPU <= 0 || r.Wall <= 0 || what != bound && r.Peak == 0 {
				t.Errorf("%s: %s: measured %v: %+v", name, what, ok, r)
			}
			if allSent := r.Sent > a.Bytes*9/10; allSent != (want["PutObject"] > 0) {
				t.Errorf("%s: %s: %d bytes sent", name, what, r.Sent)
			}
		}
		if r, ok := b.inRun(name, ownInflater, 1); !ok || r.CPU <= 0 {
			t.Errorf("%s: measured %v: %+v", name, ok, r)
		}
	}
	for what, want := range map[string]struct {
		requests map[string]int64
		fetched  func(n int64) bool
	}{
		byURL:           {map[string]int64{"HeadObject": 144, "PutObject": 144}, func(n int64) bool { return n == a.Bytes }},
		inRanges:        {map[string]int64{"HeadObject": 144, "PutObject": 144}, func(n int64) bool { return n == a.Bytes }},
		inRangesAgain:   {map[string]int64{"HeadObject": 144}, func(n int64) bool { return n < a.Bytes/20 }},
		inRangesQuarter: {map[string]int64{"HeadObject": 144, "PutObject": 36}, func(n int64) bool { return n < a.Bytes }},
	} {
		if r, ok := b.inRun(a.Name, what, 1); !ok || !maps.Equal(r.Requests, want.requests) || !want.fetched(r.Fetched) {
			t.Errorf("%s: measured %v: %+v", what, ok, r)
		}
	}
	if g := b.of(atOnce); len(g) != 1 || g[0][0].Requests["PutObject"] != 288 {
		t.Errorf("at once: %+v", g)
	}
}

// TestInflateAll: a member that was changed is an error.
func TestInflateAll(t *testing.T) {
	folder := t.TempDir()
	a, err := archive.Prepare(t.Context(), folder, "small", t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	names, err := writeMembers(folder, a.Path)
	if err != nil || len(names) != 72 {
		t.Fatalf("%d members, error %v", len(names), err)
	}
	path := filepath.Join(folder, names[0])
	if err := inflateAll([]string{path}); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]int{"stream": len(data) / 2, "checksum": len(data) - 8, "size": len(data) - 1} {
		changed := slices.Clone(data)
		changed[at] ^= 1
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		if inflateAll([]string{path}) == nil {
			t.Errorf("nothing is wrong with a changed %s", name)
		}
	}
}

// TestReport: ratios are those of single runs, and the median of them is written.
func TestReport(t *testing.T) {
	b := &bench{options: options{runs: 3}}
	for i, wall := range []float64{3, 1, 2} {
		b.run = i + 1
		a := result{Archive: "a", Bytes: 1e9, Files: 100, Run: b.run, AtOnce: 1}
		add := func(what string, cpu, wall float64) {
			r := a
			r.What, r.CPU, r.Wall = what, cpu, wall
			if what == first {
				r.Requests = map[string]int64{"PutObject": 3, "HeadObject": 4}
			}
			b.results = append(b.results, r)
		}
		add(first, 10+float64(i), wall)
		add(bound, 1, wall/2)
		add(libdeflate, 4, 1)
		add(ownInflater, 6, 1)
		if i == 0 {
			add(extract, 100, 60)
		}
	}
	b.profile = []share{{"inflate", 60}, {"MD5", 40}}
	b.note("one")
	b.note("one")
	var out bytes.Buffer
	b.print(&out)
	for _, want := range []string{
		"2.00 (1.00–3.00)", "11.0", "110.00", "4 HeadObject, 3 PutObject", "CPU: inflate", "\none\n",
		"CPU of spillway / (inflate: libdeflate + PUT of the objects)  2.20 (2.00–2.40)",
		"wall of spillway / PUT of the objects  2.00 (2.00–2.00)",
		"wall of extract / spillway  20.00 (20.00–20.00)",
		"CPU of spillway / (inflate: stream/inflate + PUT of the objects)  1.57 (1.43–1.71)",
	} {
		if text := regexp.MustCompile(`  +`).ReplaceAllString(out.String(), "  "); strings.Count(text, want) != 1 && want != "11.0" {
			t.Errorf("it does not say %q once:\n%s", want, text)
		}
	}
}

func TestOptions(t *testing.T) {
	o, err := parse([]string{"-at-once=many:16,crowd:1"})
	if err != nil || !slices.Equal(o.atOnce, []crowd{{"many", 16}, {"crowd", 1}}) {
		t.Errorf("%+v, error %v", o, err)
	}
	for _, wrong := range []string{"many", "many:0", "many:x"} {
		if _, err := parse([]string{"-at-once=" + wrong}); err == nil {
			t.Errorf("%s is taken", wrong)
		}
	}
}

func TestProfileByKind(t *testing.T) {
	got := byKind(`Type: cpu
      flat  flat%   sum%        cum   cum%
     2.04s 43.50% 43.50%      2.07s 44.14%  spillway/stream/inflate.(*Reader).fast
     1.81s 38.59% 82.09%      1.81s 38.59%  crypto/md5.block
     0.16s  3.41% 85.50%      0.16s  3.41%  runtime.futex
     0.11s  2.35% 90.62%      0.11s  2.35%  runtime.memmove
     0.09s  1.92% 92.54%      0.09s  1.92%  indexbytebody
`)
	if len(got) != 5 || got[0] != (share{"inflate", 43.5}) || got[1] != (share{"MD5", 38.59}) {
		t.Errorf("got %v", got)
	}
}
