package s3sink

import (
	"fmt"
	"net/http"

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
	return gofakes3.New(backend, gofakes3.WithoutVersioning()).Server(), nil
}
