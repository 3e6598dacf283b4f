package s3sink_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"spillway/s3sink"
	"spillway/stream"
	"spillway/stream/budget"
	"spillway/testdata/budgettest"
	"spillway/testdata/s3fault"
	"spillway/testdata/s3server"
)

// realServer is the one server of all tests. Each test has its own bucket.
var realServer struct {
	sync.Once
	*s3server.Server
	err error
}

// TestMain runs the tests. When they are done, no goroutine of a sink may be left.
func TestMain(m *testing.M) {
	status := m.Run()
	if left := goroutinesLeft(); status == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines are left:\n%s\n", left)
		status = 1
	}
	if realServer.Server != nil {
		if err := realServer.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}

// goroutinesLeft returns the stacks of the goroutines of sinks. It waits for those that
// are about to end.
func goroutinesLeft() (stacks string) {
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		var left []string
		all := make([]byte, 4<<20)
		all = all[:runtime.Stack(all, true)]
		for stack := range strings.SplitSeq(string(all), "\n\n") {
			if strings.Contains(stack, "spillway/s3sink.") {
				left = append(left, stack)
			}
		}
		if stacks = strings.Join(left, "\n\n"); stacks == "" {
			return ""
		}
	}
	return stacks
}

// real returns a client of the real server.
func real(t *testing.T) s3server.Client {
	t.Helper()
	realServer.Do(func() { realServer.Server, realServer.err = s3server.New(context.WithoutCancel(t.Context())) })
	if realServer.err != nil {
		t.Fatal(realServer.err)
	}
	return realServer.Client
}

// embedded returns a client of an embedded server of the test's own.
func embedded(t *testing.T) s3server.Client {
	t.Helper()
	handler, err := s3sink.NewEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return s3server.NewClient(server.URL, "any", "any")
}

// rig is a sink with its own bucket and its own budget.
type rig struct {
	s3server.Client
	bucket string
	wire   *s3fault.Transport
	sink   *s3sink.Sink
	budget *budget.Budget

	forgetsCacheControl bool // as gofakes3 does
}

func newRig(t *testing.T, client s3server.Client, adjust func(*s3sink.Config)) *rig {
	t.Helper()
	room := budgettest.New(t, func(c *budget.Config) { c.Memory = 40 << 20 })
	next := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(next.CloseIdleConnections)
	r := &rig{Client: client, bucket: client.Bucket(t), wire: &s3fault.Transport{Next: next}, budget: room}
	cfg := s3sink.Config{
		Bucket:      r.bucket,
		Region:      s3server.Region,
		Endpoint:    client.Endpoint,
		PathStyle:   true,
		Prefix:      "v1/",
		TryPrefix:   "try/v1/",
		AccessKey:   client.AccessKey,
		SecretKey:   client.SecretKey,
		PartSize:    int64(room.PartSize()),
		Concurrency: 8,
		MaxBackoff:  10 * time.Millisecond,
		Transport:   r.wire,
	}
	if adjust != nil {
		adjust(&cfg)
	}
	var err error
	if r.sink, err = s3sink.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	return r
}

// looks returns how many objects are looked up after so many were completed.
func (r *rig) looks(completed int) int {
	if r.NoETag {
		return completed
	}
	return 0
}

// admit admits an upload, which the caller closes.
func (r *rig) admit(t *testing.T) (context.Context, *budget.Share) {
	t.Helper()
	return budgettest.Admit(t, t.Context(), r.budget)
}

// idle fails the test if any of the budget is in use.
func (r *rig) idle(t *testing.T) {
	t.Helper()
	if u := r.budget.Usage(); u.Uploads != 0 || u.Floors != 0 || u.Leased != 0 || u.Held != 0 || u.Waiting != 0 {
		t.Errorf("the budget is still in use: %+v", u)
	}
}

// file is an entry of an archive.
type file struct {
	name     string
	form     stream.Form
	data     []byte // uncompressed
	unstated bool   // size and CRC-32 are not known before the bytes
	leased   bool   // the rest of the body comes in a buffer that may not be held
	onDisk   error  // the whole body is on disk, and its last read returns that error
}

func (f file) entry() stream.Entry {
	e := stream.Entry{Name: f.name, Form: f.form}
	if !f.unstated {
		e.Stated, e.Size, e.CRC32 = true, int64(len(f.data)), crc32.ChecksumIEEE(f.data)
	}
	return e
}

func (f file) facts() stream.Facts {
	return stream.Facts{Size: int64(len(f.data)), CRC32: crc32.ChecksumIEEE(f.data), MD5: md5.Sum(f.data), HasMD5: true}
}

// body returns the stored body.
func (f file) body() []byte {
	if f.form == stream.AsIs {
		return f.data
	}
	var b bytes.Buffer
	w := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(w)
	w.Reset(&b)
	_, _ = w.Write(f.data)
	_ = w.Close()
	return b.Bytes()
}

var gzipWriters = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.NoCompression)
	return w
}}

