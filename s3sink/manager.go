//nolint:staticcheck // feature/s3/manager is deprecated; why it is used all the same, whole says
package s3sink

//lint:file-ignore SA1019 As above, for staticcheck run by itself.

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// whole writes objects of up to a part whose bytes are all here. This file
// alone knows feature/s3/manager: the package is deprecated in favour of
// feature/s3/transfermanager, which has not reached 1.0 and copies bodies into
// buffers of its own. The Uploader copies nothing when it is given an
// io.ReaderAt of known size.
//
// It could send larger bodies in parts, too, but would complete each of them as
// soon as its own parts are at the store, and not when those of all objects are.
// It also does not ask for the checksum of the whole object (its create says no
// ChecksumType, its complete no MpuObjectSize), puts what it is given for one
// into the complete of an upload that S3 makes a checksum of checksums for,
// sends parts as aws-chunked over https, and does not tell whether an attempt
// at a part failed, which an abort has to know. [multipart] does all that.
type whole struct {
	uploader *manager.Uploader
	pace     pace
}

// newWhole returns a writer of objects that sends up to partSize bytes with one
// PutObject.
func newWhole(api *s3.Client, partSize int64, pace pace) whole {
	return whole{manager.NewUploader(api, func(u *manager.Uploader) {
		u.PartSize = max(partSize, manager.MinUploadPartSize)
	}), pace}
}

// put writes an object of at most a part, whose body the store compares with
// crc32. It is visible, whole, if put returns nil, and may be visible otherwise.
func (w whole) put(ctx context.Context, t target, a attributes, body *body, crc32 uint32) error {
	ctx, done := w.pace.operation(ctx, body.size)
	defer done()
	out, err := w.uploader.Upload(ctx, &s3.PutObjectInput{
		Bucket:          &t.bucket,
		Key:             &t.key,
		Body:            body,
		ContentType:     optional(a.contentType),
		ContentEncoding: optional(a.contentEncoding),
		Metadata:        a.metadata,
		ChecksumCRC32:   aws.String(encodeCRC32(crc32)),
	})
	if err = body.cut(err); err == nil && aws.ToString(out.ETag) == "" {
		err = errNoETag
	}
	return failure("PutObject", t, tooLong(ctx, err))
}
