package s3sink_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"spillway/internal/guard"
	"spillway/stream"
)

// panicking returns a store in which the first requests of an operation panic, a second
// after they were sent.
func panicking(operation string, first int) *fakeStore {
	return &fakeStore{answer: func(op string, n int, _ *http.Request) (*http.Response, error) {
		if op == operation && n <= first {
			time.Sleep(time.Second)
			panic("in " + op)
		}
		return nil, nil
	}}
}

// wantPanic fails the test unless err is a panic with that value and its stack.
func wantPanic(t *testing.T, err error, value string) {
	t.Helper()
	p, ok := errors.AsType[*guard.PanicError](err)
	if !ok || p.Value != value || !strings.Contains(string(p.Stack), "fake_test.go") {
		t.Errorf("error %v, want a panic %q and its stack", err, value)
	}
}

// TestPanicsEndTheirBatch checks that a panic in the background fails its batch, that the
// process goes on, and that the budget is whole.
func TestPanicsEndTheirBatch(t *testing.T) {
	const part = 5 << 20
	held := file{name: "a/1/held", form: stream.AsIs, data: data(10, 1)}
	leased := file{name: "a/1/leased", form: stream.AsIs, data: data(10, 1), leased: true}
	parts := file{name: "a/1/parts", form: stream.AsIs, data: data(part+1, 1), unstated: true}
	onDisk := file{name: "a/1/disk", form: stream.AsIs, data: data(part+1, 1), onDisk: io.EOF}
	for _, test := range []struct {
		operation string
		file
		drop bool
	}{
		{"HeadObject", held, false},
		{"HeadObject", leased, false},
		{"HeadObject", onDisk, false},
		{"CreateMultipartUpload", leased, false},
		{"CreateMultipartUpload", onDisk, false},
		{"UploadPart", leased, false},
		{"UploadPart", parts, false},
		{"UploadPart", onDisk, false},
		{"PutObject", held, false},
		{"CompleteMultipartUpload", leased, false},
		{"CompleteMultipartUpload", onDisk, false},
		{"AbortMultipartUpload", leased, true},
	} {
		inFakeTime(t, test.operation+" of "+test.name, func(t *testing.T) {
			store := panicking(test.operation, math.MaxInt)
			r := newFakeRig(t, store, nil)
			_, share := r.admit(t)
			ctx, batch := r.begin(t.Context(), share, false)
			o, err := test.write(ctx, share, batch, r.budget.PartSize())
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // the background has done all that it does before Publish
			if test.drop {
				batch.DropObject(o)
			}
			wantPanic(t, batch.Publish(), "in "+test.operation)
			if ctx.Err() == nil {
				t.Error("the archive is read on")
			}
			if store.count("UploadPart") > 0 && store.count("AbortMultipartUpload") == 0 {
				t.Error("its upload has not been aborted")
			}
			share.Close() // panics unless everything was released
			r.idle(t)

			// The requests that panicked have given their slots back.
			store.answer = nil
			for i := range 20 {
				if _, err := r.upload(t, file{name: fmt.Sprint("b/1/", i), form: stream.AsIs, data: data(10, 1)}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestPanicsOfAborts checks that the other uploads are aborted, and that the panic is
// returned.
func TestPanicsOfAborts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := panicking("AbortMultipartUpload", 1)
		r := newFakeRig(t, store, nil)
		_, share := r.admit(t)
		defer share.Close()
		ctx, batch := r.begin(t.Context(), share, false)
		for i := range 3 {
			f := file{name: fmt.Sprint("a/1/", i), form: stream.AsIs, data: data(10, 1), leased: true}
			if _, err := f.write(ctx, share, batch, r.budget.PartSize()); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		wantPanic(t, batch.Abort(), "in AbortMultipartUpload")
		if n := store.count("AbortMultipartUpload"); n != 3 {
			t.Errorf("%d of 3 uploads were aborted", n)
		}
	})
}

// TestPanicWhileOthersWait checks that a panic while memory is freed for another upload
// ends the batch, and that the other upload gets the memory.
func TestPanicWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := panicking("CreateMultipartUpload", math.MaxInt)
		r := newFakeRig(t, store, nil)
		_, share := r.admit(t)
		defer share.Close()
		ctx, batch := r.begin(t.Context(), share, false)
		for i := 0; ; i++ {
			b, ok := share.Hold(1 << 20)
			if !ok {
				break
			}
			f := file{name: fmt.Sprint("a/1/", i), form: stream.AsIs, data: data(1<<20, 1)}
			_, _ = b.Write(f.data)
			if err := batch.Create(f.entry()).Commit(ctx, b, f.facts()); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		_, other := r.admit(t)
		defer other.Close()
		for range 4 {
			b, err := other.Lease(t.Context(), 5<<20)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Release()
		}
		wantPanic(t, context.Cause(ctx), "in CreateMultipartUpload")
		if err := batch.Abort(); err != nil {
			t.Error(err)
		}
	})
}
