package s3sink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"spillway/s3sink"
	"spillway/stream"
	"spillway/stream/budget"
	"spillway/testdata/s3fault"
)

// testOnDisk checks bodies that stay on disk until they are published.
func testOnDisk(t *testing.T, r *rig) {
	part := r.budget.PartSize()
	var files []file
	for i, n := range []int{1, part - 1, part, part + 1, 3*part + 7} {
		files = append(files,
			file{name: fmt.Sprintf("a/1/%d", i), form: stream.AsIs, data: data(n, byte(i)), onDisk: io.EOF},
			file{name: fmt.Sprintf("a/1/%d.sym", i), form: stream.Gzip, data: data(n, byte(i)), onDisk: io.EOF})
	}
	for _, again := range []bool{false, true} {
		batch, err := r.upload(t, files...)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(batch.Skipped()); again != (n == len(files)) {
			t.Errorf("skipped %d of %d, again %t", n, len(files), again)
		}
		for _, f := range files {
			r.wantStored(t, f)
		}
		r.wantFinished(t)
		r.idle(t)
	}

	// A failure of the disk is not one of the store.
	for _, n := range []int{100, part + 1} {
		bad := file{name: "bad/1/bad", form: stream.AsIs, data: data(n, 9), onDisk: &budget.DiskError{Op: "read", Err: syscall.EIO}}
		r.wire.Forget()
		if _, err := r.upload(t, bad); !errors.Is(err, syscall.EIO) {
			t.Errorf("a body of %d bytes that cannot be read: %v", n, err)
		}
		if puts := r.wire.Attempts()["PutObject"]; puts > 1 {
			t.Errorf("a body of %d bytes that cannot be read was sent %d times", n, puts)
		}
		if _, visible := r.Object(t, r.bucket, "v1/bad/1/bad"); visible {
			t.Errorf("a body of %d bytes that cannot be read is visible", n)
		}
		r.wantFinished(t)
	}
}

// watchedDisk is a body on a disk that may fail. It records how it is used.
type watchedDisk struct {
	data     []byte
	readable int64 // bytes that can be read in all before the disk fails; 0: any number

	read     atomic.Int64
	released atomic.Bool
	late     atomic.Bool // read after it was released
}

func (d *watchedDisk) ReadAt(p []byte, off int64) (int, error) {
	if d.released.Load() {
		d.late.Store(true)
	}
	n, err := bytes.NewReader(d.data).ReadAt(p, off)
	if d.read.Add(int64(n)) > d.readable && d.readable > 0 {
		return 0, &budget.DiskError{Op: "read", Err: syscall.EIO}
	}
	return n, err
}

func (d *watchedDisk) Size() int64   { return int64(len(d.data)) }
func (d *watchedDisk) Memory() int64 { return 0 }
func (d *watchedDisk) Held() bool    { return true }
func (d *watchedDisk) Release()      { d.released.Store(true) }

// wantReleased fails the test if the disk space was not given back, or was given back too
// early.
func (d *watchedDisk) wantReleased(t *testing.T) {
	t.Helper()
	if !d.released.Load() {
		t.Error("the body was not released")
	}
	if d.late.Load() {
		t.Error("the body was read after its release")
	}
}

// uploadDisk stores one file whose body is on disk. before runs before Publish.
func (r *rig) uploadDisk(t *testing.T, f file, d *watchedDisk, before func(*testing.T, *s3sink.Batch, stream.Object, *watchedDisk)) (*s3sink.Batch, error) {
	t.Helper()
	ctx, share := r.admit(t)
	defer share.Close()
	ctx, batch := r.begin(ctx, share, false)
	defer end(t, batch)
	o := batch.Create(f.entry())
	if err := o.Commit(ctx, d, f.facts()); err != nil {
		t.Fatal(err)
	}
	before(t, batch, o, d)
	return batch, batch.Publish()
}

func asItIs(*testing.T, *s3sink.Batch, stream.Object, *watchedDisk) {}

// TestDiskFails checks that an error of the disk, while a body is summed or sent, is
// reported as such. No request is retried because of it, and nothing is left.
func TestDiskFails(t *testing.T) {
	part := int64(5 << 20)
	for _, test := range []struct {
		name        string
		form        stream.Form
		size        int64
		readable    int64
		puts, parts int // attempts at PutObject, at most at UploadPart
	}{
		{"as it is, sent", stream.AsIs, 100_000, 50_000, 1, 0},
		{"gzip, summed", stream.Gzip, 100_000, 50_000, 0, 0},
		{"gzip, sent", stream.Gzip, 100_000, 150_000, 1, 0},
		{"first part summed", stream.AsIs, 2 * part, 50_000, 0, 0},
		{"second part summed", stream.AsIs, 2 * part, part + 50_000, 0, 1},
		{"parts sent", stream.AsIs, 2 * part, 2*part + 50_000, 0, 2},
	} {
		inFakeTime(t, test.name, func(t *testing.T) {
			store := &fakeStore{}
			wire := &s3fault.Transport{Next: store}
			r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.Transport = wire })
			f := file{name: "a/1/a", form: test.form, data: data(int(test.size), 1)}
			d := &watchedDisk{data: f.body(), readable: test.readable}
			batch, err := r.uploadDisk(t, f, d, asItIs)
			disk, ok := errors.AsType[*budget.DiskError](err)
			if !ok || !errors.Is(disk, syscall.EIO) {
				t.Errorf("got error %v, want that of the disk", err)
			}
			if failed := storeError(t, err); failed.Op != "PutObject" && failed.Op != "UploadPart" {
				t.Errorf("failed at %s", failed.Op)
			}
			if len(batch.Uploaded()) > 0 {
				t.Error("uploaded")
			}
			sent := wire.Attempts()
			if sent["PutObject"] != test.puts || sent["UploadPart"] > test.parts {
				t.Errorf("requests %v, want %d for the object and at most %d for parts", sent, test.puts, test.parts)
			}
			if sent["CompleteMultipartUpload"] > 0 || sent["CreateMultipartUpload"] > 0 && sent["AbortMultipartUpload"] == 0 {
				t.Errorf("requests %v: the upload was not aborted", sent)
			}
			d.wantReleased(t)
			r.idle(t)
		})
	}
}

