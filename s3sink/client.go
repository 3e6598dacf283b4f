package s3sink

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
)

// store is S3 in plain terms, for one bucket: this file, retry.go, credentials.go
// and manager.go know the SDK, the others do not. Each of its operations is tried
// again as newRetryer says, within the time that pace gives it. Each error is a
// *stream.StoreError.
type store struct {
	api *s3.Client
	pace
	whole

	// putFails says that the last PutObject of a batch failed.
	putFails atomic.Bool

	// pending bounds the operations that batches have begun, those that wait
	// for their turn or between two attempts included: each costs some memory.
	pending chan struct{}

	// completes bounds the multipart uploads that are being completed. That may take
	// minutes: it leaves a quarter of the requests in flight to others, which take
	// seconds. Taken before pending.
	completes chan struct{}
}

// target is where an object is, or will be.
type target struct {
	bucket, key string
}

// attributes are what is stored with an object's body.
type attributes struct {
	contentType, contentEncoding string // empty: none
	metadata                     map[string]string
}

// stored is what the store says of an object.
type stored struct {
	found    bool
	length   int64             // of the body, in bytes
	metadata map[string]string // keys in lower case
	crc32    string            // of the whole body, as encodeCRC32 has it; empty: not known
}

// sentPart is a part that the store has.
type sentPart struct {
	number int32
	etag   string
	crc32  uint32
}

// stores are the stores of the buckets of regular and of try symbols, and one for
// the probes of both. Where the buckets are two, a bucket that hangs keeps nothing
// of the other from running: each leaves the other a quarter of the requests that
// may be in flight, and has retries and a rate of its own.
type stores struct {
	regular, try, probe *store
}

func newStores(ctx context.Context, cfg Config) (*stores, error) {
	options := []func(*config.LoadOptions) error{config.WithLogger(sdkLog(cfg.OnSDKLog))}
	if cfg.Region != "" {
		options = append(options, config.WithRegion(cfg.Region))
	}
	if cfg.AccessKey != "" {
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(cfg.AccessKey, cfg.SecretKey, "")))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	if loaded.Region == "" {
		return nil, errors.New("s3: no region")
	}
	keys := &renewable{source: loaded.Credentials}
	retries := retryConfig{maxAttempts, cfg.MaxBackoff}
	probe := newStore(loaded, keys, cfg, retryConfig{probeAttempts, probeBackoff}, make(chan struct{}, probeRequests), probeRequests)
	slots := make(chan struct{}, cfg.Concurrency)
	if cfg.TryBucket == cfg.Bucket {
		s := newStore(loaded, keys, cfg, retries, slots, cfg.Concurrency)
		return &stores{s, s, probe}, nil
	}
	share := mostOf(cfg.Concurrency)
	return &stores{newStore(loaded, keys, cfg, retries, slots, share), newStore(loaded, keys, cfg, retries, slots, share), probe}, nil
}

// mostOf is three quarters of n, or a little less, but at least 1.
func mostOf(n int) int { return max(1, n-max(1, n/4)) }

// sdkLog passes on what the SDK would write to standard error, where it could
// wait for a reader that hangs.
func sdkLog(told func(debug bool, message string)) logging.Logger {
	if told == nil {
		return logging.Nop{}
	}
	return logging.LoggerFunc(func(classification logging.Classification, format string, v ...any) {
		told(classification == logging.Debug, fmt.Sprintf(format, v...))
	})
}

// newStore returns a store that has share requests in flight at most, and no
// more than there are slots for.
func newStore(loaded aws.Config, keys *renewable, cfg Config, retries retryConfig, slots chan struct{}, share int) *store {
	pace, budget := pace{cfg.AttemptTimeout, cfg.CompleteTimeout}, &budget{}
	api := s3.NewFromConfig(loaded, func(o *s3.Options) {
		if cfg.Endpoint != "" {
			o.BaseEndpoint = &cfg.Endpoint
		}
		o.UsePathStyle = cfg.PathStyle
		o.HTTPClient = &bounded{
			transport: cfg.Transport,
			share:     make(chan struct{}, share),
			slots:     slots,
			throttle:  newThrottle(),
			retries:   budget,
			operation: awsmiddleware.GetOperationName,
			told:      cfg.OnAttempt,
		}
		o.Credentials = keys
		o.Retryer = newRetryer(retries, keys, budget)
		o.APIOptions = append(o.APIOptions, addUnsignedPayload)
		o.DisableLogOutputChecksumValidationSkipped = true // some stores keep no checksum
	})
	return &store{
		api: api, pace: pace, whole: newWhole(api, cfg.PartSize, pace),
		pending:   make(chan struct{}, 2*cfg.Concurrency),
		completes: make(chan struct{}, mostOf(share)),
	}
}

// addUnsignedPayload keeps the SDK from hashing bodies with SHA-256, which it
// does over plain http. Their CRC-32 is sent, and checked by the store, in any
// case. The hash has to be set before the SDK's checksum middleware runs: the
// middleware that v4 offers for the purpose is overruled by it.
func addUnsignedPayload(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("UnsignedPayload",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			switch in.Parameters.(type) {
			case *s3.PutObjectInput, *s3.UploadPartInput:
				ctx = v4.SetPayloadHash(ctx, "UNSIGNED-PAYLOAD")
			}
			return next.HandleInitialize(ctx, in)
		}), middleware.Before)
}

