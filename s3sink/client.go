package s3sink

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
)

// store makes requests to S3, for one bucket. Only this file, environment.go,
// multipartclient.go, listing.go, operation.go, retry.go, lasterror.go, credentials.go and
// singleput.go know the AWS SDK. A store retries an operation as newRetryer says, within its time limit.
// Each error is a *stream.StoreError.
type store struct {
	api       *s3.Client
	transport http.RoundTripper
	endpoint  *url.URL // that requests go to; nil: not of one bucket
	timeouts
	singlePut
	dialect dialect // of the bucket; that of the store for probes is unused

	// lastPutFailed: the last PutObject of any batch failed. lastReceiptFailed: its last
	// receipt could not be written.
	lastPutFailed, lastReceiptFailed atomic.Bool

	// pending bounds the operations that batches have started. It includes those that
	// wait for a slot, or for the next attempt: each takes some memory.
	pending chan struct{}

	// lookups bounds the lookups of entries in the same way. An upload wants 64 at once, and
	// one that waits within the SDK takes 32 KiB of stack. Operations that are pending wait
	// for lookups.
	lookups chan struct{}

	// completes bounds the calls of CompleteMultipartUpload, which may take minutes. It
	// leaves a quarter of the slots to other requests, which take seconds. It is taken
	// before pending.
	completes chan struct{}
}

// target is the place of an object.
type target struct {
	bucket, key string
}

// cacheControl is stored with every object. It keeps caches and the store's own front end
// from changing bodies on their way to a client: Google Cloud Storage would decompress
// gzip bodies.
const cacheControl = "no-transform"

// attributes are stored with an object's body, besides cacheControl.
type attributes struct {
	contentType     string
	contentEncoding string // empty: none
	metadata        map[string]string
}

// objectInfo is what the store says about an object.
type objectInfo struct {
	found          bool
	length         int64             // of the body, in bytes
	metadata       map[string]string // see canonicalMetadata
	etag           string            // as trimETag returns it
	crc32          string            // of the whole body, as encodeCRC32 returns it; empty: not known
	compositeCRC32 string            // as written.compositeCRC32 returns it; empty: not known
}

// sentPart is a part that the store has.
type sentPart struct {
	number int32
	etag   string
	crc32  uint32
	proof  checksum // what shows that the store has these bytes
}

// stores are the stores for regular symbols, for try symbols, and for probes. Two buckets
// do not depend on each other: each store leaves a quarter of the slots to the other, and
// has its own retry quota and request rate. So one bucket that hangs does not stop the
// other.
type stores struct {
	regular, try, probe *store
}