// TestDiskReleased checks that disk space is given back however an upload ends, and not
// before the last byte has been read.
func TestDiskReleased(t *testing.T) {
	for _, size := range []int{10, 5<<20 + 1} {
		for name, before := range map[string]func(*testing.T, *s3sink.Batch, stream.Object, *watchedDisk){
			"published": asItIs,
			"dropped":   func(_ *testing.T, b *s3sink.Batch, o stream.Object, _ *watchedDisk) { b.DropObject(o) },
			"dropped when it is held": func(t *testing.T, b *s3sink.Batch, o stream.Object, d *watchedDisk) {
				synctest.Wait()
				b.DropObject(o)
				d.wantReleased(t)
			},
			"aborted": func(_ *testing.T, b *s3sink.Batch, _ stream.Object, _ *watchedDisk) { _ = b.Abort() },
		} {
			inFakeTime(t, fmt.Sprint(name, " ", size), func(t *testing.T) {
				store := &fakeStore{}
				r := newFakeRig(t, store, nil)
				f := file{name: "a/1/a", form: stream.AsIs, data: data(size, 1)}
				d := &watchedDisk{data: f.data}
				batch, err := r.uploadDisk(t, f, d, before)
				d.wantReleased(t)
				published := name == "published"
				if published != (len(batch.Uploaded()) == 1) || (err == nil) == (name == "aborted") {
					t.Errorf("uploaded %q, %v", batch.Uploaded(), err)
				}
				if sent := store.count("PutObject") + store.count("UploadPart"); published != (sent > 0) {
					t.Errorf("%d bodies were sent", sent)
				}
			})
		}
	}
}

// TestDiskCutOff checks that an upload that ends while a large body is sent waits for the
// parts in flight, and leaves nothing.
func TestDiskCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inFlight atomic.Int64
		store := &fakeStore{answer: func(op string, _ int, req *http.Request) (*http.Response, error) {
			switch op {
			case "UploadPart":
				inFlight.Add(1)
				defer inFlight.Add(-1)
				time.Sleep(10 * time.Second)
			case "AbortMultipartUpload":
				if inFlight.Load() > 0 {
					t.Error("aborted while a part is in flight")
				}
			}
			return nil, nil
		}}
		r := newFakeRig(t, store, nil)
		_, share := r.admit(t)
		defer share.Close()
		upload, cancel := context.WithCancelCause(t.Context())
		ctx, batch := r.begin(upload, share, false)
		defer end(t, batch)
		f := file{name: "a/1/a", form: stream.AsIs, data: data(8*r.budget.PartSize(), 1)}
		d := &watchedDisk{data: f.data}
		if err := batch.Create(f.entry()).Commit(ctx, d, f.facts()); err != nil {
			t.Fatal(err)
		}
		stop := errors.New("the second signal")
		time.AfterFunc(5*time.Second, func() { cancel(stop) })
		if err := batch.Publish(); !errors.Is(storeError(t, err), stop) {
			t.Errorf("got error %v, want that %v", err, stop)
		}
		if parts := store.count("UploadPart"); parts == 0 || parts >= 8 {
			t.Errorf("%d parts were sent of 8", parts)
		}
		if store.count("AbortMultipartUpload") == 0 || store.count("CompleteMultipartUpload") > 0 {
			t.Error("not aborted")
		}
		d.wantReleased(t)
	})
}

// TestOtherBytes checks that bytes that differ from those that were verified do not become
// visible. This is possible where the archive's checksum is also the body's.
func TestOtherBytes(t *testing.T) {
	r := newRig(t, real(t), nil)
	part := r.budget.PartSize()
	for _, f := range []file{
		{name: "a/1/small", form: stream.AsIs, data: data(1000, 1), onDisk: io.EOF},
		{name: "a/1/large", form: stream.AsIs, data: data(part+1, 1), onDisk: io.EOF},
		{name: "a/1/leased", form: stream.AsIs, data: data(1000, 1), leased: true},
		{name: "a/1/parts", form: stream.AsIs, data: data(part+1, 1)},
	} {
		ctx, share := r.admit(t)
		ctx, batch := r.begin(ctx, share, false)
		_, err := f.write(ctx, share, otherSum{batch}, part)
		if err == nil {
			err = batch.Publish()
		}
		wantStoreError(t, err)
		end(t, batch)
		share.Close()
		r.wantNothing(t)
	}
}

// otherSum makes the checksum of the verified bytes differ from that of the bytes that are
// sent.
type otherSum struct{ stream.Sink }

func (s otherSum) Create(e stream.Entry) stream.Object { return otherSumObject{s.Sink.Create(e)} }

type otherSumObject struct{ stream.Object }

func (o otherSumObject) Commit(ctx context.Context, rest stream.Body, facts stream.Facts) error {
	facts.CRC32 ^= 1
	return o.Object.Commit(ctx, rest, facts)
}
