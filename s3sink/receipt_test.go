package s3sink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"spillway/receipts"
	"spillway/s3sink"
	"spillway/stream"
	"spillway/testdata/s3fault"
	"spillway/testdata/s3quirk"
	"spillway/testdata/s3server"
)

const receiptsPrefix = "receipts/"

func withReceipts(cfg *s3sink.Config) { cfg.ReceiptsPrefix = receiptsPrefix }

// readers returns readers of the rig's receipts.
func (r *rig) readers(t *testing.T) []*s3sink.Reader {
	t.Helper()
	readers, err := s3sink.NewReaders(t.Context(), s3sink.Config{
		Bucket: r.bucket, Region: s3server.Region, Endpoint: r.Endpoint, PathStyle: true, ReceiptsPrefix: receiptsPrefix,
		AccessKey: r.AccessKey, SecretKey: r.SecretKey, MaxBackoff: 10 * time.Millisecond, Transport: r.wire,
	})
	if err != nil {
		t.Fatal(err)
	}
	return readers
}

// list returns the names that a reader lists.
func list(t *testing.T, reader *s3sink.Reader, after string) (names []string, err error) {
	t.Helper()
	for o, err := range reader.List(t.Context(), after) {
		if err != nil {
			return names, err
		}
		names = append(names, o.Name)
	}
	return names, nil
}

