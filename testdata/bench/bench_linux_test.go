package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

// TestNothing: the S3 server that keeps nothing answers as one does that has no
// object.
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
	for _, c := range []struct {
		method, path string
		status       int
		says         string
	}{
		{"HEAD", "/b/k", 404, ""},
		{"HEAD", "/b", 200, ""},
		{"PUT", "/b/k", 200, ""},
		{"POST", "/b/k?uploads", 200, "<UploadId>u</UploadId>"},
		{"POST", "/b/k?uploadId=u", 200, "CompleteMultipartUploadResult"},
		{"DELETE", "/b/k?uploadId=u", 204, ""},
		{"GET", "/b?uploads", 200, "<IsTruncated>false</IsTruncated>"},
	} {
		req, err := http.NewRequestWithContext(context.Background(), c.method, n.Endpoint+c.path, strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != c.status || !strings.Contains(string(body), c.says) {
			t.Errorf("%s %s: %d %s, error %v", c.method, c.path, resp.StatusCode, body, err)
		}
		resp.Body.Close()
	}
	if n.requests.Load() != 7 || n.bytes.Load() != 7*4 {
		t.Errorf("%d requests of %d bytes", n.requests.Load(), n.bytes.Load())
	}
}

func TestReport(t *testing.T) {
	b := &bench{}
	for i, wall := range []float64{3, 1, 2} {
		b.results = append(b.results,
			result{Archive: "a", Bytes: 1e9, What: first, AtOnce: 1, Wall: wall, CPU: 10 + float64(i), Peak: 50e6, Requests: map[string]int64{"PutObject": 3, "HeadObject": 4}},
			result{Archive: "a", Bytes: 1e9, What: bound, AtOnce: 1, Wall: 0.5})
	}
	b.profile = []share{{"inflate", 60}, {"MD5", 40}}
	var out bytes.Buffer
	b.print(&out)
	for _, want := range []string{"2.00 (1.00–3.00)", "11.0", "4 HeadObject, 3 PutObject", "wall of PUT of the objects  4.00", "CPU: inflate"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	folder := t.TempDir()
	if err := b.draw(folder); err != nil {
		t.Fatal(err)
	}
	plots, err := os.ReadDir(folder)
	if err != nil || len(plots) != 3 {
		t.Errorf("%d plots, error %v", len(plots), err)
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
