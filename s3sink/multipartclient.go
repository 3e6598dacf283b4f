package s3sink

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// create creates a multipart upload. It reports whether the store will check the CRC-32 of
// the whole body.
func (s *store) create(ctx context.Context, t target, a attributes) (id string, fullChecksum bool, err error) {
	ctx, done := s.operation(ctx, 0)
	defer done()
	out, err := s.api.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket:            &t.bucket,
		Key:               &t.key,
		CacheControl:      aws.String(cacheControl),
		ContentType:       &a.contentType,
		ContentEncoding:   optional(a.contentEncoding),
		Metadata:          a.metadata,
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
		ChecksumType:      types.ChecksumTypeFullObject,
	})
	if err == nil && aws.ToString(out.UploadId) == "" {
		err = errNoUploadID
	}
	if err != nil {
		return "", false, failure("CreateMultipartUpload", t, tooLong(ctx, err))
	}
	return aws.ToString(out.UploadId), out.ChecksumType == types.ChecksumTypeFullObject, nil
}

// uploadPart sends a part. certain reports that no attempt failed. The store may still be
// working on one that did.
func (s *store) uploadPart(ctx context.Context, t target, id string, number int32, body *requestBody, crc32 uint32) (part sentPart, certain bool, err error) {
	ctx, done := s.operation(ctx, body.size)
	defer done()
	out, err := s.api.UploadPart(ctx, &s3.UploadPartInput{
		Bucket:        &t.bucket,
		Key:           &t.key,
		UploadId:      &id,
		PartNumber:    &number,
		Body:          body,
		ChecksumCRC32: aws.String(encodeCRC32(crc32)),
	})
	if err = body.cut(err); err == nil && aws.ToString(out.ETag) == "" {
		err = errNoETag
	}
	if err != nil {
		return sentPart{}, false, failure("UploadPart", t, tooLong(ctx, err))
	}
	attempts, _ := retry.GetAttemptResults(out.ResultMetadata)
	return sentPart{number, aws.ToString(out.ETag), crc32}, len(attempts.Results) == 1, nil
}

// complete makes an object of the parts of a multipart upload. The parts are in order. If
// fullChecksum is set, the store compares the object with crc32 and size. If there is no
// such upload, the error wraps errNoUpload.
func (s *store) complete(ctx context.Context, t target, id string, parts []sentPart, fullChecksum bool, crc32 uint32, size int64) error {
	in := &s3.CompleteMultipartUploadInput{
		Bucket:          &t.bucket,
		Key:             &t.key,
		UploadId:        &id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: make([]types.CompletedPart, len(parts))},
	}
	for i, p := range parts {
		in.MultipartUpload.Parts[i] = types.CompletedPart{
			PartNumber:    aws.Int32(p.number),
			ETag:          aws.String(p.etag),
			ChecksumCRC32: aws.String(encodeCRC32(p.crc32)),
		}
	}
	if fullChecksum {
		in.ChecksumType = types.ChecksumTypeFullObject
		in.ChecksumCRC32 = aws.String(encodeCRC32(crc32))
		in.MpuObjectSize = &size
	}
	ctx, done := s.completing(ctx, len(parts), size)
	defer done()
	out, err := s.api.CompleteMultipartUpload(ctx, in)
	if err == nil && aws.ToString(out.ETag) == "" {
		err = errNoETag
	}
	return failure("CompleteMultipartUpload", t, tooLong(ctx, err))
}

// abort aborts a multipart upload. If there is no such upload, the error wraps
// errNoUpload.
func (s *store) abort(ctx context.Context, t target, id string) error {
	ctx, done := s.operation(ctx, 0)
	defer done()
	_, err := s.api.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &t.bucket, Key: &t.key, UploadId: &id})
	return failure("AbortMultipartUpload", t, tooLong(ctx, err))
}
