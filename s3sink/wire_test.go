package s3sink_test

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"spillway/s3sink"
	"spillway/stream"
)

// TestBodiesOnTheWire checks that bodies are sent unmodified, unsigned and with one
// checksum, over http and https.
func TestBodiesOnTheWire(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			store := &fakeStore{}
			r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.Endpoint = scheme + "://127.0.0.1:1" })
			part := r.budget.PartSize()
			held := file{name: "a/1/held.sym", form: stream.Gzip, data: data(1000, 1)}
			big := file{name: "a/1/big.pd_", form: stream.AsIs, data: data(part+10, 2)}
			empty := file{name: "a/1/empty.pd_", form: stream.AsIs}
			small := file{name: "a/1/disk.sym", form: stream.Gzip, data: data(1000, 3), onDisk: io.EOF}
			large := file{name: "a/1/disk.pd_", form: stream.AsIs, data: data(2*part+10, 4), onDisk: io.EOF}
			if _, err := r.upload(t, held, big, empty, small, large); err != nil {
				t.Fatal(err)
			}
			bodies := map[string][]byte{
				"a/1/held.sym":              held.body(),
				"a/1/empty.pd_":             nil,
				"a/1/big.pd_?partNumber=1":  big.data[:part],
				"a/1/big.pd_?partNumber=2":  big.data[part:],
				"a/1/disk.sym":              small.body(),
				"a/1/disk.pd_?partNumber=1": large.data[:part],
				"a/1/disk.pd_?partNumber=2": large.data[part : 2*part],
				"a/1/disk.pd_?partNumber=3": large.data[2*part:],
			}
			for _, req := range append(store.sent("PutObject"), store.sent("UploadPart")...) {
				_, key, _ := strings.Cut(req.url, "/bucket/v1/")
				key, _, _ = strings.Cut(key, "&")
				want, ok := bodies[strings.Replace(key, "?x-id=PutObject", "", 1)]
				if !ok {
					t.Errorf("body sent to %s", req.url)
					continue
				}
				if !bytes.Equal(req.body, want) || req.length != int64(len(want)) {
					t.Errorf("%s: sent %d bytes, stated %d, want %d", key, len(req.body), req.length, len(want))
				}
				if got := req.header.Get("X-Amz-Content-Sha256"); got != "UNSIGNED-PAYLOAD" {
					t.Errorf("%s: X-Amz-Content-Sha256 %q", key, got)
				}
				var sums []string
				for name, values := range req.header {
					switch lower := strings.ToLower(name); {
					case lower == "x-amz-trailer", lower == "content-md5", lower == "x-amz-decoded-content-length":
						t.Errorf("%s: header %s: %q", key, name, values)
					case strings.HasPrefix(lower, "x-amz-checksum-"):
						sums = append(sums, lower+" "+strings.Join(values, " "))
					}
				}
				if want := "x-amz-checksum-crc32 " + encodedCRC32(want); len(sums) != 1 || sums[0] != want {
					t.Errorf("%s: checksums %q, want %q", key, sums, want)
				}
				if strings.Contains(req.header.Get("Content-Encoding"), "aws-chunked") {
					t.Errorf("%s: Content-Encoding %q", key, req.header.Get("Content-Encoding"))
				}
			}
			if n := store.count("PutObject") + store.count("UploadPart"); n != len(bodies) {
				t.Errorf("%d bodies sent, want %d", n, len(bodies))
			}
		})
	}
}

