//nolint:staticcheck // feature/s3/manager is deprecated; why it is used all the same, whole says
package s3sink

//lint:file-ignore SA1019 As above, for staticcheck run by itself.

import (
	"context"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// whole writes objects whose bytes are all here. This file alone knows
// feature/s3/manager: the package is deprecated in favour of
// feature/s3/transfermanager, which has not reached 1.0 and copies bodies into
// buffers of its own. The Uploader copies nothing when it is given an
// io.ReaderAt of known size, and chooses between one PutObject and parts.
type whole struct {
	uploader *manager.Uploader
}

// newWhole returns a writer of objects that sends up to partSize bytes with one
// PutObject.
func newWhole(api *s3.Client, partSize int64) whole {
	return whole{manager.NewUploader(api, func(u *manager.Uploader) {
		u.PartSize = max(partSize, manager.MinUploadPartSize)
	})}
}

// put writes an object of at most a part. It is visible, whole, if put returns
// nil, and may be visible otherwise.
func (w whole) put(ctx context.Context, t target, a attributes, r io.ReaderAt, n int64) error {
	var crc32 uint32
	if err := sum(r, 0, n, &crc32); err != nil {
		return failure("PutObject", t, err)
	}
	body := newBody(r, 0, n)
	_, err := w.uploader.Upload(ctx, &s3.PutObjectInput{
		Bucket:          &t.bucket,
		Key:             &t.key,
		Body:            body,
		ContentType:     optional(a.contentType),
		ContentEncoding: optional(a.contentEncoding),
		Metadata:        a.metadata,
		ChecksumCRC32:   aws.String(encodeCRC32(crc32)),
	})
	return failure("PutObject", t, body.cut(err))
}
