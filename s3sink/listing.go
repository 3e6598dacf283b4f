package s3sink

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// listing is a page of unfinished multipart uploads.
type listing struct {
	uploads []unfinishedUpload
	next    string    // marker of the next page
	more    bool      // there is a next page
	at      time.Time // when the store listed them, by its clock; zero: not known
}

// listUploads lists up to limit unfinished multipart uploads under p's prefix, with keys
// after marker.
func (s *store) listUploads(ctx context.Context, p destination, marker string, limit int32) (listing, error) {
	ctx, done := s.operation(ctx, 0)
	defer done()
	out, err := s.api.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{
		Bucket: &p.bucket, Prefix: optional(p.prefix), KeyMarker: optional(marker), MaxUploads: &limit,
	})
	if err != nil {
		return listing{}, failure("ListMultipartUploads", target{p.bucket, p.prefix}, tooLong(ctx, err))
	}
	page := listing{next: aws.ToString(out.NextKeyMarker), more: aws.ToBool(out.IsTruncated)}
	page.at, _ = awsmiddleware.GetServerTime(out.ResultMetadata)
	for _, u := range out.Uploads {
		page.uploads = append(page.uploads, unfinishedUpload{aws.ToString(u.Key), aws.ToString(u.UploadId), aws.ToTime(u.Initiated)})
	}
	if n := len(page.uploads); page.next == "" && n > 0 {
		page.next = page.uploads[n-1].key
	}
	return page, nil
}
