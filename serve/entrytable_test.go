package serve

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"runtime"
	"strings"
	"sync"
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
	const limit = 200
	makeGoroutines(2_000)
	for _, kind := range nightly.Pick([]tableKind{forward, mostIgnored}, []tableKind{forward, heldArchive, mostIgnored}) {
		t.Run(kind.name, func(t *testing.T) {
			counted := float64(stream.EntryMemory + kind.nameLength)
			if kind.nameLength == 80 && counted > limit {
				t.Errorf("%v bytes are counted for an entry", counted)
			}
			few, many := liveHeap(t, kind.large/10, kind), liveHeap(t, kind.large, kind)
			each := float64(many-few) / float64(kind.large-kind.large/10)
			t.Logf("%.1f bytes for each entry", each)
			if each > counted {
				t.Errorf("an entry takes %.1f bytes, and %v are counted for it", each, counted)
			}
		})
	}
}

// makeGoroutines runs so many goroutines at once. The runtime keeps their descriptors on the
// heap for further ones: they are no part of a table.
func makeGoroutines(n int) {
	var running sync.WaitGroup
	end := make(chan struct{})
	for range n {
		running.Go(func() { <-end })
	}
	close(end)
	running.Wait()
}

// tableKind is a kind of archive, and when its table is measured.
type tableKind struct {
	name       string
	nameLength int // of an entry, in bytes
	large      int // entries
}

var (
	forward     = tableKind{"read forward", 80, 20_000} // at the end of the archive
	heldArchive = tableKind{"held", 80, 20_000}         // before the last object is created

	// Of 16 entries, 15 are ignored. It is measured once the archive has been read: the
	// report has the names of the ignored entries, and the store has the others.
	mostIgnored = tableKind{"most ignored", 1000, 4_000}
)

// liveHeap is what is in memory at the end of an archive of so many empty entries, in
// bytes.
func liveHeap(t *testing.T, entries int, kind tableKind) int64 {
	t.Helper()
	var all archive.Archive
	created := 0
	for i := range entries {
		extension := ".dll"
		if kind == mostIgnored && i%16 != 0 {
			extension = "-symbols.txt"
		} else {
			created++
		}
		all.Entries = append(all.Entries, archive.Entry{Name: fmt.Sprintf("%0*d%s", kind.nameLength-len(extension), i, extension)})
	}
	held := kind == heldArchive
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
		// Until the last answers have been dealt with, requests are in memory, too. The
		// lowest of some measurements is without them.
		live = math.MaxInt64
		for range 5 {
			time.Sleep(20 * time.Millisecond)
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			live = min(live, int64(m.HeapAlloc)-int64(cap(data)))
		}
		runtime.KeepAlive(data)
	}
	rules := stream.Rules{Form: ziptest.FormByName, MaxEntries: entries, MaxUncompressed: 1}
	var source io.Reader = bytes.NewReader(data)
	var objects stream.Sink = batch
	switch kind {
	case forward:
		source = atEnd{source, func() { measure(entries) }}
	case heldArchive: // it has been read before there is a table
		objects = &atLast{batch, entries, func() { measure(entries - 1) }}
	}
	report, err := ziptest.Read(ctx, source, share, objects, rules)
	if err != nil {
		t.Fatal(err)
	}
	if kind == mostIgnored {
		measure(created)
	} else if skipped := len(batch.Skipped()); skipped != entries/2 {
		t.Errorf("%d of %d entries are skipped", skipped, entries)
	}
	if len(report.Ignored) != entries-created {
		t.Errorf("%d entries are ignored", len(report.Ignored))
	}
	if err := batch.Abort(); err != nil {
		t.Error(err)
	}
	return live
}