// TestWholeChecksum checks that the checksum of a whole object is sent to stores that
// check it, and to no others.
func TestWholeChecksum(t *testing.T) {
	for _, test := range []struct {
		composite bool
		onDisk    error
	}{{false, nil}, {true, nil}, {false, io.EOF}, {true, io.EOF}} {
		composite := test.composite
		store := &fakeStore{composite: composite}
		r := newFakeRig(t, store, nil)
		f := file{name: "a/1/big.pd_", form: stream.AsIs, data: data(r.budget.PartSize()+10, 2), onDisk: test.onDisk}
		if _, err := r.upload(t, f); err != nil {
			t.Fatal(err)
		}
		create := store.sent("CreateMultipartUpload")[0].header
		if create.Get("X-Amz-Checksum-Algorithm") != "CRC32" || create.Get("X-Amz-Checksum-Type") != "FULL_OBJECT" {
			t.Errorf("create asks for %v", create)
		}
		complete := store.sent("CompleteMultipartUpload")[0]
		got := [3]string{}
		for i, name := range []string{"X-Amz-Checksum-Crc32", "X-Amz-Checksum-Type", "X-Amz-Mp-Object-Size"} {
			got[i] = complete.header.Get(name)
		}
		want := [3]string{encodedCRC32(f.data), "FULL_OBJECT", fmt.Sprint(len(f.data))}
		if composite {
			want = [3]string{}
		}
		if got != want {
			t.Errorf("composite %t: complete says %q, want %q", composite, got, want)
		}
		part := r.budget.PartSize()
		for _, data := range [][]byte{f.data[:part], f.data[part:]} {
			if sum := encodedCRC32(data); !bytes.Contains(complete.body, []byte("<ChecksumCRC32>"+sum+"</ChecksumCRC32>")) {
				t.Errorf("composite %t: a part's checksum %s is not in %s", composite, sum, complete.body)
			}
		}
	}
}

// TestRefusals checks that any refusal of the store is a *stream.StoreError that names the
// operation, ends the batch, and leaves nothing.
func TestRefusals(t *testing.T) {
	for _, code := range []struct {
		status int
		name   string
	}{{403, "AccessDenied"}, {404, "NoSuchBucket"}, {400, "InvalidRequest"}, {200, "AccessDenied"}} {
		for _, operation := range []string{"HeadObject", "PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"} {
			if code.status == 404 && operation == "HeadObject" {
				continue // the answer to a HEAD has no body: it says that there is no object
			}
			if code.status == 200 && operation != "CompleteMultipartUpload" {
				continue
			}
			inFakeTime(t, fmt.Sprint(code.status, " ", code.name, " ", operation), func(t *testing.T) {
				store := &fakeStore{answer: func(op string, _ int, _ *http.Request) (*http.Response, error) {
					if op == operation {
						return refuse(code.status, code.name), nil
					}
					return nil, nil
				}}
				r := newFakeRig(t, store, nil)
				batch, err := r.upload(t, mixed(r.budget.PartSize())...)
				if failed := storeError(t, err); failed.Op != operation || !strings.HasPrefix(failed.Key, "v1/a/1/") {
					t.Errorf("failed at %s of %q, want %s", failed.Op, failed.Key, operation)
				}
				if operation != "PutObject" && operation != "CompleteMultipartUpload" && len(batch.Uploaded()) > 0 {
					t.Errorf("uploaded %q", batch.Uploaded())
				}
				created, completed := store.count("CreateMultipartUpload"), len(batch.Uploaded())
				if operation == "CreateMultipartUpload" {
					created = 0
				}
				if operation == "CompleteMultipartUpload" {
					completed = 0
				}
				if n := store.count("AbortMultipartUpload"); n < created-completed {
					t.Errorf("%d uploads created, %d completed, %d aborted", created, completed, n)
				}
				r.idle(t)
			})
		}
	}
}

// TestCompleteWithErrorInside checks answers of 200 that contain an error. A temporary one
// is retried.
func TestCompleteWithErrorInside(t *testing.T) {
	store := &fakeStore{answer: func(op string, n int, _ *http.Request) (*http.Response, error) {
		if op == "CompleteMultipartUpload" && n == 1 {
			return refuse(200, "InternalError"), nil
		}
		return nil, nil
	}}
	r := newFakeRig(t, store, nil)
	f := file{name: "a/1/one", form: stream.AsIs, data: data(10, 1), leased: true}
	batch, err := r.upload(t, f)
	if err != nil || len(batch.Uploaded()) != 1 {
		t.Errorf("uploaded %q, %v", batch.Uploaded(), err)
	}
	if n := store.count("CompleteMultipartUpload"); n != 2 {
		t.Errorf("%d requests to complete, want 2", n)
	}
}

