package s3server

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// Client looks into an S3 server from outside. Its methods fail the test when
// the server does.
type Client struct {
	Endpoint, AccessKey, SecretKey string

	http *http.Client
	api  *s3.Client
}

// NewClient returns a client of the server at that URL, path style.
func NewClient(endpoint, accessKey, secretKey string) Client {
	httpClient := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
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
	Body            []byte
	ContentType     string
	ContentEncoding string
	Metadata        map[string]string // keys in lower case
}

// Upload is a multipart upload that is unfinished.
type Upload struct {
	Key, ID string
}

// Bucket makes a bucket with a name of its own.
func (c Client) Bucket(t testing.TB) string {
	t.Helper()
	name := "b-" + strings.ToLower(rand.Text())
	if _, err := c.api.CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	return name
}

// Keys lists the objects of a bucket, sorted.
func (c Client) Keys(t testing.TB, bucket string) []string {
	t.Helper()
	keys := []string{}
	pages := s3.NewListObjectsV2Paginator(c.api, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			keys = append(keys, aws.ToString(o.Key))
		}
	}
	return keys
}

// Uploads lists the multipart uploads of a bucket that are unfinished, up to a
// thousand.
func (c Client) Uploads(t testing.TB, bucket string) []Upload {
	t.Helper()
	out, err := c.api.ListMultipartUploads(context.Background(), &s3.ListMultipartUploadsInput{Bucket: &bucket})
	if err != nil {
		t.Fatal(err)
	}
	uploads := []Upload{}
	for _, u := range out.Uploads {
		uploads = append(uploads, Upload{aws.ToString(u.Key), aws.ToString(u.UploadId)})
	}
	return uploads
}

// Object returns an object, its body as it is stored, and whether it is there.
func (c Client) Object(t testing.TB, bucket, key string) (Object, bool) {
	t.Helper()
	out, err := c.api.GetObject(context.Background(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if answer, ok := errors.AsType[smithy.APIError](err); ok && answer.ErrorCode() == "NoSuchKey" {
		return Object{}, false
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Body.Close() }()
	body, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Object{
		Body:            body,
		ContentType:     aws.ToString(out.ContentType),
		ContentEncoding: aws.ToString(out.ContentEncoding),
		Metadata:        out.Metadata,
	}, true
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