// testReceipts writes receipts of any length, and finds them again.
func testReceipts(t *testing.T, contract *rig) {
	r := newRig(t, contract.Client, withReceipts)
	r.forgetsCacheControl = contract.forgetsCacheControl
	if err := r.sink.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	batch, err := r.upload(t, file{name: "a/1/a", form: stream.AsIs, data: data(10, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r.wire.Forget()
	sizes := map[string]int{}
	var names []string
	for day, size := range []int{1, 1000, r.budget.PartSize(), 2*r.budget.PartSize() + 1, 0} {
		name := fmt.Sprintf("2026/11/2%d/120000-1-2/i1-%s/%s.json", day, strings.Repeat("x", 200), strings.Repeat("y", 100))
		names, sizes[name] = append(names, name), size
		if err := batch.WriteReceipt(name, "application/json", bytes.NewReader(data(size, 1)), int64(size)); err != nil {
			t.Fatal(err)
		}
		o, ok := r.Object(t, r.bucket, receiptsPrefix+name)
		if !ok || !bytes.Equal(o.Body, data(size, 1)) || o.ContentType != "application/json" || o.ContentEncoding != "" ||
			o.CacheControl != "no-transform" && !r.forgetsCacheControl {
			t.Errorf("%d bytes: %v, %d bytes, %q, %q", size, ok, len(o.Body), o.ContentType, o.CacheControl)
		}
	}
	if got := r.wire.Attempts(); len(got) != 1 || got["PutObject"] != len(sizes) {
		t.Errorf("requests: %v", got)
	}

	reader := r.readers(t)[0]
	for from := range names {
		if got, err := list(t, reader, names[from][:len("2026/11/20/120000")]); err != nil || !slices.Equal(got, names[from:]) {
			t.Errorf("listed %d receipts, want %d: %v", len(got), len(names[from:]), err)
		}
	}
	for name, size := range sizes {
		if size == 0 {
			continue
		}
		for _, off := range []int64{0, int64(size / 2), int64(size - 1)} {
			got, err := reader.Read(t.Context(), name, off, 100)
			if want := data(size, 1)[off:min(off+100, int64(size))]; err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes at %d of %d: %v", len(got), off, size, err)
			}
		}
	}
	if _, err := reader.Read(t.Context(), "none", 0, 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an object that is not there: %v", err)
	}
}

// TestResults stores objects in each way, and asks what became of them.
func TestResults(t *testing.T) {
	t.Parallel()
	r := newRig(t, real(t), withReceipts)
	part := r.budget.PartSize()
	small := file{name: "a/1/small.sym", form: stream.Gzip, data: data(1000, 1)}
	leased := file{name: "a/1/leased", form: stream.AsIs, data: data(1000, 2), leased: true}
	large := file{name: "a/1/large", form: stream.AsIs, data: data(part+1, 3)}
	empty := file{name: "a/1/empty", form: stream.AsIs}
	changed := func(f file) file { f.data = slices.Concat(f.data, []byte{1}); return f }

	for _, upload := range []struct {
		files             []file
		skipped, replaced bool
	}{
		{[]file{small, leased, large, empty}, false, false},
		{[]file{small, leased, large, empty}, true, false},
		{[]file{changed(small), changed(leased), changed(large)}, false, true},
	} {
		batch, err := r.upload(t, upload.files...)
		if err != nil || batch.Len() != len(upload.files) {
			t.Fatalf("%d objects: %v", batch.Len(), err)
		}
		for i, f := range upload.files {
			got, ok := batch.Result(i)
			want := stream.Result{Name: f.name, Form: f.form, Skipped: upload.skipped, Replaced: upload.replaced, Facts: f.facts()}
			if !upload.skipped {
				want.BodySize = int64(len(f.body()))
			}
			// Of those, the MD5 is computed only if the store may need it to decide.
			if !got.Facts.HasMD5 && (f.name == large.name || f.name == leased.name) {
				want.Facts.HasMD5, want.Facts.MD5 = false, got.Facts.MD5
			}
			if !ok || got != want {
				t.Errorf("%s: %v, %+v, want %+v", f.name, ok, got, want)
			}
		}
	}

	ctx, share := r.admit(t)
	defer share.Close()
	ctx, batch := r.begin(ctx, share, false)
	for _, f := range []file{small, {name: "a/1/dropped", form: stream.AsIs, data: data(10, 9)}} {
		if _, err := f.write(ctx, share, batch, part); err != nil {
			t.Fatal(err)
		}
	}
	batch.Drop(1)
	if err := batch.Publish(); err != nil {
		t.Fatal(err)
	}
	if _, ok := batch.Result(1); ok {
		t.Error("a dropped object has a result")
	}
}

// TestReceiptFaults makes the write of a receipt fail, in both forms. Files that were
// published stay, and a second try succeeds.
func TestReceiptFaults(t *testing.T) {
	t.Parallel()
	store := real(t)
	for _, kind := range s3fault.Kinds() {
		for _, applied := range []bool{false, true} {
			for _, always := range []bool{false, true} {
				fault := s3fault.Fault{Call: "PutObject " + receiptsPrefix + "r.json", Kind: kind, Applied: applied, Always: always}
				if !fault.Possible() {
					continue
				}
				t.Run(fault.String(), func(t *testing.T) {
					t.Parallel()
					r := newRig(t, store, func(cfg *s3sink.Config) {
						withReceipts(cfg)
						cfg.AttemptTimeout = attemptTimeout / 4
					})
					files := []file{{name: "a/1/a.sym", form: stream.Gzip, data: data(1000, 1)}}
					r.wire.Inject(&fault)
					batch, err := r.upload(t, files...)
					if err != nil {
						t.Fatal(err)
					}
					err = batch.WriteReceipt("r.json", "application/json", strings.NewReader("{}"), 2)
					r.wire.Inject(nil)
					if r.wire.Failed() == 0 {
						t.Fatal("nothing has failed")
					}
					if always || err != nil && !kind.Passes() {
						if failed := storeError(t, err); failed.Op != "PutObject" || failed.Key != receiptsPrefix+"r.json" {
							t.Errorf("%v", failed)
						}
					} else if err != nil {
						t.Errorf("one fault was too much: %v", err)
					}
					r.wantStored(t, files[0])
					again, err := r.upload(t, files...)
					if err == nil {
						err = again.WriteReceipt("r2.json", "application/json", strings.NewReader("{}"), 2)
					}
					if err != nil || len(again.Skipped()) != 1 {
						t.Errorf("without the fault: skipped %q: %v", again.Skipped(), err)
					}
					if o, ok := r.Object(t, r.bucket, receiptsPrefix+"r2.json"); !ok || string(o.Body) != "{}" {
						t.Errorf("%v, %q", ok, o.Body)
					}
					r.wantFinished(t)
					r.idle(t)
				})
			}
		}
	}
}

// A store that loses objects is found out with Verify.
func TestReceiptThatIsLost(t *testing.T) {
	t.Parallel()
	store := &fakeStore{}
	r := newFakeRig(t, store, func(cfg *s3sink.Config) {
		withReceipts(cfg)
		cfg.Verify = true
	})
	_, share := r.admit(t)
	defer share.Close()
	_, batch := r.begin(t.Context(), share, false)
	if err := batch.Publish(); err != nil {
		t.Fatal(err)
	}
	err := batch.WriteReceipt("r.json", "application/json", strings.NewReader("{}"), 2)
	if failed := storeError(t, err); failed.Code != "not there after it was written" {
		t.Errorf("%v", failed)
	}
}

// TestReceiptProbe checks that the probe finds out that receipts cannot be written, and
// that it does not write at every probe.
func TestReceiptProbe(t *testing.T) {
	t.Parallel()
	server := real(t)
	for _, denied := range []string{"nothing", "s3:PutObject", "s3:DeleteObject", "s3:GetObject", "s3:ListBucket"} {
		t.Run(denied, func(t *testing.T) {
			t.Parallel()
			proxy := s3quirk.Before(t, server, s3quirk.Denies(denied, receiptsPrefix))
			r := newRig(t, server, func(cfg *s3sink.Config) {
				withReceipts(cfg)
				cfg.Endpoint, cfg.TryBucket = proxy, server.Bucket(t)
			})
			err := r.sink.Probe(t.Context())
			if denied == "s3:PutObject" {
				if failed := storeError(t, err); failed.Key != receiptsPrefix+".spillway-probe-receipt" || !strings.Contains(s3sink.Explain(err), "needs s3:PutObject") {
					t.Errorf("%s", s3sink.Explain(err))
				}
			} else if err != nil {
				t.Error(err)
			}
			left := 0
			if denied == "s3:DeleteObject" {
				left = 1
			}
			if keys := r.Keys(t, r.bucket); len(keys) != left {
				t.Errorf("left: %q", keys)
			}
			r.wire.Forget()
			again := r.sink.Probe(t.Context())
			puts := slices.DeleteFunc(r.wire.Calls(), func(call string) bool { return !strings.HasPrefix(call, "PutObject "+receiptsPrefix) })
			if failed := denied == "s3:PutObject"; failed != (again != nil) || failed != (len(puts) > 0) {
				t.Errorf("the second probe: %v, %q", again, puts)
			}

			var tried []s3sink.Action
			for _, a := range r.sink.Check(t.Context()) {
				if a.Prefix == receiptsPrefix {
					tried = append(tried, a)
				}
			}
			if len(tried) != 4 { // two actions in two buckets
				t.Fatalf("%d actions were checked", len(tried))
			}
			for _, a := range tried {
				if (a.Err != nil) != (a.Name == denied) || a.Needed != (a.Name == "s3:PutObject") || (len(a.Left) > 0) != (a.Name == denied && left > 0) {
					t.Errorf("%+v", a)
				}
			}
		})
	}
}

// After a receipt could not be written, the next probe looks.
func TestReceiptProbeAfterAFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t, real(t), withReceipts)
	if err := r.sink.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	batch, err := r.upload(t)
	if err != nil {
		t.Fatal(err)
	}
	r.wire.InjectSome(func(call string) *s3fault.Fault {
		if strings.HasPrefix(call, "PutObject "+receiptsPrefix) {
			return &s3fault.Fault{Kind: s3fault.AccessDenied}
		}
		return nil
	})
	wantStoreError(t, batch.WriteReceipt("r.json", "application/json", strings.NewReader("{}"), 2))
	wantStoreError(t, r.sink.Probe(t.Context()))
	r.wire.InjectSome(nil)
	if err := r.sink.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

// pagedStore lists 25 objects in pages of 10.
type pagedStore struct {
	noToken      bool // tells no token of the next page
	ignoresStart bool // begins at the first object, whatever it is asked for
	stuck        bool // says forever that there are more
}

func (s *pagedStore) RoundTrip(req *http.Request) (*http.Response, error) {
	query, start := req.URL.Query(), 0
	switch {
	case query.Get("continuation-token") != "":
		_, _ = fmt.Sscan(query.Get("continuation-token"), &start)
	case query.Get("start-after") != "" && !s.ignoresStart:
		_, _ = fmt.Sscanf(query.Get("start-after"), receiptsPrefix+"%d", &start)
		start++
	}
	var rows strings.Builder
	for i := start; i < min(start+10, 25); i++ {
		fmt.Fprintf(&rows, "<Contents><Key>%s%02d</Key><Size>%d</Size></Contents>", receiptsPrefix, i, i)
	}
	more := s.stuck || start+10 < 25
	if !s.noToken && more {
		fmt.Fprintf(&rows, "<NextContinuationToken>%d</NextContinuationToken>", start+10)
	}
	return respond(200, fmt.Sprintf("<ListBucketResult><IsTruncated>%v</IsTruncated>%s</ListBucketResult>", more, &rows), nil), nil
}

// TestPages lists more objects than there are on a page, in stores that page in different
// ways.
func TestPages(t *testing.T) {
	for _, store := range []*pagedStore{{}, {noToken: true}, {ignoresStart: true}, {stuck: true}, {stuck: true, noToken: true}} {
		t.Run(fmt.Sprintf("%+v", *store), func(t *testing.T) {
			readers, err := s3sink.NewReaders(t.Context(), s3sink.Config{
				Bucket: "bucket", Region: s3server.Region, Endpoint: "http://store.test", PathStyle: true, ReceiptsPrefix: receiptsPrefix,
				AccessKey: "a", SecretKey: "b", Transport: store,
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, after := range []int{-1, 0, 9, 13, 24} {
				from := ""
				if after >= 0 {
					from = fmt.Sprintf("%02d", after)
				}
				got, err := list(t, readers[0], from)
				if (err != nil) != store.stuck {
					t.Errorf("after %q: %v", from, err)
				}
				if len(got) != 24-after || len(got) > 0 && (got[0] != fmt.Sprintf("%02d", after+1) || got[len(got)-1] != "24") {
					t.Errorf("after %q: %q", from, got)
				}
			}
		})
	}
}

// A list ends when nobody wants more of it, and with its context.
func TestListEnds(t *testing.T) {
	readers, err := s3sink.NewReaders(t.Context(), s3sink.Config{
		Bucket: "bucket", TryBucket: "other", Region: s3server.Region, Endpoint: "http://store.test", PathStyle: true, ReceiptsPrefix: receiptsPrefix,
		AccessKey: "a", SecretKey: "b", Transport: &pagedStore{},
	})
	if err != nil || len(readers) != 2 {
		t.Fatalf("%d readers: %v", len(readers), err)
	}
	var _ receipts.Bucket = readers[0]
	for _, err := range readers[0].List(t.Context(), "") {
		if err != nil {
			t.Error(err)
		}
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range readers[1].List(ctx, "") {
		wantStoreError(t, err)
	}
}
