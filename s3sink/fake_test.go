package s3sink_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"spillway/s3sink"
	"spillway/stream/budget"
	"spillway/testdata/budgettest"
	"spillway/testdata/s3fault"
)

// fakeStore answers without a network, so that tests can inspect requests and control the
// time. A HEAD finds no object. A GET finds objects that were written.
type fakeStore struct {
	composite bool // does not support checksums of whole objects

	etag    func(body []byte) string // returns the ETag of a body; nil: "tag"
	ignores atomic.Bool              // ignores checksums

	// answer returns the answer to an operation's n-th request, from 1 on; nil for the
	// usual answer.
	answer func(operation string, n int, req *http.Request) (*http.Response, error)

	mu       sync.Mutex
	counts   map[string]int
	requests []sentRequest
	objects  map[string]sentRequest // by path
}

type sentRequest struct {
	operation string
	header    http.Header
	length    int64
	body      []byte
	url       string
}

func (s *fakeStore) RoundTrip(req *http.Request) (*http.Response, error) {
	operation, _, _ := strings.Cut(s3fault.Call(req), " ")
	sent := sentRequest{operation: operation, header: req.Header, length: req.ContentLength, url: req.URL.String()}
	if req.Body != nil {
		var err error
		if sent.body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		_ = req.Body.Close()
	}
	s.mu.Lock()
	if s.counts == nil {
		s.counts = make(map[string]int)
	}
	s.counts[operation]++
	n := s.counts[operation]
	s.requests = append(s.requests, sent)
	object, found := s.objects[req.URL.Path]
	s.mu.Unlock()
	if s.answer != nil {
		if resp, err := s.answer(operation, n, req); resp != nil || err != nil {
			if resp != nil && req.Method == http.MethodHead {
				resp.Body = http.NoBody // whatever it says
			}
			return resp, err
		}
	}
	switch operation {
	case "HeadObject":
		return respond(404, "", nil), nil
	case "CreateMultipartUpload":
		header := http.Header{"X-Amz-Checksum-Type": {"FULL_OBJECT"}, "X-Amz-Checksum-Algorithm": {"CRC32"}}
		if s.composite || s.ignores.Load() {
			header = nil
		}
		return respond(200, `<InitiateMultipartUploadResult><UploadId>the-upload</UploadId></InitiateMultipartUploadResult>`, header), nil
	case "GetObject":
		if !found {
			return refuse(404, "NoSuchKey"), nil
		}
		header := http.Header{}
		if !s.ignores.Load() {
			header["X-Amz-Checksum-Crc32"] = object.header["X-Amz-Checksum-Crc32"]
		}
		for name, values := range object.header {
			if strings.HasPrefix(name, "X-Amz-Meta-") {
				header[name] = values
			}
		}
		return respond(200, string(object.body), header), nil
	case "PutObject":
		s.store(req.URL.Path, sent)
		return s.wroteBody(req, sent.body), nil
	case "UploadPart":
		return s.wroteBody(req, sent.body), nil
	case "CompleteMultipartUpload":
		s.join(req.URL.Path)
		return respond(200, `<CompleteMultipartUploadResult><ETag>"tag"</ETag></CompleteMultipartUploadResult>`, nil), nil
	case "AbortMultipartUpload":
		return respond(204, "", nil), nil
	case "DeleteObject":
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.objects, req.URL.Path)
		return respond(204, "", nil), nil
	}
	return nil, fmt.Errorf("no such operation: %s", operation)
}

// store keeps an object for a GET.
func (s *fakeStore) store(path string, object sentRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		s.objects = make(map[string]sentRequest)
	}
	s.objects[path] = object
}

// join stores an object with the last body that was sent as a part of it, and the metadata that
// its upload was created with.
func (s *fakeStore) join(path string) {
	object := sentRequest{header: http.Header{}}
	for _, r := range append(s.sent("CreateMultipartUpload"), s.sent("UploadPart")...) {
		if !strings.Contains(r.url, path+"?") {
			continue
		}
		object.body = r.body
		for name, values := range r.header {
			if strings.HasPrefix(name, "X-Amz-Meta-") || name == "X-Amz-Checksum-Crc32" {
				object.header[name] = values
			}
		}
	}
	s.store(path, object)
}

func (s *fakeStore) count(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[operation]
}

// sent returns the requests of an operation.
func (s *fakeStore) sent(operation string) []sentRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	var requests []sentRequest
	for _, r := range s.requests {
		if r.operation == operation {
			requests = append(requests, r)
		}
	}
	return requests
}

func respond(status int, body string, header http.Header) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header,
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
	}
}

func (s *fakeStore) wroteBody(req *http.Request, body []byte) *http.Response {
	resp := wroteBody(req)
	if s.etag != nil {
		resp.Header.Set("Etag", s.etag(body))
	}
	if s.ignores.Load() {
		resp.Header.Del("X-Amz-Checksum-Crc32")
	}
	return resp
}

// wroteBody answers a request whose body has been stored.
func wroteBody(req *http.Request) *http.Response {
	return respond(200, "", http.Header{"Etag": {`"tag"`}, "X-Amz-Checksum-Crc32": req.Header["X-Amz-Checksum-Crc32"]})
}

func refuse(status int, code string) *http.Response {
	return respond(status, "<Error><Code>"+code+"</Code><Message>no</Message></Error>", nil)
}

// newFakeRig returns a rig over a fakeStore.
func newFakeRig(t *testing.T, store *fakeStore, adjust func(*s3sink.Config)) *rig {
	t.Helper()
	room := budgettest.New(t, func(c *budget.Config) { c.Memory, c.Wait = 40<<20, time.Minute })
	cfg := s3sink.Config{
		Bucket: "bucket", Region: "us-east-1", Endpoint: "http://127.0.0.1:1", PathStyle: true,
		Prefix: "v1/", TryPrefix: "try/v1/", AccessKey: "key", SecretKey: "secret",
		PartSize: int64(room.PartSize()), Concurrency: 8, Transport: store,
	}
	if adjust != nil {
		adjust(&cfg)
	}
	sink, err := s3sink.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{sink: sink, budget: room}
}

// inFakeTime runs a subtest in fake time.
func inFakeTime(t *testing.T, name string, test func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func encodedCRC32(data []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(data)))
}
