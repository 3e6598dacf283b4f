package s3sink

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// NewEmbedded returns an S3 server for development that has these buckets. It
// keeps everything in memory, checks no signature and takes path-style requests
// only, so that a plain GET of /bucket/key returns an object and one of
// /bucket?uploads lists the multipart uploads that are unfinished.
func NewEmbedded(buckets ...string) (http.Handler, error) {
	backend := s3mem.New()
	for _, name := range buckets {
		if err := backend.CreateBucket(name); err != nil {
			return nil, fmt.Errorf("embedded S3: bucket %q: %w", name, err)
		}
	}
	server := gofakes3.New(backend, gofakes3.WithoutVersioning()).Server()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bucket := strings.Trim(r.URL.Path, "/")
		if r.Method == http.MethodGet && r.URL.Query().Has("uploads") && !strings.Contains(bucket, "/") {
			listUploads(w, r, server, bucket)
			return
		}
		server.ServeHTTP(w, r)
	}), nil
}

// listUploads answers a request for a bucket's unfinished uploads as S3 does
// (S3 API Reference, ListMultipartUploads), which gofakes3 does not: it says
// NoSuchUpload where none has ever begun, its pages begin with the key of their
// marker and not behind it, and behind the last key it says that there are more.
func listUploads(w http.ResponseWriter, r *http.Request, server http.Handler, bucket string) {
	query := r.URL.Query()
	marker := query.Get("key-marker")
	if marker != "" && !query.Has("upload-id-marker") {
		r = r.Clone(r.Context())
		query.Set("key-marker", marker+"\x00") // the least key behind it
		r.URL.RawQuery = query.Encode()
	}
	answer := &answered{header: w.Header(), status: http.StatusOK}
	server.ServeHTTP(answer, r)

	list := gofakes3.ListMultipartUploadsResult{Bucket: bucket, MaxUploads: gofakes3.DefaultMaxUploads}
	var refusal gofakes3.ErrorResponse
	switch {
	case answer.status == http.StatusOK:
		if err := xml.Unmarshal(answer.body.Bytes(), &list); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		list.KeyMarker = marker
		switch n := len(list.Uploads); {
		case n > 0 && list.IsTruncated:
			list.NextKeyMarker = list.Uploads[n-1].Key
		case n == 0 && len(list.CommonPrefixes) == 0:
			list.IsTruncated, list.NextKeyMarker, list.NextUploadIDMarker = false, "", ""
		}
	case xml.Unmarshal(answer.body.Bytes(), &refusal) == nil && refusal.Code == gofakes3.ErrNoSuchUpload:
	default:
		w.WriteHeader(answer.status)
		_, _ = w.Write(answer.body.Bytes()) // a client that does not take its answer is nobody's concern
		return
	}
	w.Header().Del("Content-Length")
	_, _ = io.WriteString(w, xml.Header)
	_ = xml.NewEncoder(w).Encode(list)
}

// answered is an answer that is kept, to be changed.
type answered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answered) Header() http.Header         { return a.header }
func (a *answered) WriteHeader(status int)      { a.status = status }
func (a *answered) Write(p []byte) (int, error) { return a.body.Write(p) }
