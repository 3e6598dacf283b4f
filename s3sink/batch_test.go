package s3sink_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"spillway/s3sink"
	"spillway/stream"
	"spillway/stream/budget"
)

// This file tests how a batch ends.

// mixed returns an archive with an entry for every way of staging.
func mixed(part int) []file {
	return []file{
		{name: "a/1/held.sym", form: stream.Gzip, data: data(3000, 1)},
		{name: "a/1/leased.sym", form: stream.Gzip, data: data(3000, 2), leased: true},
		{name: "a/1/big.pd_", form: stream.AsIs, data: data(part+1000, 3)},
		{name: "a/1/disk.pd_", form: stream.AsIs, data: data(part+1000, 4), onDisk: io.EOF},
		{name: "a/1/disk.sym", form: stream.Gzip, data: data(3000, 5), onDisk: io.EOF},
	}
}

func testInvisible(t *testing.T, r *rig) {
	ctx, share := r.admit(t)
	defer share.Close()
	ctx, batch := r.begin(ctx, share, false)
	defer end(t, batch)
	files := mixed(r.budget.PartSize())
	for _, f := range files {
		if _, err := f.write(ctx, share, batch, r.budget.PartSize()); err != nil {
			t.Fatal(err)
		}
	}
	if keys := r.Keys(t, r.bucket); len(keys) > 0 {
		t.Errorf("visible before Publish: %q", keys)
	}
	if err := batch.Publish(); err != nil {
		t.Fatal(err)
	}
	if keys := r.Keys(t, r.bucket); len(keys) != len(files) {
		t.Errorf("visible after Publish: %q", keys)
	}
	if err := batch.Abort(); err != nil {
		t.Errorf("Abort after Publish: %v", err)
	}
	for _, f := range files {
		r.wantStored(t, f)
	}
	if err := batch.Publish(); err == nil {
		t.Error("a second Publish succeeds")
	}
}

