package s3sink

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// create creates a multipart upload whose bytes the store checks by that kind of checksum. It
// returns partCRC32 for wholeCRC32 if the store does not say that it will check the whole.
func (s *store) create(ctx context.Context, t target, a attributes, kind checksum) (id string, actual checksum, err error) {
	ctx, done := s.operation(ctx, 0)
	defer done()
	in := &s3.CreateMultipartUploadInput{
		Bucket:          &t.bucket,
		Key:             &t.key,
		CacheControl:    aws.String(cacheControl),
		ContentType:     &a.contentType,
		ContentEncoding: optional(a.contentEncoding),
		Metadata:        a.metadata,
	}
	if kind.isCRC32() {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32
	}
	if kind == wholeCRC32 {
		in.ChecksumType = types.ChecksumTypeFullObject
	}
	out, err := s.api.CreateMultipartUpload(ctx, in, kind.options()...)
	if err == nil && aws.ToString(out.UploadId) == "" {
		err = errNoUploadID
	}
	if err != nil {
		return "", 0, failure("CreateMultipartUpload", t, tooLong(ctx, err))
	}
	if kind == wholeCRC32 && out.ChecksumType != types.ChecksumTypeFullObject {
		kind = partCRC32
	}
	return aws.ToString(out.UploadId), kind, nil
}

// uploadPart sends a part. certain reports that no attempt failed. The store may still be
// working on one that did.
func (s *store) uploadPart(ctx context.Context, t target, id string, number int32, body *requestBody, sent sums) (part sentPart, certain bool, err error) {
	ctx, done := s.operation(ctx, body.size)
	defer done()
	in := &s3.UploadPartInput{Bucket: &t.bucket, Key: &t.key, UploadId: &id, PartNumber: &number, Body: body}
	in.ChecksumCRC32, in.ContentMD5 = sent.headers()
	out, err := s.api.UploadPart(ctx, in, sent.kind.options()...)
	if err == nil && aws.ToString(out.ETag) == "" {
		err = errNoETag
	}
	if err != nil {
		return sentPart{}, false, failure("UploadPart", t, tooLong(ctx, body.cut(err)))
	}
	attempts, _ := retry.GetAttemptResults(out.ResultMetadata)
	part = sentPart{number: number, etag: aws.ToString(out.ETag), crc32: sent.crc32}
	part.proof, err = sent.proof(body, out.ETag, out.ChecksumCRC32)
	return part, len(attempts.Results) == 1, failure("UploadPart", t, tooLong(ctx, body.cut(err)))
}

// complete makes an object of the parts of a multipart upload, and returns its ETag. The
// parts are those of w, in order. For wholeCRC32, the store compares the object's checksum and
// size with w. If there is no such upload, the error wraps errNoUpload.
func (s *store) complete(ctx context.Context, t target, id string, w written, kind checksum) (etag string, err error) {
	in := &s3.CompleteMultipartUploadInput{
		Bucket:          &t.bucket,
		Key:             &t.key,
		UploadId:        &id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: make([]types.CompletedPart, len(w.parts))},
	}
	for i, p := range w.parts {
		in.MultipartUpload.Parts[i] = types.CompletedPart{PartNumber: aws.Int32(p.number), ETag: aws.String(p.etag)}
		if kind.isCRC32() {
			in.MultipartUpload.Parts[i].ChecksumCRC32 = aws.String(encodeCRC32(p.crc32))
		}
	}
	if kind == wholeCRC32 {
		in.ChecksumType = types.ChecksumTypeFullObject
		in.ChecksumCRC32 = aws.String(encodeCRC32(w.crc32))
		in.MpuObjectSize = &w.size
	}
	ctx, done := s.completing(ctx, len(w.parts), w.size)
	defer done()
	out, err := s.api.CompleteMultipartUpload(ctx, in, kind.options()...)
	if err == nil && aws.ToString(out.ETag) == "" {
		err = errNoETag
	}
	if err != nil {
		return "", failure("CompleteMultipartUpload", t, tooLong(ctx, err))
	}
	return trimETag(out.ETag), nil
}

// abort aborts a multipart upload. If there is no such upload, the error wraps
// errNoUpload.
func (s *store) abort(ctx context.Context, t target, id string) error {
	ctx, done := s.operation(ctx, 0)
	defer done()
	_, err := s.api.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &t.bucket, Key: &t.key, UploadId: &id})
	return failure("AbortMultipartUpload", t, tooLong(ctx, err))
}
