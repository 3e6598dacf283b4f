package s3sink_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"spillway/s3sink"
	"spillway/stream"
	"spillway/testdata/s3fault"
)

// testOnDisk is about bodies that stay on disk until they are published.
func testOnDisk(t *testing.T, r *rig) {
	part := r.memory.PartSize()
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

	// A disk that fails is not the store's failure.
	for _, n := range []int{100, part + 1} {
		bad := file{name: "bad/1/bad", form: stream.AsIs, data: data(n, 9), onDisk: &stream.DiskError{Op: "read", Err: syscall.EIO}}
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

// leave begins an upload of n objects in parts and never ends it.
func (r *rig) leave(t *testing.T, try bool, n int) {
	t.Helper()
	ctx, share := r.admit(t)
	ctx, batch := r.sink.Begin(ctx, share, try)
	for i := range n {
		f := file{name: fmt.Sprintf("left/%d/left", i), form: stream.AsIs, data: data(10, byte(i)), leased: true}
		if _, err := f.write(ctx, share, batch, r.memory.PartSize()); err != nil {
			t.Fatal(err)
		}
	}
	batch.Leave()
	share.Close()
}

func testSweep(t *testing.T, r *rig) {
	r.sink.SetSweepPage(3)
	const n = 8 // pages, the last one not full
	r.leave(t, false, n)
	r.leave(t, true, 2)
	if got := len(r.Uploads(t, r.bucket)); got != n+2 {
		t.Fatalf("%d uploads were left, want %d", got, n+2)
	}
	if aborted, err := r.sink.Sweep(t.Context(), time.Hour); aborted != 0 || err != nil {
		t.Errorf("uploads of this hour: %d aborted, %v", aborted, err)
	}
	// The store's clock counts in seconds.
	if aborted, err := r.sink.Sweep(t.Context(), -2*time.Second); aborted != n+2 || err != nil {
		t.Errorf("%d aborted, want %d: %v", aborted, n+2, err)
	}
	r.wantNothing(t)
	if aborted, err := r.sink.Sweep(t.Context(), -2*time.Second); aborted != 0 || err != nil {
		t.Errorf("with nothing there: %d aborted, %v", aborted, err)
	}
}

// TestSweepPlaces has prefixes inside one another, and others' uploads.
func TestSweepPlaces(t *testing.T) {
	store := real(t)
	for _, prefixes := range [][2]string{{"v1/", "try/v1/"}, {"v1/", "v1/try/"}, {"v1/regular/", "v1/"}, {"v1/", "v1/"}, {"", "try/"}} {
		t.Run(fmt.Sprintf("%q", prefixes), func(t *testing.T) {
			r := newRig(t, store, func(cfg *s3sink.Config) { cfg.Prefix, cfg.TryPrefix = prefixes[0], prefixes[1] })
			r.leave(t, false, 1)
			r.leave(t, true, 1)
			ours := len(r.Uploads(t, r.bucket))
			if aborted, err := r.sink.Sweep(t.Context(), -2*time.Second); aborted != ours || err != nil {
				t.Errorf("%d aborted, want %d: %v", aborted, ours, err)
			}
			r.wantNothing(t)
		})
	}
	others := newRig(t, store, func(cfg *s3sink.Config) { cfg.Prefix, cfg.TryPrefix = "others/", "v2/" })
	others.leave(t, false, 1)
	ours := newRig(t, store, func(cfg *s3sink.Config) { cfg.Bucket = others.bucket })
	if aborted, err := ours.sink.Sweep(t.Context(), -2*time.Second); aborted != 0 || err != nil {
		t.Errorf("others' uploads: %d aborted, %v", aborted, err)
	}
	if left := others.Uploads(t, others.bucket); len(left) != 1 {
		t.Errorf("others' uploads: %v", left)
	}
}

func TestSweepFaults(t *testing.T) {
	store := real(t)
	for _, call := range []string{"ListMultipartUploads v1/", "AbortMultipartUpload v1/left/1/left"} {
		for _, kind := range []s3fault.Kind{s3fault.InternalError, s3fault.Timeout, s3fault.Reset} {
			for _, applied := range []bool{false, true} {
				for _, always := range []bool{false, true} {
					fault := s3fault.Fault{Call: call, Kind: kind, Applied: applied, Always: always}
					t.Run(fault.String(), func(t *testing.T) {
						r := newRig(t, store, func(cfg *s3sink.Config) { cfg.AttemptTimeout = attemptTimeout / 4 })
						r.leave(t, false, 3)
						r.wire.Inject(&fault)
						aborted, err := r.sink.Sweep(t.Context(), -2*time.Second)
						if r.wire.Failed() == 0 {
							t.Fatal("nothing has failed")
						}
						r.wire.Inject(nil)
						if always {
							wantStoreError(t, err)
							if call != "ListMultipartUploads v1/" && aborted != 2 {
								t.Errorf("%d of the others were aborted, want 2", aborted)
							}
						} else if err != nil {
							t.Errorf("one fault was too much: %v", err)
						}
						if _, err := r.sink.Sweep(t.Context(), -2*time.Second); err != nil {
							t.Error(err)
						}
						r.wantNothing(t)
					})
				}
			}
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	r := newRig(t, store, nil)
	_, err := r.sink.Sweep(ended, time.Hour)
	wantStoreError(t, err)
}