// write passes the file to the batch as a reader of archives does.
func (f file) write(ctx context.Context, share *budget.Share, batch stream.Sink, partSize int) (stream.Object, error) {
	o := batch.Create(f.entry())
	body, facts := f.body(), f.facts()
	if f.onDisk != nil {
		return o, o.Commit(ctx, diskBody{body, f.onDisk}, facts)
	}
	for len(body) > partSize {
		b, err := share.Lease(ctx, 5<<20)
		if err != nil {
			return o, err
		}
		_, _ = b.Write(body[:partSize])
		b.Full()
		body = body[partSize:]
		wanted, err := o.Part(ctx, b)
		if err != nil {
			return o, err
		}
		facts.HasMD5 = o.NeedsMD5(false)
		if !wanted {
			return o, o.Commit(ctx, nil, facts)
		}
	}
	var rest *budget.Buffer
	if !f.leased {
		rest, _ = share.Hold(len(body))
	}
	if rest == nil {
		var err error
		if rest, err = share.Lease(ctx, 5<<20); err != nil {
			return o, err
		}
	}
	_, _ = rest.Write(body)
	rest.Full()
	facts.HasMD5 = facts.HasMD5 && o.NeedsMD5(rest.Held())
	return o, o.Commit(ctx, rest, facts)
}

// diskBody is a body that takes no memory. If end is not io.EOF, its last byte cannot be
// read.
type diskBody struct {
	data []byte
	end  error
}

func (b diskBody) ReadAt(p []byte, off int64) (int, error) {
	if !errors.Is(b.end, io.EOF) && off+int64(len(p)) >= b.Size() {
		return 0, b.end
	}
	return bytes.NewReader(b.data).ReadAt(p, off)
}

func (b diskBody) Size() int64   { return int64(len(b.data)) }
func (b diskBody) Memory() int64 { return 0 }
func (b diskBody) Held() bool    { return true }
func (b diskBody) Release()      {}

// upload stores files as one archive. It returns the batch, which has ended.
func (r *rig) upload(t *testing.T, files ...file) (*s3sink.Batch, error) {
	t.Helper()
	ctx, share := r.admit(t)
	defer share.Close()
	ctx, batch := r.begin(ctx, share, false)
	defer end(t, batch)
	for _, f := range files {
		if _, err := f.write(ctx, share, batch, r.budget.PartSize()); err != nil {
			return batch, errors.Join(err, batch.Abort())
		}
	}
	return batch, batch.Publish()
}

// begin begins a batch of an upload whose context is derived from ctx.
func (r *rig) begin(ctx context.Context, share *budget.Share, try bool) (context.Context, *s3sink.Batch) {
	ctx, fail := context.WithCancelCause(ctx)
	return ctx, r.sink.Begin(ctx, fail, share, try)
}

// end aborts a batch that has not been ended, before its share is closed.
func end(t *testing.T, batch *s3sink.Batch) {
	t.Helper()
	if err := batch.Abort(); err != nil {
		t.Error(err)
	}
}

// data returns n bytes that do not repeat. They must not be changed: they are made once.
func data(n int, seed byte) []byte {
	type key struct {
		n    int
		seed byte
	}
	if made, ok := dataMade.Load(key{n, seed}); ok {
		return made.([]byte)
	}
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	dataMade.Store(key{n, seed}, b)
	return b
}

var dataMade sync.Map

// wantStored fails the test unless the whole file is stored.
func (r *rig) wantStored(t *testing.T, f file) s3server.Object {
	t.Helper()
	got, ok := r.Object(t, r.bucket, "v1/"+f.name)
	if !ok {
		t.Fatalf("%s: not stored", f.name)
	}
	if want := f.body(); !bytes.Equal(got.Body, want) {
		t.Errorf("%s: stored with %d bytes that are not its %d bytes", f.name, len(got.Body), len(want))
	}
	wantType, wantEncoding := "application/octet-stream", ""
	if f.form == stream.Gzip {
		wantType, wantEncoding = "text/plain", "gzip"
	}
	if got.ContentType != wantType || got.ContentEncoding != wantEncoding {
		t.Errorf("%s: Content-Type %q, Content-Encoding %q", f.name, got.ContentType, got.ContentEncoding)
	}
	if got.CacheControl != "no-transform" && !r.forgetsCacheControl {
		t.Errorf("%s: Cache-Control %q", f.name, got.CacheControl)
	}
	return got
}

// wantNothing fails the test if anything is visible or unfinished.
func (r *rig) wantNothing(t *testing.T) {
	t.Helper()
	if keys := r.Keys(t, r.bucket); len(keys) > 0 {
		t.Errorf("visible: %q", keys)
	}
	r.wantFinished(t)
}

func (r *rig) wantFinished(t *testing.T) {
	t.Helper()
	if uploads := r.Uploads(t, r.bucket); len(uploads) > 0 {
		t.Errorf("unfinished uploads: %v", uploads)
	}
}

// wantStoreError fails the test unless err is a failure of the store.
func wantStoreError(t *testing.T, err error) {
	t.Helper()
	_ = storeError(t, err)
}

// storeError returns err as a failure of the store.
func storeError(t *testing.T, err error) *stream.StoreError {
	t.Helper()
	failed, ok := errors.AsType[*stream.StoreError](err)
	if !ok {
		t.Fatalf("got error %v, want a *stream.StoreError", err)
	}
	return failed
}
