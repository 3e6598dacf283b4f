package serve

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"spillway/s3sink"
	"spillway/stream"
	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/nightly"
	"spillway/testdata/ziptest"
)

// everyOther is a store that has every other object, by the last digit of its name.
type everyOther struct{ asked atomic.Int64 }

func (s *everyOther) RoundTrip(req *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: http.StatusNotFound, Header: http.Header{}, Body: http.NoBody, Request: req}
	if req.Method == http.MethodHead {
		if strings.Contains("02468", req.URL.Path[len(req.URL.Path)-5:][:1]) {
			resp.StatusCode = http.StatusOK
			resp.Header.Set("X-Amz-Meta-Original_size", "0")
			resp.Header.Set("X-Amz-Meta-Original_crc32", "00000000")
		}
		s.asked.Add(1)
	}
	return resp, nil
}

// atEnd calls then once all has been read, before it says so.
type atEnd struct {
	io.Reader
	then func()
}

func (r atEnd) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		r.then()
	}
	return n, err
}

// atLast calls then before it creates the last of so many objects.
type atLast struct {
	stream.Sink
	left int
	then func()
}

func (s *atLast) Create(e stream.Entry) stream.Object {
	if s.left--; s.left == 0 {
		s.then()
	}
	return s.Sink.Create(e)
}

// TestEntryTable measures what an entry takes in memory until its upload is published:
// for the pipeline, for the reader, which has the central directory to compare with, and
// for the store, which holds half of the entries and skips the others.
func TestEntryTable(t *testing.T) {
	const nameLength, limit = 80, 200
	if stream.EntryMemory+nameLength > limit {
		t.Errorf("%d bytes are counted for an entry", stream.EntryMemory+nameLength)
	}
	small, large := 2_000, 20_000
	for _, kind := range nightly.Pick([]string{"read forward"}, []string{"read forward", "held"}) {
		t.Run(kind, func(t *testing.T) {
			few, many := liveHeap(t, small, nameLength, kind == "held"), liveHeap(t, large, nameLength, kind == "held")
			each := float64(many-few) / float64(large-small)
			t.Logf("%.1f bytes for each entry", each)
			if counted := float64(stream.EntryMemory + nameLength); each > counted {
				t.Errorf("an entry takes %.1f bytes, and %v are counted for it", each, counted)
			}
		})
	}
}

// liveHeap is what is in memory at the end of an archive of so many empty entries, in
// bytes.
func liveHeap(t *testing.T, entries, nameLength int, held bool) int64 {
	t.Helper()
	var all archive.Archive
	for i := range entries {
		all.Entries = append(all.Entries, archive.Entry{Name: fmt.Sprintf("%0*d.dll", nameLength-4, i)})
	}
	if held {
		all.Prefix = []byte{0}
	}
	data := bytes.Clone(all.Bytes())
	all = archive.Archive{}

	store := &everyOther{}
	sink, err := s3sink.New(t.Context(), s3sink.Config{
		Bucket: "symbols", Region: "us-east-1", Endpoint: "http://store.test", PathStyle: true, Prefix: "v1/",
		AccessKey: "a", SecretKey: "b", PartSize: 5 << 20, Concurrency: 64, Transport: store,
	})
	if err != nil {
		t.Fatal(err)
	}
	room := budgettest.NewWithDisk(t, func(c *budget.SpillConfig) { c.Quota, c.UploadQuota = 1<<30, 1<<30 })
	ctx, share := budgettest.Admit(t, t.Context(), room)
	defer share.Close()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	batch := sink.Begin(ctx, end, share, false)
	var live int64
	measure := func(asked int) {
		for store.asked.Load() < int64(asked) {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond) // for the last answers to be dealt with
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		live = int64(m.HeapAlloc) - int64(cap(data))
	}
	rules := stream.Rules{Form: ziptest.FormByName, MaxEntries: entries, MaxUncompressed: 1}
	var source io.Reader = atEnd{bytes.NewReader(data), func() { measure(entries) }}
	var objects stream.Sink = batch
	if held { // it has been read before there is a table
		source = bytes.NewReader(data)
		objects = &atLast{batch, entries, func() { measure(entries - 1) }}
	}
	if _, err = ziptest.Read(ctx, source, share, objects, rules); err != nil {
		t.Fatal(err)
	}
	if skipped := len(batch.Skipped()); skipped != entries/2 {
		t.Errorf("%d of %d entries are skipped", skipped, entries)
	}
	if err := batch.Abort(); err != nil {
		t.Error(err)
	}
	return live
}
