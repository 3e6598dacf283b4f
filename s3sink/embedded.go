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

// NewEmbedded returns an S3 server for development with these buckets. It keeps everything
// in memory, checks no signatures, and takes only path-style requests. So a plain GET of
// /bucket/key returns an object, and a GET of /bucket?uploads lists the unfinished multipart
// uploads.
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

// listUploads lists a bucket's unfinished uploads as S3 does (S3 API Reference,
// ListMultipartUploads). gofakes3 differs in three ways: it answers NoSuchUpload if no
// upload was ever created, its pages begin with the marker's key instead of after it, and
// after the last key it says that there are more.
func listUploads(w http.ResponseWriter, r *http.Request, server http.Handler, bucket string) {
	query := r.URL.Query()
	marker := query.Get("key-marker")
	if marker != "" && !query.Has("upload-id-marker") {
		r = r.Clone(r.Context())
		query.Set("key-marker", marker+"\x00") // the first key after it
		r.URL.RawQuery = query.Encode()
	}
	answer := &recorder{header: w.Header(), status: http.StatusOK}
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
		_, _ = w.Write(answer.body.Bytes()) // the client may have gone
		return
	}
	w.Header().Del("Content-Length")
	_, _ = io.WriteString(w, xml.Header)
	_ = xml.NewEncoder(w).Encode(list)
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
