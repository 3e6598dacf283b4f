package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
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
