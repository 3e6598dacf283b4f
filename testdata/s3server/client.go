package s3server

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// Client looks into an S3 server from outside. Methods that take a test fail it
// when the server does.
type Client struct {
	Endpoint, AccessKey, SecretKey string

	// NoETag: the server answers CompleteMultipartUpload without an ETag. Who completes an
	// upload has to look for the object.
	NoETag bool

	http *http.Client
	api  *s3.Client
}

// NewClient returns a client of the server at that URL, path style.
func NewClient(endpoint, accessKey, secretKey string) Client {
	httpClient := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	return Client{
		Endpoint:  endpoint,
		AccessKey: accessKey,
		SecretKey: secretKey,
		http:      httpClient,
		api: s3.New(s3.Options{
			BaseEndpoint: &endpoint,
			Region:       Region,
			UsePathStyle: true,
			Credentials:  credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
			HTTPClient:   httpClient,
		}),
	}
}

// Object is a stored object.
type Object struct {
	Body            []byte // as it is stored
	Length          int64  // of the body
	ContentType     string
	ContentEncoding string
	CacheControl    string
	Metadata        map[string]string // keys in lower case, with underscores
}

// Upload is a multipart upload that is unfinished.
type Upload struct {
	Key, ID   string
	Initiated time.Time
}

// Bucket makes a bucket with a name of its own.
func (c Client) Bucket(t testing.TB) string {
	t.Helper()
	return must(c.MakeBucket(context.Background()))(t)
}

// MakeBucket is Bucket outside of a test.
func (c Client) MakeBucket(ctx context.Context) (string, error) {
	name := "b-" + strings.ToLower(rand.Text())
	_, err := c.api.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name})
	return name, err
}

// Keys lists the objects of a bucket, sorted. It leaves out folders, which rclone lists as
// well.
func (c Client) Keys(t testing.TB, bucket string) []string {
	t.Helper()
	return must(c.ListKeys(context.Background(), bucket))(t)
}

// ListKeys is Keys outside of a test.
func (c Client) ListKeys(ctx context.Context, bucket string) ([]string, error) {
	keys := []string{}
	pages := s3.NewListObjectsV2Paginator(c.api, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			if key := aws.ToString(o.Key); !strings.HasSuffix(key, "/") {
				keys = append(keys, key)
			}
		}
	}
	return keys, nil
}

// Uploads lists the multipart uploads of a bucket that are unfinished.
func (c Client) Uploads(t testing.TB, bucket string) []Upload {
	t.Helper()
	return must(c.ListUploads(context.Background(), bucket))(t)
}

// ListUploads is Uploads outside of a test.
func (c Client) ListUploads(ctx context.Context, bucket string) ([]Upload, error) {
	return c.listUploads(ctx, bucket, 1000)
}

// listUploads lists them in pages of so many. The server does not find its own
// marker of an upload, so that each page begins with the key that the one before
// it may have cut off.
func (c Client) listUploads(ctx context.Context, bucket string, limit int32) ([]Upload, error) {
	uploads := []Upload{}
	for marker := ""; ; {
		page, err := c.api.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &bucket, KeyMarker: &marker, MaxUploads: &limit})
		if err != nil {
			return nil, err
		}
		for _, u := range page.Uploads {
			uploads = append(uploads, Upload{aws.ToString(u.Key), aws.ToString(u.UploadId), aws.ToTime(u.Initiated)})
		}
		if !aws.ToBool(page.IsTruncated) {
			return uploads, nil
		}
		last := uploads[len(uploads)-1].Key
		uploads = slices.DeleteFunc(uploads, func(u Upload) bool { return u.Key == last })
		if len(uploads) == 0 || uploads[len(uploads)-1].Key == marker {
			return nil, fmt.Errorf("%d multipart uploads of %s or more are unfinished, which cannot be listed", limit, last)
		}
		marker = uploads[len(uploads)-1].Key
	}
}

// Parts returns how many parts an unfinished multipart upload has, up to 1,000. It has none
// once it is finished.
func (c Client) Parts(t testing.TB, bucket string, u Upload) int {
	t.Helper()
	parts, err := c.api.ListParts(context.Background(), &s3.ListPartsInput{Bucket: &bucket, Key: &u.Key, UploadId: &u.ID})
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "NoSuchUpload" {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return len(parts.Parts)
}

// Object returns an object, its body as it is stored, and whether it is there.
func (c Client) Object(t testing.TB, bucket, key string) (Object, bool) {
	t.Helper()
	body, o, err := c.Open(context.Background(), bucket, key)
	if answer, ok := errors.AsType[smithy.APIError](err); ok && answer.ErrorCode() == "NoSuchKey" {
		return Object{}, false
	}
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	// The race detector makes large buffers that grow dear.
	read := bytes.NewBuffer(make([]byte, 0, o.Length+bytes.MinRead))
	if _, err := read.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	o.Body = read.Bytes()
	return o, true
}

// Open returns an object without its body, and that to be read.
func (c Client) Open(ctx context.Context, bucket, key string) (io.ReadCloser, Object, error) {
	out, err := c.api.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, Object{}, err
	}
	return out.Body, Object{
		Length:          aws.ToInt64(out.ContentLength),
		ContentType:     aws.ToString(out.ContentType),
		ContentEncoding: aws.ToString(out.ContentEncoding),
		CacheControl:    aws.ToString(out.CacheControl),
		Metadata:        canonicalMetadata(out.Metadata),
	}, nil
}

// canonicalMetadata returns metadata with underscores in its keys, which some stores
// turn into hyphens.
func canonicalMetadata(got map[string]string) map[string]string {
	metadata := map[string]string{}
	for key, value := range got {
		metadata[strings.ReplaceAll(key, "-", "_")] = value
	}
	return metadata
}

// Begin begins a multipart upload.
func (c Client) Begin(t testing.TB, bucket, key string) {
	t.Helper()
	if _, err := c.api.CreateMultipartUpload(context.Background(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key}); err != nil {
		t.Fatal(err)
	}
}

// Delete removes an object.
func (c Client) Delete(ctx context.Context, bucket, key string) error {
	_, err := c.api.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
	return err
}

// Store puts an object that is nothing but its body.
func (c Client) Store(ctx context.Context, bucket, key string, body io.ReadSeeker) error {
	_, err := c.api.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: body},
		s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware))
	return err
}

// must turns an error into the end of a test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Put stores an object as another program might have.
func (c Client) Put(t testing.TB, bucket, key string, o Object) {
	t.Helper()
	in := &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(o.Body), Metadata: o.Metadata}
	if o.ContentType != "" {
		in.ContentType = &o.ContentType
	}
	if o.ContentEncoding != "" {
		in.ContentEncoding = &o.ContentEncoding
	}
	if _, err := c.api.PutObject(context.Background(), in); err != nil {
		t.Fatal(err)
	}
}