// head asks for the object at t.
func (s *store) head(ctx context.Context, t target) (stored, error) {
	return s.headObject(ctx, &s3.HeadObjectInput{Bucket: &t.bucket, Key: &t.key})
}

// headChecked asks for the object at t and its checksum.
func (s *store) headChecked(ctx context.Context, t target) (stored, error) {
	return s.headObject(ctx, &s3.HeadObjectInput{Bucket: &t.bucket, Key: &t.key, ChecksumMode: types.ChecksumModeEnabled})
}

func (s *store) headObject(ctx context.Context, in *s3.HeadObjectInput) (stored, error) {
	ctx, done := s.operation(ctx, 0)
	defer done()
	out, err := s.api.HeadObject(ctx, in)
	if hasCode(err, "NotFound") {
		return stored{}, nil
	}
	if err != nil {
		return stored{}, failure("HeadObject", target{*in.Bucket, *in.Key}, tooLong(ctx, err))
	}
	found := stored{found: true, length: aws.ToInt64(out.ContentLength), metadata: out.Metadata}
	if out.ChecksumType != types.ChecksumTypeComposite {
		found.crc32 = aws.ToString(out.ChecksumCRC32)
	}
	return found, nil
}

// get reads the object at t, which is small. The SDK compares the body with the
// checksum that the store gives; errDiffers is in the error's chain where they
// disagree.
func (s *store) get(ctx context.Context, t target) (stored, []byte, error) {
	ctx, done := s.operation(ctx, 0)
	defer done()
	out, err := s.api.GetObject(ctx, &s3.GetObjectInput{Bucket: &t.bucket, Key: &t.key, ChecksumMode: types.ChecksumModeEnabled})
	if hasCode(err, "NoSuchKey") {
		return stored{}, nil, nil
	}
	if err != nil {
		return stored{}, nil, failure("GetObject", t, tooLong(ctx, err))
	}
	defer out.Body.Close()
	// It has been received by now: only its checksum can be wrong.
	body, err := io.ReadAll(out.Body)
	if err != nil {
		return stored{}, nil, failure("GetObject", t, fmt.Errorf("%w: %w", errDiffers, err))
	}
	found := stored{found: true, length: aws.ToInt64(out.ContentLength), metadata: out.Metadata}
	if out.ChecksumType != types.ChecksumTypeComposite {
		found.crc32 = aws.ToString(out.ChecksumCRC32)
	}
	return found, body, nil
}

// delete deletes an object, or does nothing where there is none.
func (s *store) delete(ctx context.Context, t target) error {
	ctx, done := s.operation(ctx, 0)
	defer done()
	_, err := s.api.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &t.bucket, Key: &t.key})
	return failure("DeleteObject", t, tooLong(ctx, err))
}

// create begins a multipart upload. It reports whether the store will check the
// CRC-32 of the whole body.
func (s *store) create(ctx context.Context, t target, a attributes) (id string, checksWhole bool, err error) {
	ctx, done := s.operation(ctx, 0)
	defer done()
	out, err := s.api.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket:            &t.bucket,
		Key:               &t.key,
		ContentType:       optional(a.contentType),
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

// uploadPart sends a part. It reports whether it is clear what became of it:
// it is not where an attempt failed, which the store may still be working at.
func (s *store) uploadPart(ctx context.Context, t target, id string, number int32, body *body, crc32 uint32) (part sentPart, clear bool, err error) {
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

// complete makes the object of a multipart upload out of its parts, which are
// in order. If checksWhole, the store compares crc32 and size with the whole.
// errNoUpload is in the error's chain where the upload is not there.
func (s *store) complete(ctx context.Context, t target, id string, parts []sentPart, checksWhole bool, crc32 uint32, size int64) error {
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
	if checksWhole {
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

// abort gives up a multipart upload. errNoUpload is in the error's chain where
// the upload is not there.
func (s *store) abort(ctx context.Context, t target, id string) error {
	ctx, done := s.operation(ctx, 0)
	defer done()
	_, err := s.api.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &t.bucket, Key: &t.key, UploadId: &id})
	return failure("AbortMultipartUpload", t, tooLong(ctx, err))
}

// listing is a page of unfinished multipart uploads.
type listing struct {
	uploads []begun
	next    string    // marker of the next page
	more    bool      // there is a next page
	at      time.Time // when the store listed them, by its own clock; zero: it did not say
}

// listUploads lists up to limit unfinished multipart uploads at p, whose keys
// come after marker.
func (s *store) listUploads(ctx context.Context, p place, marker string, limit int32) (listing, error) {
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
		page.uploads = append(page.uploads, begun{aws.ToString(u.Key), aws.ToString(u.UploadId), aws.ToTime(u.Initiated)})
	}
	if n := len(page.uploads); page.next == "" && n > 0 {
		page.next = page.uploads[n-1].key
	}
	return page, nil
}

// encodeCRC32 is a checksum as S3 writes it: its four bytes, the highest first,
// in base64.
func encodeCRC32(sum uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}

// optional is nil for the empty string, which the SDK would send as a value.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
