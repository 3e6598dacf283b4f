package serve

import (
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/nightly"
	"spillway/testdata/remote"
)

// TestDownloadsThatBreak breaks the download of an archive at many random places. Where it can be
// resumed, the same objects are stored as without a break; where it cannot, nothing is.
func TestDownloadsThatBreak(t *testing.T) {
	t.Parallel()
	svc := startService(t, overrides{}, "--download-any")
	content := archive.Build(
		archive.Entry{Name: archive.SymbolsName(1), Data: archive.Symbols(1, 300_000), Method: archive.Deflate},
		archive.Entry{Name: archive.SymbolsName(2), Data: archive.Symbols(2, 100_000), Method: archive.Deflate, Descriptor: archive.Signed32},
		archive.Entry{Name: "large.pdb/A0/large.pd_", Data: archive.Noise(3, 9<<20)},
		archive.Entry{Name: "disk.pdb/A0/disk.pd_", Data: archive.Noise(4, 300<<10), Descriptor: archive.Signed32},
	)
	if a := svc.uploadFrom(t, &remote.File{Content: content, NoRanges: true}); a.Status != http.StatusCreated {
		t.Fatalf("without a break: %+v", a)
	}
	want := svc.sums(t)
	random := rand.New(rand.NewPCG(3, 4))
	for range nightly.Pick(12, 200) {
		svc.drop(t)
		breaks := []int{1 + random.IntN(len(content)-1), 1 + random.IntN(len(content)-1)}
		slices.Sort(breaks)
		f := &remote.File{Content: content, Header: remote.StrongETag(), Breaks: slices.Compact(breaks), NoTail: true}
		a := svc.uploadFrom(t, f)
		if got := svc.sums(t); a.Status != http.StatusCreated || a.Upload.Size != int64(len(content)) || !maps.Equal(got, want) {
			t.Errorf("breaks at %v: %+v, stored %v, want %v", breaks, a, got, want)
		}
		for i, start := range f.Starts()[1:] {
			if start != f.Breaks[i] {
				t.Errorf("breaks at %v: answers from %v", f.Breaks, f.Starts())
			}
		}
		svc.drop(t)
		if a := svc.uploadFrom(t, &remote.File{Content: content, Breaks: breaks, NoRanges: true}); a.Status != http.StatusServiceUnavailable || a.RetryAfter == "" {
			t.Errorf("no validator, and a break at %d: %+v", breaks[0], a)
		}
		svc.wantNothing(t, fmt.Sprintf("no validator, and a break at %d", breaks[0]))
	}
}

// uploadFrom uploads a file by its URL and waits until the upload has given its room back.
func (svc *testService) uploadFrom(t *testing.T, f *remote.File) client.Answer {
	t.Helper()
	return svc.uploadFromHandler(t, f)
}

// uploadFromHandler is uploadFrom for a remote of any kind.
func (svc *testService) uploadFromHandler(t *testing.T, f http.Handler) client.Answer {
	t.Helper()
	server := remote.Start(t, f, false)
	defer server.Close()
	a, err := client.SendURL(client.Within(t), svc.api(), "dev", server.URL+"/x.zip")
	if err != nil {
		t.Fatal(err)
	}
	<-svc.events
	return a
}

// sums returns the checksum of each object in the bucket by its key.
func (svc *testService) sums(t *testing.T) map[string]uint32 {
	t.Helper()
	sums := map[string]uint32{}
	for _, key := range svc.Keys(t) {
		o, _ := svc.Store.Object(t, svc.BucketName, key)
		sums[key] = crc32.ChecksumIEEE(o.Body)
	}
	return sums
}