func testAbort(t *testing.T, r *rig) {
	gone := errors.New("the client has gone")
	for name, end := range map[string]func(cancel context.CancelCauseFunc){
		"by its owner":            func(context.CancelCauseFunc) {},
		"after its context's end": func(cancel context.CancelCauseFunc) { cancel(gone) },
	} {
		ctx, share := r.admit(t)
		ctx, cancel := context.WithCancelCause(ctx)
		reading, batch := r.begin(ctx, share, false)
		for _, f := range mixed(r.budget.PartSize()) {
			if _, err := f.write(reading, share, batch, r.budget.PartSize()); err != nil {
				t.Fatal(err)
			}
		}
		// An object with a part in flight, and more to come.
		o := batch.Create(stream.Entry{Name: "a/1/half", Form: stream.AsIs})
		b, err := share.Lease(reading, 5<<20)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = b.Write(data(r.budget.PartSize(), 1))
		if wanted, err := o.Part(reading, b); !wanted || err != nil {
			t.Fatal(wanted, err)
		}
		end(cancel)
		for range 2 {
			if err := batch.Abort(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if reading.Err() == nil {
			t.Errorf("%s: the batch's context goes on", name)
		}
		cancel(nil)
		share.Close()
		r.wantNothing(t)
		r.idle(t)
		if len(batch.Uploaded()) > 0 || batch.Sent() > 0 {
			t.Errorf("%s: uploaded %q, sent %d", name, batch.Uploaded(), batch.Sent())
		}
	}
}

func testDrop(t *testing.T, r *rig) {
	ctx, share := r.admit(t)
	defer share.Close()
	ctx, batch := r.begin(ctx, share, false)
	defer end(t, batch)
	for _, f := range mixed(r.budget.PartSize()) {
		o, err := f.write(ctx, share, batch, r.budget.PartSize())
		if err != nil {
			t.Fatal(err)
		}
		batch.DropObject(o)
		batch.DropObject(o)
	}
	batch.DropObject(batch.Create(stream.Entry{Name: "a/1/unused", Form: stream.AsIs}))
	o := batch.Create(stream.Entry{Name: "a/1/half", Form: stream.AsIs})
	b, err := share.Lease(ctx, 5<<20)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = b.Write(data(r.budget.PartSize(), 1))
	if _, err := o.Part(ctx, b); err != nil {
		t.Fatal(err)
	}
	batch.DropObject(o)
	kept := file{name: "a/1/kept", form: stream.AsIs, data: data(10, 1)}
	if _, err := kept.write(ctx, share, batch, r.budget.PartSize()); err != nil {
		t.Fatal(err)
	}
	if err := batch.Publish(); err != nil {
		t.Fatal(err)
	}
	if got, want := r.Keys(t, r.bucket), []string{"v1/a/1/kept"}; !slices.Equal(got, want) {
		t.Errorf("visible: %q, want %q", got, want)
	}
	if got := batch.Uploaded(); !slices.Equal(got, []string{"a/1/kept"}) {
		t.Errorf("uploaded %q", got)
	}
	r.wantFinished(t)
}

func testTry(t *testing.T, r *rig) {
	other := r.Bucket(t)
	tries := newRig(t, r.Client, func(cfg *s3sink.Config) { cfg.Bucket, cfg.TryBucket = r.bucket, other })
	if tries.sink.Bucket(false) != r.bucket || tries.sink.Bucket(true) != other || r.sink.Bucket(true) != r.bucket {
		t.Error("the wrong bucket")
	}
	if got, want := r.sink.MaxName(), 1024-len("try/v1/"); got != want {
		t.Errorf("names of up to %d bytes, want %d", got, want)
	}
	_, share := tries.admit(t)
	defer share.Close()
	ctx, batch := tries.begin(t.Context(), share, true)
	defer end(t, batch)
	for _, f := range mixed(tries.budget.PartSize()) {
		if _, err := f.write(ctx, share, batch, tries.budget.PartSize()); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Publish(); err != nil {
		t.Fatal(err)
	}
	if got := r.Keys(t, r.bucket); len(got) > 0 {
		t.Errorf("in the regular bucket: %q", got)
	}
	want := []string{"try/v1/a/1/big.pd_", "try/v1/a/1/disk.pd_", "try/v1/a/1/disk.sym", "try/v1/a/1/held.sym", "try/v1/a/1/leased.sym"}
	if got := r.Keys(t, other); !slices.Equal(got, want) {
		t.Errorf("in the try bucket: %q, want %q", got, want)
	}
}

func testTwice(t *testing.T, r *rig) {
	ctx, share := r.admit(t)
	defer share.Close()
	ctx, batch := r.begin(ctx, share, false)
	defer end(t, batch)
	var last file
	for i := range 4 {
		last = file{name: "a/1/same", form: stream.AsIs, data: data(1000, byte(i)), leased: i%2 == 1}
		o, err := last.write(ctx, share, batch, r.budget.PartSize())
		if err != nil {
			t.Fatal(err)
		}
		if i < 3 {
			batch.DropObject(o)
		}
	}
	if err := batch.Publish(); err != nil {
		t.Fatal(err)
	}
	r.wantStored(t, last)
	if got := batch.Uploaded(); !slices.Equal(got, []string{"a/1/same"}) {
		t.Errorf("uploaded %q", got)
	}
	r.wantFinished(t)
}

// testStageOut checks that held objects are staged when one upload holds as much memory as
// it may and another waits for part buffers.
func testStageOut(t *testing.T, r *rig) {
	_, share := r.admit(t)
	defer share.Close()
	ctx, batch := r.begin(t.Context(), share, false)
	defer end(t, batch)
	var files []file
	for i := 0; ; i++ {
		f := file{name: fmt.Sprintf("a/1/%03d", i), form: stream.AsIs, data: data(1<<20, byte(i))}
		b, ok := share.Hold(len(f.data))
		if !ok {
			break
		}
		_, _ = b.Write(f.data)
		files = append(files, f)
		if err := batch.Create(f.entry()).Commit(ctx, b, f.facts()); err != nil {
			t.Fatal(err)
		}
	}

	_, other := r.admit(t)
	defer other.Close()
	var leased []*budget.Buffer
	for range 4 {
		b, err := other.Lease(t.Context(), 5<<20)
		if err != nil {
			t.Fatal(err)
		}
		leased = append(leased, b)
	}
	got := r.wire.Attempts()
	if got["CreateMultipartUpload"] == 0 || got["CreateMultipartUpload"] == len(files) {
		t.Errorf("%d of %d held objects have been staged", got["CreateMultipartUpload"], len(files))
	}
	if !slices.Contains(r.wire.Calls(), "CreateMultipartUpload v1/a/1/000") {
		t.Error("the oldest object has not been staged")
	}
	if keys := r.Keys(t, r.bucket); len(keys) > 0 {
		t.Errorf("visible: %q", keys)
	}
	for _, b := range leased {
		b.Release()
	}
	if err := batch.Publish(); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		o := r.wantStored(t, f)
		if len(o.Metadata) != 3 {
			t.Errorf("%s: metadata %v", f.name, o.Metadata)
		}
	}
	got = r.wire.Attempts()
	if want := len(files) + r.looks(got["CompleteMultipartUpload"]); got["HeadObject"] != want {
		t.Errorf("%d HEAD requests for %d objects, want %d", got["HeadObject"], len(files), want)
	}
	r.wantFinished(t)
}

// testProbe checks that a probe leaves nothing behind, and that only the first one writes
// objects, reads them back and deletes them.
func testProbe(t *testing.T, r *rig) {
	probe := func() map[string]int {
		t.Helper()
		r.wire.Forget()
		if err := r.sink.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.wantFinished(t)
		if keys := r.Keys(t, r.bucket); len(keys) > 0 {
			t.Errorf("visible: %q", keys)
		}
		return r.wire.Attempts()
	}
	first := probe()
	for operation, n := range map[string]int{"GetObject": 4, "CompleteMultipartUpload": 2, "DeleteObject": 4} {
		if first[operation] < n { // more if the store does not find at once what it has
			t.Errorf("first probe: %d of %s, want %d", first[operation], operation, n)
		}
	}
	for range 2 {
		want := map[string]int{"HeadObject": 2, "CreateMultipartUpload": 2, "UploadPart": 2, "AbortMultipartUpload": 2}
		if got := probe(); !maps.Equal(got, want) {
			t.Errorf("then: %v, want %v", got, want)
		}
		if n := r.wire.Sent(); n < 500<<10 || n > 600<<10 {
			t.Errorf("then: %d bytes sent", n)
		}
	}
	absent := newRig(t, r.Client, func(cfg *s3sink.Config) { cfg.TryBucket = "no-such-bucket" })
	if failed := storeError(t, absent.sink.Probe(t.Context())); failed.Code != "NoSuchBucket" {
		t.Errorf("no bucket: %s of %s: %s", failed.Op, failed.Key, failed.Code)
	}
	absent.wantFinished(t)
}

// TestManyDrops checks that a few of the multipart uploads of a refused archive are
// aborted at a time. There may be thousands.
func TestManyDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const files, concurrency = 1000, 8
		var mu sync.Mutex
		most := 0
		store := &fakeStore{answer: func(operation string, _ int, _ *http.Request) (*http.Response, error) {
			time.Sleep(10 * time.Millisecond)
			if operation == "AbortMultipartUpload" {
				mu.Lock()
				defer mu.Unlock()
				most = max(most, runtime.NumGoroutine())
			}
			return nil, nil
		}}
		r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.Concurrency = concurrency })
		_, share := r.admit(t)
		defer share.Close()
		ctx, batch := r.begin(t.Context(), share, false)
		var objects []stream.Object
		for i := range files {
			f := file{name: fmt.Sprintf("a/1/%d", i), form: stream.AsIs, data: data(10, byte(i)), leased: true}
			o, err := f.write(ctx, share, batch, r.budget.PartSize())
			if err != nil {
				t.Fatal(err)
			}
			objects = append(objects, o)
		}
		time.Sleep(time.Minute) // all are staged
		before := runtime.NumGoroutine()
		for _, o := range objects {
			batch.DropObject(o)
		}
		if err := batch.Abort(); err != nil {
			t.Error(err)
		}
		if n := store.count("AbortMultipartUpload"); n != files {
			t.Errorf("%d of %d were aborted", n, files)
		}
		if most > before+4*concurrency {
			t.Errorf("%d goroutines at once, %d before", most, before)
		}
	})
}
