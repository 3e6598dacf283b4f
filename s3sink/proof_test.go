package s3sink_test

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"spillway/internal/s3event"
	"spillway/s3sink"
	"spillway/stream"
)

// quotedMD5 returns the ETag of most stores for a body.
func quotedMD5(body []byte) string { return fmt.Sprintf("\"%x\"", md5.Sum(body)) }

// withBody returns a fakeStore whose answers to bodies have the headers that answer returns.
func withBody(answer func(req *http.Request, body []byte) http.Header) *fakeStore {
	store := &fakeStore{}
	store.answer = func(op string, n int, req *http.Request) (*http.Response, error) {
		if op != "PutObject" && op != "UploadPart" {
			return nil, nil
		}
		sent := store.sent(op)
		return respond(200, "", answer(req, sent[n-1].body)), nil
	}
	return store
}

// TestEveryBodyIsProven checks that an upload succeeds only if each answer shows that the
// store got the right bytes.
func TestEveryBodyIsProven(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(req *http.Request, body []byte) http.Header
		code   string // of the failure; empty: stored
	}{
		{"CRC-32", func(req *http.Request, _ []byte) http.Header {
			return http.Header{"Etag": {`"x"`}, "X-Amz-Checksum-Crc32": req.Header["X-Amz-Checksum-Crc32"]}
		}, ""},
		{"another CRC-32", func(_ *http.Request, body []byte) http.Header {
			return http.Header{"Etag": {quotedMD5(body)}, "X-Amz-Checksum-Crc32": {"AAAAAA=="}}
		}, "reads back differently"},
		{"the MD5 as ETag", func(_ *http.Request, body []byte) http.Header { return http.Header{"Etag": {quotedMD5(body)}} }, ""},
		{"the MD5 as weak ETag", func(_ *http.Request, body []byte) http.Header { return http.Header{"Etag": {"W/" + quotedMD5(body)}} }, ""},
		{"the MD5 in capitals", func(_ *http.Request, body []byte) http.Header {
			return http.Header{"Etag": {strings.ToUpper(quotedMD5(body))}}
		}, ""},
		{"another MD5", func(_ *http.Request, body []byte) http.Header {
			return http.Header{"Etag": {quotedMD5(append(body, 0))}}
		}, "no checksum"},
		{"some ETag", func(*http.Request, []byte) http.Header { return http.Header{"Etag": {`"x"`}} }, "no checksum"},
		{"no ETag", func(req *http.Request, _ []byte) http.Header {
			return http.Header{"X-Amz-Checksum-Crc32": req.Header["X-Amz-Checksum-Crc32"]}
		}, "no valid answer"},
	} {
		for _, f := range []file{
			{name: "a/1/held.sym", form: stream.Gzip, data: data(3000, 1)},
			{name: "a/1/held.pd_", form: stream.AsIs, data: data(3000, 1)},
			{name: "a/1/staged.pd_", form: stream.AsIs, data: data(3000, 1), leased: true},
		} {
			inFakeTime(t, test.name+", "+f.name, func(t *testing.T) {
				r := newFakeRig(t, withBody(test.answer), nil)
				batch, err := r.upload(t, f)
				if test.code == "" {
					if err != nil || len(batch.Uploaded()) != 1 {
						t.Errorf("uploaded %q: %v", batch.Uploaded(), err)
					}
					return
				}
				if failed := storeError(t, err); failed.Code != test.code || len(batch.Uploaded()) > 0 {
					t.Errorf("uploaded %q: %s: %v", batch.Uploaded(), failed.Code, err)
				}
			})
		}
	}
}

