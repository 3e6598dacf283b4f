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

// panicking is a store in which the first so many requests of an operation panic,
// a second after they were sent. By then the test has done what takes no time.
func panicking(operation string, first int) *fakeStore {
	return &fakeStore{answer: func(op string, n int, _ *http.Request) (*http.Response, error) {
		if op == operation && n <= first {
			time.Sleep(time.Second)
			panic("in " + op)
		}
		return nil, nil
	}}
}

// wantPanic fails the test if err is not the panic that was told so, with where
// it was.
func wantPanic(t *testing.T, err error, value string) {
	t.Helper()
	p, ok := errors.AsType[*guard.PanicError](err)
	if !ok || p.Value != value || !strings.Contains(string(p.Stack), "fake_test.go") {
		t.Errorf("error %v, want a panic %q and its stack", err, value)
	}
}

// TestPanicsEndTheirBatch: wherever something panics in the background, its batch
// fails and is cleared, the process goes on, and the budget is whole.
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
			o, err := test.write(ctx, share, batch, r.memory.PartSize())
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // the background has done what it can before Publish
			if test.drop {
				o.Drop()
			}
			wantPanic(t, batch.Publish(), "in "+test.operation)
			if ctx.Err() == nil {
				t.Error("the archive is read on")
			}
			if store.count("UploadPart") > 0 && store.count("AbortMultipartUpload") == 0 {
				t.Error("its upload has not been aborted")
			}
			share.Close() // or it panics itself
			r.idle(t)

			// The requests that have been cut short take nobody's place.
			store.answer = nil
			for i := range 20 {
				if _, err := r.upload(t, file{name: fmt.Sprint("b/1/", i), form: stream.AsIs, data: data(10, 1)}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestPanicsOfAborts: the others are aborted all the same, and the panic is told.
func TestPanicsOfAborts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := panicking("AbortMultipartUpload", 1)
		r := newFakeRig(t, store, nil)
		_, share := r.admit(t)
		defer share.Close()
		ctx, batch := r.begin(t.Context(), share, false)
		for i := range 3 {
			f := file{name: fmt.Sprint("a/1/", i), form: stream.AsIs, data: data(10, 1), leased: true}
			if _, err := f.write(ctx, share, batch, r.memory.PartSize()); err != nil {
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

// TestPanicWhileOthersWait: one that comes of making room for others ends the
// batch as well, and the others get the room.
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
			b, err := other.Lease(t.Context())
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
