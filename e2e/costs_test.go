package e2e

import (
	"bytes"
	"io"
	"maps"
	"regexp"
	"strconv"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
)

// counters returns the metrics whose lines match a pattern, by its first group. Those with
// the same group are added up.
func counters(t *testing.T, admin, pattern string) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	for _, line := range regexp.MustCompile(`(?m)^`+pattern+` (\S+)$`).FindAllStringSubmatch(metrics(t, admin), -1) {
		value, err := strconv.ParseFloat(line[len(line)-1], 64)
		if err != nil {
			t.Fatal(err)
		}
		all[line[1]] += int64(value)
	}
	return all
}

// since returns by how much counters have grown.
func since(before, after map[string]int64) map[string]int64 {
	added := map[string]int64{}
	for name, n := range after {
		if n -= before[name]; n != 0 {
			added[name] = n
		}
	}
	return added
}

// awaitSum waits until the sum of some [counters] is as wanted.
func awaitSum(t *testing.T, s system, pattern string, wanted func(sum int64) bool) {
	t.Helper()
	client.Until(t, "the sum of "+pattern, func() bool {
		sum := int64(0)
		for _, n := range counters(t, s.Admin, pattern) {
			sum += n
		}
		return wanted(sum)
	})
}

// until is a reader that waits, and then ends.
type until func()

func (wait until) Read([]byte) (int, error) {
	wait()
	return 0, io.EOF
}

// TestCosts counts what is the same on every machine: requests to S3, bytes sent, bytes
// hashed, bytes on disk, and bytes allocated.
func TestCosts(t *testing.T) {
	t.Parallel()
	s := startBeside(t)
	const (
		small  = 60
		large  = 20 << 20 // three parts of 8 MiB
		ignore = `spillway_s3_requests_total\{operation="(\w+)",result="\w+"\}`
	)
	var files []archive.File
	for n := range uint64(small) {
		files = append(files, archive.File{Name: archive.SymbolsName(n), Data: archive.Symbols(n, 40_000)})
	}
	files = append(files, archive.File{Name: archive.SymbolsName(small) + ".dll", Data: archive.Noise(1, large)})
	zip := archive.PythonZipfile(append(files[small:], files[:small]...)...)
	body, held := int64(0), int64(0) // of all objects; uncompressed, of those that are held
	for _, f := range files[:small] {
		body += int64(len(archive.Compress(archive.Deflate, f.Data))) + 18 // gzip's header and trailer
		held += int64(len(f.Data))
	}
	body += large

	client.Get(t, s.API+"/__heartbeat__") // waits for the probe of the start
	requests, allocated := counters(t, s.Admin, ignore), counters(t, s.Admin, `(go_memstats_alloc_bytes_total)`)
	for _, upload := range []struct {
		name     string
		requests map[string]int64
		sent     int64
	}{
		{"first", map[string]int64{
			"HeadObject": small + 1, "PutObject": small, "CreateMultipartUpload": 1, "UploadPart": 3, "CompleteMultipartUpload": 1,
		}, body},
		{"second", map[string]int64{"HeadObject": small + 1}, 0},
	} {
		sent, hashed := counters(t, s.Admin, `(spillway_s3_sent_bytes_total)`), counters(t, s.Admin, `(spillway_md5_bytes_total)`)
		// The first entry is large. Its bytes come once the store has answered whether it
		// has the object.
		answered := requests["HeadObject"]
		content := io.MultiReader(bytes.NewReader(zip[:1000]), until(func() {
			awaitSum(t, s, `spillway_s3_requests_total\{operation="(HeadObject)",result="\w+"\}`, func(sum int64) bool { return sum > answered })
		}), bytes.NewReader(zip[1000:]))
		if a, err := client.Send(client.Within(t), s.API, "dev", content); err != nil || a.Status != 201 {
			t.Fatalf("%+v %v", a, err)
		}
		now := counters(t, s.Admin, ignore)
		got := since(requests, now)
		delete(got, "ListMultipartUploads") // the janitor's
		if !maps.Equal(got, upload.requests) {
			t.Errorf("%s: requests %v, want %v", upload.name, got, upload.requests)
		}
		requests = now
		after := counters(t, s.Admin, `(spillway_s3_sent_bytes_total)`)
		// The list of parts comes on top of the bodies.
		if n := after["spillway_s3_sent_bytes_total"] - sent["spillway_s3_sent_bytes_total"]; n < upload.sent || n > upload.sent+upload.sent/1000+2000 || upload.sent == 0 && n != 0 {
			t.Errorf("%s: %d bytes were sent, want %d", upload.name, n, upload.sent)
		}
		// Held objects have their MD5 in the store. Of the large one nothing needs it.
		const latency = 1 << 20 // bytes that may pass before the answer is known everywhere
		md5 := since(hashed, counters(t, s.Admin, `(spillway_md5_bytes_total)`))["spillway_md5_bytes_total"]
		if md5 < held || md5 > held+latency {
			t.Errorf("%s: the MD5 of %d bytes was computed, want %d", upload.name, md5, held)
		}
	}
	wantMetrics(t, s.Admin, "spillway_spilled_bytes_total 0", "spillway_spill_used_bytes 0")

	// Two uploads of 21 MB. Part buffers come from a pool.
	total := since(allocated, counters(t, s.Admin, `(go_memstats_alloc_bytes_total)`))["go_memstats_alloc_bytes_total"]
	if perMB := total / (2 * int64(len(zip)) / 1e6); perMB > 1_600_000 {
		t.Errorf("%d bytes are allocated for each MB of an archive", perMB)
	} else {
		t.Logf("%d bytes are allocated for each MB of an archive", perMB)
	}
}