// TestUnclearComplete checks that a store that answers that there is no such upload, or
// without an ETag, may have completed it: the object under its key tells.
func TestUnclearComplete(t *testing.T) {
	f := file{name: "a/1/one", form: stream.AsIs, data: data(10, 1), leased: true}
	sum := encodedCRC32(f.data)
	part := md5.Sum(f.data)
	joined := fmt.Sprintf("\"%x-1\"", md5.Sum(part[:]))
	composite := encodedCRC32(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(f.data))) + "-1"
	for _, test := range []struct {
		name   string
		status int
		length int
		header http.Header
		landed bool
	}{
		{"the same", 200, 10, http.Header{"X-Amz-Checksum-Crc32": {sum}, "X-Amz-Checksum-Type": {"FULL_OBJECT"}}, true},
		{"the same, type not said", 200, 10, http.Header{"X-Amz-Checksum-Crc32": {sum}}, true},
		{"other length", 200, 11, http.Header{"X-Amz-Checksum-Crc32": {sum}, "X-Amz-Checksum-Type": {"FULL_OBJECT"}}, false},
		{"other checksum", 200, 10, http.Header{"X-Amz-Checksum-Crc32": {encodedCRC32(nil)}, "X-Amz-Checksum-Type": {"FULL_OBJECT"}}, false},
		{"other checksum, same ETag", 200, 10, http.Header{"X-Amz-Checksum-Crc32": {encodedCRC32(nil)}, "Etag": {joined}}, false},
		{"checksum of checksums", 200, 10, http.Header{"X-Amz-Checksum-Crc32": {composite}, "X-Amz-Checksum-Type": {"COMPOSITE"}}, true},
		{"checksum of checksums, type not said", 200, 10, http.Header{"X-Amz-Checksum-Crc32": {composite}}, true},
		{"other checksum of checksums", 200, 10, http.Header{"X-Amz-Checksum-Crc32": {sum + "-1"}, "X-Amz-Checksum-Type": {"COMPOSITE"}}, false},
		{"ETag of the parts", 200, 10, http.Header{"Etag": {joined}}, true},
		{"ETag of the parts, other length", 200, 11, http.Header{"Etag": {joined}}, false},
		{"ETag of other parts", 200, 10, http.Header{"Etag": {fmt.Sprintf("\"%x-1\"", part)}}, false},
		{"some ETag", 200, 10, http.Header{"Etag": {`"tag"`}}, false},
		{"no checksum", 200, 10, http.Header{}, false},
		{"nothing there", 404, 0, nil, false},
		{"refused", 403, 0, nil, false},
	} {
		for _, refused := range []bool{true, false} {
			inFakeTime(t, fmt.Sprint(test.name, ", refused ", refused), func(t *testing.T) {
				store := &fakeStore{etag: quotedMD5}
				store.answer = func(op string, n int, req *http.Request) (*http.Response, error) {
					switch {
					case op == "CompleteMultipartUpload" && refused:
						return refuse(404, "NoSuchUpload"), nil
					case op == "CompleteMultipartUpload":
						return respond(200, `<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>`, nil), nil
					case op == "HeadObject" && n == 2:
						if got := req.Header.Get("X-Amz-Checksum-Mode"); got != "ENABLED" {
							t.Errorf("checksum mode %q", got)
						}
						resp := respond(test.status, "", test.header.Clone())
						resp.ContentLength = int64(test.length)
						resp.Header.Set("Content-Length", fmt.Sprint(test.length))
						return resp, nil
					}
					return nil, nil
				}
				r := newFakeRig(t, store, nil)
				batch, err := r.upload(t, f)
				if test.landed {
					if err != nil || len(batch.Uploaded()) != 1 {
						t.Errorf("uploaded %q, %v", batch.Uploaded(), err)
					}
				} else {
					wantStoreError(t, err)
					if len(batch.Uploaded()) > 0 {
						t.Errorf("uploaded %q", batch.Uploaded())
					}
				}
			})
		}
	}
}