func newStores(ctx context.Context, cfg Config) (*stores, error) {
	loaded, err := loadSDK(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Transport == nil {
		cfg.Transport = newTransport(cfg, trustedRoots(loaded))
	}
	keys := &renewingCredentials{source: loaded.Credentials}
	retries := retryConfig{maxAttempts, cfg.MaxBackoff}
	slots := make(chan struct{}, cfg.Concurrency)
	limit := cfg.Concurrency
	if cfg.TryBucket != cfg.Bucket {
		limit = threeQuarters(cfg.Concurrency)
	}
	all := &stores{regular: newStore(loaded, keys, cfg, retries, slots, limit)}
	if all.regular.endpoint, err = endpointOf(ctx, all.regular.api, cfg.Bucket); err != nil {
		return nil, err
	}
	all.try = all.regular
	if cfg.TryBucket != cfg.Bucket {
		all.try = newStore(loaded, keys, cfg, retries, slots, limit)
		if all.try.endpoint, err = endpointOf(ctx, all.try.api, cfg.TryBucket); err != nil {
			return nil, err
		}
	}
	loaded.RetryMaxAttempts = 0 // AWS_MAX_ATTEMPTS, which is not for probes
	all.probe = newStore(loaded, keys, cfg, retryConfig{attempts: 1}, make(chan struct{}, probeRequests), probeRequests)
	return all, nil
}

// threeQuarters returns three quarters of n, rounded down, but at least 1.
func threeQuarters(n int) int { return max(1, n-max(1, n/4)) }

// newStore returns a store that has at most limit requests in flight, each in one of the
// slots, which it may share with another store.
func newStore(loaded aws.Config, keys *renewingCredentials, cfg Config, retries retryConfig, slots chan struct{}, limit int) *store {
	timeouts, quota := timeouts{cfg.AttemptTimeout, cfg.CompleteTimeout}, &retryQuota{}
	api := s3.NewFromConfig(loaded, func(o *s3.Options) {
		if cfg.Endpoint != "" {
			o.BaseEndpoint = &cfg.Endpoint
		}
		o.UsePathStyle = cfg.PathStyle
		o.EndpointResolverV2 = &endpoints{rules: s3.NewDefaultEndpointResolverV2()}
		o.HTTPClient = &limitedClient{
			transport:   cfg.Transport,
			bucketSlots: make(chan struct{}, limit),
			allSlots:    slots,
			throttle:    newThrottle(),
			retries:     quota,
			operation:   awsmiddleware.GetOperationName,
			onAttempt:   cfg.OnAttempt,
		}
		o.Credentials = keys
		o.Retryer = newRetryer(retries, keys, quota)
		o.APIOptions = append(o.APIOptions, addUnsignedPayload, removeAcceptEncoding, noteErrors)
		if cfg.OnOperation != nil {
			o.APIOptions = append(o.APIOptions, noteOperations(cfg.OnOperation))
		}
		o.DisableLogOutputChecksumValidationSkipped = true // some stores keep no checksum
	})
	return &store{
		api: api, transport: cfg.Transport, timeouts: timeouts, singlePut: newSinglePut(api, cfg.PartSize, timeouts),
		pending:   make(chan struct{}, 2*cfg.Concurrency),
		lookups:   make(chan struct{}, 2*cfg.Concurrency),
		completes: make(chan struct{}, threeQuarters(limit)),
	}
}

// addUnsignedPayload keeps the SDK from hashing bodies with SHA-256, which it does over
// plain http. The store checks their CRC-32 in any case. The hash has to be set before the
// SDK's checksum middleware runs, which overrides the middleware that v4 has for this.
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

// removeAcceptEncoding keeps the SDK from setting Accept-Encoding, which it would sign.
// Google's front end changes this header, and then Google refuses every request. S3 sends
// nothing that was not stored so, unless it is asked to.
func removeAcceptEncoding(stack *middleware.Stack) error {
	_, err := stack.Finalize.Remove("DisableAcceptEncodingGzip")
	return err
}

// head looks the object at t up.
func (s *store) head(ctx context.Context, t target) (objectInfo, error) {
	return s.headObject(ctx, &s3.HeadObjectInput{Bucket: &t.bucket, Key: &t.key})
}

// lookUp looks up whether an entry is at t, when its turn has come. The error is that of the
// request, or the cause of ctx's end.
func (s *store) lookUp(ctx context.Context, t target) (objectInfo, error) {
	if err := acquire(ctx, s.lookups); err != nil {
		return objectInfo{}, err
	}
	defer func() { <-s.lookups }()
	return s.head(ctx, t)
}

// headChecked looks the object at t up, with its checksum if the store has checksums of that
// kind.
func (s *store) headChecked(ctx context.Context, t target, kind checksum) (objectInfo, error) {
	return s.headObject(ctx, &s3.HeadObjectInput{Bucket: &t.bucket, Key: &t.key, ChecksumMode: kind.mode()})
}

func (s *store) headObject(ctx context.Context, in *s3.HeadObjectInput) (objectInfo, error) {
	ctx, done := s.operation(ctx, 0)
	defer done()
	out, err := s.api.HeadObject(ctx, in)
	if hasCode(err, "NotFound") {
		return objectInfo{}, nil
	}
	if err != nil {
		return objectInfo{}, failure("HeadObject", target{*in.Bucket, *in.Key}, tooLong(ctx, err))
	}
	return infoOf(out.ContentLength, out.Metadata, out.ETag, out.ChecksumCRC32, out.ChecksumType), nil
}

// infoOf returns what an answer says about the object that it is about.
func infoOf(length *int64, metadata map[string]string, etag, crc32 *string, crc32Type types.ChecksumType) objectInfo {
	o := objectInfo{found: true, length: aws.ToInt64(length), metadata: canonicalMetadata(metadata), etag: trimETag(etag)}
	// Some stores do not state the type. A hyphen is in no CRC-32.
	if sum := aws.ToString(crc32); crc32Type == types.ChecksumTypeComposite || strings.Contains(sum, "-") {
		o.compositeCRC32 = sum
	} else {
		o.crc32 = sum
	}
	return o
}

// get reads the object at t, which is small. If the store has checksums of that kind, the SDK
// compares the body with its checksum. If they differ, the error wraps errDiffers.
func (s *store) get(ctx context.Context, t target, kind checksum) (objectInfo, []byte, error) {
	ctx, done := s.operation(ctx, 0)
	defer done()
	out, err := s.api.GetObject(ctx, &s3.GetObjectInput{Bucket: &t.bucket, Key: &t.key, ChecksumMode: kind.mode()}, kind.options()...)
	if hasCode(err, "NoSuchKey") {
		return objectInfo{}, nil, nil
	}
	if err != nil {
		return objectInfo{}, nil, failure("GetObject", t, tooLong(ctx, err))
	}
	defer out.Body.Close()
	// The body has been received already: only its checksum can be wrong.
	body, err := io.ReadAll(out.Body)
	if err != nil {
		return objectInfo{}, nil, failure("GetObject", t, fmt.Errorf("%w: %w", errDiffers, err))
	}
	return infoOf(out.ContentLength, out.Metadata, out.ETag, out.ChecksumCRC32, out.ChecksumType), body, nil
}

// getRange returns up to n bytes of the object at t, at an offset.
func (s *store) getRange(ctx context.Context, t target, off, n int64) ([]byte, error) {
	ctx, done := s.operation(ctx, n)
	defer done()
	out, err := s.api.GetObject(ctx, &s3.GetObjectInput{Bucket: &t.bucket, Key: &t.key, Range: aws.String(fmt.Sprintf("bytes=%d-%d", off, off+n-1))},
		etagMD5.options()...) // it asks for no checksum, which would be the whole object's
	if err != nil {
		return nil, failure("GetObject", t, tooLong(ctx, err))
	}
	defer out.Body.Close()
	text, err := io.ReadAll(out.Body)
	return text, failure("GetObject", t, err)
}

// delete deletes the object at t, if there is one.
func (s *store) delete(ctx context.Context, t target) error {
	ctx, done := s.operation(ctx, 0)
	defer done()
	_, err := s.api.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &t.bucket, Key: &t.key})
	if hasCode(err, "NoSuchKey") {
		return nil // as Google Cloud Storage answers
	}
	return failure("DeleteObject", t, tooLong(ctx, err))
}