// TestChecksumsAreFoundOut checks which checksum a probe chooses, and what is sent then.
func TestChecksumsAreFoundOut(t *testing.T) {
	const none = s3event.Checksum("")
	md5Of := func(body []byte) string {
		sum := md5.Sum(body)
		return base64.StdEncoding.EncodeToString(sum[:])
	}
	for _, test := range []struct {
		name    string
		refuses func(req *http.Request, body []byte) *http.Response // nil: none
		etag    func(body []byte) string
		want    s3event.Checksum
	}{
		{"ignores all, ETag is the MD5", nil, quotedMD5, s3event.ETagMD5},
		{"checks Content-MD5 only, ETag is none", func(req *http.Request, body []byte) *http.Response {
			if sent := req.Header.Get("Content-Md5"); sent != "" && sent != md5Of(body) {
				return refuse(400, "BadDigest")
			}
			return nil
		}, func([]byte) string { return `"x"` }, s3event.ContentMD5},
		{"wants Content-MD5", func(req *http.Request, body []byte) *http.Response {
			switch sent := req.Header.Get("Content-Md5"); {
			case sent == "" && len(body) > 0:
				return refuse(400, "MissingContentMD5")
			case sent != "" && sent != md5Of(body):
				return refuse(400, "InvalidDigest")
			}
			return nil
		}, func([]byte) string { return `"x"` }, s3event.ContentMD5},
		{"refuses all headers, ETag is the MD5", func(req *http.Request, _ []byte) *http.Response {
			for name := range req.Header {
				if name == "Content-Md5" || strings.HasPrefix(name, "X-Amz-Checksum-") {
					return refuse(501, "NotImplemented")
				}
			}
			return nil
		}, quotedMD5, s3event.ETagMD5},
		{"checks nothing, ETag is none", nil, func([]byte) string { return `"x"` }, none},
	} {
		inFakeTime(t, test.name, func(t *testing.T) {
			store := &fakeStore{}
			store.answer = func(op string, n int, req *http.Request) (*http.Response, error) {
				var body []byte
				if sent := store.sent(op); len(sent) >= n {
					body = sent[n-1].body
				}
				if test.refuses != nil && op != "CompleteMultipartUpload" {
					if refused := test.refuses(req, body); refused != nil {
						return refused, nil
					}
				}
				return nil, nil
			}
			store.etag = test.etag
			store.ignores.Store(true)
			var found s3event.Checksum
			r := newFakeRig(t, store, func(cfg *s3sink.Config) {
				cfg.TryPrefix = cfg.Prefix
				cfg.OnChecksum = func(_ string, c s3event.Checksum) { found = c }
			})
			err := r.sink.Probe(t.Context())
			if found != test.want {
				t.Errorf("found %q, want %q: %v", found, test.want, err)
			}
			if test.want == none {
				if failed := storeError(t, err); failed.Code != "no checksum" || !strings.Contains(s3sink.Explain(err), "nothing is stored") {
					t.Errorf("%v, explained as %q", err, s3sink.Explain(err))
				}
				_, err := r.upload(t, mixed(r.budget.PartSize())...)
				wantStoreError(t, err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if says := r.sink.Checksums(); !strings.Contains(says, "MD5") {
				t.Errorf("it says %q", says)
			}
			if _, err := r.upload(t, mixed(r.budget.PartSize())...); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRefusedChecksumIsProbed checks that a store that begins to refuse a checksum fails one
// upload, and that the next one finds out what it takes.
func TestRefusedChecksumIsProbed(t *testing.T) { synctest.Test(t, testRefusedChecksum) }

func testRefusedChecksum(t *testing.T) {
	var strict atomic.Bool
	store := &fakeStore{}
	store.answer = func(_ string, _ int, req *http.Request) (*http.Response, error) {
		for name := range req.Header {
			if strict.Load() && strings.HasPrefix(name, "X-Amz-Checksum-") {
				return refuse(400, "InvalidArgument"), nil
			}
		}
		return nil, nil
	}
	store.etag = quotedMD5
	var found []s3event.Checksum
	r := newFakeRig(t, store, func(cfg *s3sink.Config) {
		cfg.TryPrefix = cfg.Prefix
		cfg.OnChecksum = func(_ string, c s3event.Checksum) { found = append(found, c) }
	})
	files := mixed(r.budget.PartSize())
	if err := r.sink.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.upload(t, files...); err != nil {
		t.Fatal(err)
	}
	strict.Store(true)
	store.ignores.Store(true)
	if _, err := r.upload(t, files...); storeError(t, err).Code != "InvalidArgument" {
		t.Errorf("refused: %v", err)
	}
	for range 2 {
		if _, err := r.upload(t, files...); err != nil {
			t.Errorf("after the refusal: %v", err)
		}
	}
	if want := []s3event.Checksum{s3event.WholeCRC32, s3event.ETagMD5}; fmt.Sprint(found) != fmt.Sprint(want) {
		t.Errorf("found %q, want %q", found, want)
	}
	r.idle(t)
}

// TestSlowStoreIsFoundOut checks that a store that is too slow for all attempts of one probe is
// found out by several.
func TestSlowStoreIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{etag: quotedMD5}
		store.ignores.Store(true)
		store.answer = func(op string, _ int, req *http.Request) (*http.Response, error) {
			select {
			case <-time.After(400 * time.Millisecond):
				if op == "AbortMultipartUpload" {
					return refuse(404, "NoSuchUpload"), nil // it need not be repeated
				}
				return nil, nil
			case <-req.Context().Done():
				return nil, context.Cause(req.Context())
			}
		}
		r := newFakeRig(t, store, func(cfg *s3sink.Config) { cfg.TryPrefix = cfg.Prefix })
		for n := 1; ; n++ {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			err := r.sink.Probe(ctx)
			cancel()
			if err == nil {
				break
			}
			if n == 5 {
				t.Fatalf("probe %d: %v", n, err)
			}
		}
		if says := r.sink.Checksums(); !strings.Contains(says, "ETags") {
			t.Errorf("it says %q", says)
		}
	})
}
