package s3sink

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
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
		if r.Method != http.MethodGet || !r.URL.Query().Has("uploads") || !slices.Contains(buckets, bucket) {
			server.ServeHTTP(w, r)
			return
		}
		listing := &uploadListing{ResponseWriter: w}
		server.ServeHTTP(listing, r)
		listing.end(bucket)
	}), nil
}

// uploadListing is the answer to a request for a bucket's unfinished uploads.
// gofakes3 says NoSuchUpload of a bucket in which none has ever begun; S3 says
// that there are none (S3 API Reference, ListMultipartUploads).
type uploadListing struct {
	http.ResponseWriter
	none bool
}

func (l *uploadListing) WriteHeader(status int) {
	if l.none = status == http.StatusNotFound; !l.none {
		l.ResponseWriter.WriteHeader(status)
	}
}

func (l *uploadListing) Write(p []byte) (int, error) {
	if l.none {
		return len(p), nil
	}
	return l.ResponseWriter.Write(p)
}

func (l *uploadListing) end(bucket string) {
	if !l.none {
		return
	}
	l.Header().Del("Content-Length")
	// A client that does not take its answer is nobody's concern.
	_, _ = io.WriteString(l.ResponseWriter, xml.Header+
		`<ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`+
		`<Bucket>`+bucket+`</Bucket><MaxUploads>1000</MaxUploads><IsTruncated>false</IsTruncated>`+
		`</ListMultipartUploadsResult>`)
}