// TestVerify checks that an upload with Verify succeeds only if each object is there, once it
// has been published, as it was written.
func TestVerify(t *testing.T) {
	held := file{name: "a/1/held.sym", form: stream.Gzip, data: data(3000, 1)}
	staged := file{name: "a/1/staged.pd_", form: stream.AsIs, data: data(3000, 1), leased: true}
	for _, f := range []file{held, staged} {
		body := f.body()
		length := strconv.Itoa(len(body))
		part := md5.Sum(body)
		etag := quotedMD5(body)
		if f.name == staged.name {
			etag = fmt.Sprintf("\"%x-1\"", md5.Sum(part[:]))
		}
		for _, test := range []struct {
			name   string
			header http.Header // of the object; nil: it is not there
			stored bool
		}{
			{"as it was written", http.Header{"Content-Length": {length}, "X-Amz-Checksum-Crc32": {encodedCRC32(body)}}, true},
			{"the same ETag", http.Header{"Content-Length": {length}, "Etag": {etag}}, true},
			{"an ETag of another kind", http.Header{"Content-Length": {length}, "Etag": {`"x"`}}, true},
			{"only the length", http.Header{"Content-Length": {length}}, true},
			{"not there", nil, false},
			{"another length", http.Header{"Content-Length": {"7"}}, false},
			{"another checksum", http.Header{"Content-Length": {length}, "X-Amz-Checksum-Crc32": {"AAAAAA=="}}, false},
			{"another ETag", http.Header{"Content-Length": {length}, "Etag": {strings.Replace(etag, etag[1:9], "00000000", 1)}}, false},
		} {
			inFakeTime(t, f.name+", "+test.name, func(t *testing.T) {
				store := &fakeStore{etag: quotedMD5}
				store.answer = func(op string, n int, _ *http.Request) (*http.Response, error) {
					if op != "HeadObject" || n == 1 || test.header == nil {
						return nil, nil
					}
					resp := respond(200, "", test.header.Clone())
					resp.ContentLength, _ = strconv.ParseInt(test.header.Get("Content-Length"), 10, 64)
					return resp, nil
				}
				r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.Verify = true })
				batch, err := r.upload(t, f)
				if n := store.count("HeadObject"); n != 2 {
					t.Errorf("looked up %d times, want 2", n)
				}
				if test.stored {
					if err != nil || len(batch.Uploaded()) != 1 {
						t.Errorf("uploaded %q: %v", batch.Uploaded(), err)
					}
					return
				}
				if failed := storeError(t, err); failed.Op != "HeadObject" || failed.Code != "not there after it was written" || len(batch.Uploaded()) > 0 {
					t.Errorf("uploaded %q: %s: %v", batch.Uploaded(), failed.Code, err)
				}
			})
		}
	}
}

// TestCollision checks that an entry is not skipped because of an equal size and CRC-32
// while the MD5 may differ.
func TestCollision(t *testing.T) {
	store := &fakeStore{}
	r := newFakeRig(t, store, nil)
	f := file{name: "a/1/big", form: stream.AsIs, data: data(r.budget.PartSize()+1, 1)}
	store.answer = func(op string, _ int, _ *http.Request) (*http.Response, error) {
		if op != "HeadObject" {
			return nil, nil
		}
		return respond(200, "", http.Header{
			"X-Amz-Meta-Original_size":     {fmt.Sprint(len(f.data))},
			"X-Amz-Meta-Original_crc32":    {fmt.Sprintf("%08x", f.facts().CRC32)},
			"X-Amz-Meta-Original_md5_hash": {strings.Repeat("0", 32)},
		}), nil
	}
	batch, err := r.upload(t, f)
	if err != nil || len(batch.Skipped()) > 0 || len(batch.Uploaded()) != 1 {
		t.Errorf("skipped %q, uploaded %q, %v", batch.Skipped(), batch.Uploaded(), err)
	}
	r.idle(t)
}

// TestDropIsAbortedFirst checks that dropped objects are aborted before anything is
// published, so that nothing is half done if the store refuses the abort.
func TestDropIsAbortedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{answer: func(op string, _ int, _ *http.Request) (*http.Response, error) {
			if op == "AbortMultipartUpload" {
				return refuse(403, "AccessDenied"), nil
			}
			return nil, nil
		}}
		r := newFakeRig(t, store, nil)
		_, share := r.admit(t)
		defer share.Close()
		ctx, batch := r.begin(t.Context(), share, false)
		defer end(t, batch)
		var objects []stream.Object
		for _, f := range mixed(r.budget.PartSize()) {
			o, err := f.write(ctx, share, batch, r.budget.PartSize())
			if err != nil {
				t.Fatal(err)
			}
			objects = append(objects, o)
		}
		synctest.Wait()
		for _, o := range objects[1:] {
			batch.DropObject(o)
		}
		if failed := storeError(t, batch.Publish()); failed.Op != "AbortMultipartUpload" {
			t.Errorf("failed at %s", failed.Op)
		}
		if store.count("PutObject") > 0 {
			t.Error("published")
		}
	})
}