// putWhole writes an object with one request, however long it is. It returns what
// [singlePut.put] does.
func (s *store) putWhole(ctx context.Context, t target, a attributes, body *requestBody, sent sums) (etag string, proof checksum, err error) {
	ctx, done := s.operation(ctx, body.size)
	defer done()
	out, err := s.api.PutObject(ctx, putInput(t, a, body, sent), sent.kind.options()...)
	if err != nil {
		out = &s3.PutObjectOutput{}
	}
	return sent.wasPut(ctx, t, body, out.ETag, out.ChecksumCRC32, err)
}

// putInput returns a request to write an object.
func putInput(t target, a attributes, body *requestBody, sent sums) *s3.PutObjectInput {
	in := &s3.PutObjectInput{
		Bucket:          &t.bucket,
		Key:             &t.key,
		Body:            body,
		CacheControl:    aws.String(cacheControl),
		ContentType:     &a.contentType,
		ContentEncoding: optional(a.contentEncoding),
		Metadata:        a.metadata,
	}
	in.ChecksumCRC32, in.ContentMD5 = sent.headers()
	return in
}

// wasPut checks the answer to putInput, which has that ETag and CRC-32, or err. It returns
// the object's ETag and what shows that the store has these bytes. ctx is the operation's.
func (s sums) wasPut(ctx context.Context, t target, body *requestBody, etag, crc32 *string, err error) (string, checksum, error) {
	var proof checksum
	switch {
	case err != nil:
	case aws.ToString(etag) == "":
		err = errNoETag
	default:
		proof, err = s.proof(body, etag, crc32)
	}
	if err = body.cut(err); err != nil {
		return "", 0, failure("PutObject", t, tooLong(ctx, err))
	}
	return trimETag(etag), proof, nil
}

// optional returns nil for the empty string, which the SDK would send as a value.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
