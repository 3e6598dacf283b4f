package s3sink_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"spillway/s3sink"
	"spillway/stream"
	"spillway/testdata/nightly"
	"spillway/testdata/s3fault"
	"spillway/testdata/s3server"
)

// attemptTimeout is short, so that tests of stores that hang are. It is longer than any
// good request takes on a busy machine.
const attemptTimeout = 4 * time.Second

// sampleOf is how many faults there are for each one that gates a change. It shares no
// factor with the number of ways, so that the sample has all of them.
const sampleOf = 5

// TestFaults makes each single call of an upload fail, in each way that ends a request in
// the middle. The program's tests have the other ways, and failures on the way to the
// server.
func TestFaults(t *testing.T) {
	t.Parallel()
	store := real(t)
	quick := func(cfg *s3sink.Config) { cfg.AttemptTimeout, cfg.CompleteTimeout = attemptTimeout, attemptTimeout }

	// An upload without faults shows which calls there are.
	r := newRig(t, store, quick)
	if _, err := r.upload(t, mixed(r.budget.PartSize())...); err != nil {
		t.Fatal(err)
	}
	calls := r.wire.Calls()
	if want := 5 + 2 + 3*2 + 1 + 2 + 2; len(calls) != want { // HEAD, PUT, create and complete, parts
		t.Fatalf("an upload of %d calls, want %d: %q", len(calls), want, calls)
	}

	n := 0
	// t.Parallel would run one per processor, but these tests mostly wait.
	var running sync.WaitGroup
	places := make(chan struct{}, 32)
	for _, call := range calls {
		for _, kind := range []s3fault.Kind{s3fault.Timeout, s3fault.Reset} {
			for _, applied := range []bool{false, true} {
				for _, always := range []bool{false, true} {
					fault := s3fault.Fault{Call: call, Kind: kind, Applied: applied, Always: always}
					if n++; n%nightly.Pick(sampleOf, 1) != 0 {
						continue
					}
					places <- struct{}{}
					running.Go(func() {
						defer func() { <-places }()
						t.Run(fault.String(), func(t *testing.T) { testFault(t, newRig(t, store, quick), fault) })
					})
				}
			}
		}
	}
	running.Wait()
}

func testFault(t *testing.T, r *rig, fault s3fault.Fault) {
	files := mixed(r.budget.PartSize())
	// The lost answer is the only one that names the upload.
	lostCreate := fault.Applied && strings.HasPrefix(fault.Call, "CreateMultipartUpload")
	_, lostKey, _ := strings.Cut(fault.Call, " ")

	r.wire.Inject(&fault)
	batch, err := r.upload(t, files...)
	r.wire.Inject(nil)
	if r.wire.Failed() == 0 {
		t.Fatal("nothing has failed")
	}
	if fault.Always {
		wantStoreError(t, err)
	} else if err != nil {
		t.Fatalf("one fault was too much: %v", err)
	}
	r.idle(t)
	visible := r.Keys(t, r.bucket)
	for _, f := range files {
		if slices.Contains(visible, "v1/"+f.name) {
			r.wantStored(t, f)
		} else if !fault.Always {
			t.Errorf("%s: not stored", f.name)
		}
		if slices.Contains(batch.Uploaded(), f.name) && !slices.Contains(visible, "v1/"+f.name) {
			t.Errorf("%s: said to be uploaded", f.name)
		}
	}
	published := strings.HasPrefix(fault.Call, "PutObject") || strings.HasPrefix(fault.Call, "CompleteMultipartUpload")
	if fault.Always && !published && len(visible) > 0 {
		t.Errorf("visible though staging failed: %q", visible)
	}
	unfinished := func() (others []s3server.Upload) {
		return slices.DeleteFunc(r.Uploads(t, r.bucket), func(u s3server.Upload) bool { return lostCreate && u.Key == lostKey })
	}
	if left := unfinished(); len(left) > 0 {
		t.Errorf("unfinished uploads: %v", left)
	}

	again, err := r.upload(t, files...)
	if err != nil {
		t.Fatalf("without the fault: %v", err)
	}
	for _, f := range files {
		r.wantStored(t, f)
	}
	if n := len(again.Uploaded()) + len(again.Skipped()); n != len(files) || len(again.Skipped()) != len(visible) {
		t.Errorf("then uploaded %q, skipped %q; %q were there", again.Uploaded(), again.Skipped(), visible)
	}
	if left := unfinished(); len(left) > 0 {
		t.Errorf("unfinished uploads after the second: %v", left)
	}
	r.idle(t)
}

// TestAbortFaults makes an abort fail.
func TestAbortFaults(t *testing.T) {
	t.Parallel()
	store := real(t)
	for _, kind := range []s3fault.Kind{s3fault.InternalError, s3fault.Timeout, s3fault.Reset} {
		for _, applied := range []bool{false, true} {
			for _, always := range []bool{false, true} {
				fault := s3fault.Fault{Call: "AbortMultipartUpload v1/a/1/big.pd_", Kind: kind, Applied: applied, Always: always}
				t.Run(fault.String(), func(t *testing.T) {
					t.Parallel()
					r := newRig(t, store, func(cfg *s3sink.Config) { cfg.AttemptTimeout = attemptTimeout / 4 })
					ctx, share := r.admit(t)
					defer share.Close()
					ctx, batch := r.begin(ctx, share, false)
					for _, f := range mixed(r.budget.PartSize()) {
						if _, err := f.write(ctx, share, batch, r.budget.PartSize()); err != nil {
							t.Fatal(err)
						}
					}
					r.wire.Inject(&fault)
					err := batch.Abort()
					if always {
						wantStoreError(t, err)
					} else if err != nil {
						t.Error(err)
					}
					if keys := r.Keys(t, r.bucket); len(keys) > 0 {
						t.Errorf("visible: %q", keys)
					}
					left := 0
					if always && !applied {
						left = 1
					}
					if uploads := r.Uploads(t, r.bucket); len(uploads) != left {
						t.Errorf("unfinished uploads: %v, want %d", uploads, left)
					}
				})
			}
		}
	}
}

// TestCutOffWhilePartsAreInFlight ends batches at many moments of their work.
func TestCutOffWhilePartsAreInFlight(t *testing.T) {
	t.Parallel()
	store := real(t)
	for after := range 12 {
		t.Run(fmt.Sprint(after, " requests"), func(t *testing.T) {
			r := newRig(t, store, nil)
			_, share := r.admit(t)
			defer share.Close()
			client, leave := context.WithCancel(t.Context())
			defer leave()
			ctx, batch := r.begin(client, share, false)
			r.wire.OnRequest(func(n int) {
				if n > after {
					leave()
				}
			})
			part := r.budget.PartSize()
			for _, f := range append(mixed(part), file{name: "a/1/huge", form: stream.AsIs, data: data(3*part, 7)}) {
				if _, err := f.write(ctx, share, batch, part); err != nil {
					break
				}
			}
			leave()
			if err := batch.Abort(); err != nil {
				t.Error(err)
			}
			r.wantNothing(t)
		})
	}
}
