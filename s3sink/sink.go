// Package s3sink stores the entries of an archive in S3. It stages them while the
// archive arrives, and publishes them once the archive has been verified, or aborts them.
//
// There are two ways to stage an object. A small body is held in memory, or on disk, and
// written with one PutObject when it is published. A body that is larger than a part, or
// that there is no memory for, is sent at once as a multipart upload, which is invisible
// until CompleteMultipartUpload.
package s3sink

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"spillway/internal/guard"
	"spillway/internal/s3event"
	"spillway/stream/budget"
)

const (
	// maxKey is the longest key that S3 takes, in bytes of UTF-8 (S3 User
	// Guide, "Naming Amazon S3 objects").
	maxKey = 1024

	// maxPage is the highest number of uploads on a page of a listing (S3 API Reference,
	// ListMultipartUploads).
	maxPage = 1000

	defaultAttemptTimeout = 60 * time.Second

	// CompleteMultipartUpload may take several minutes (S3 API Reference).
	defaultCompleteTimeout = 5 * time.Minute

	// headTimeout bounds the time between the end of a request and the head of its
	// answer, except for CompleteMultipartUpload. The attempt's own timeout may be
	// shorter.
	headTimeout = 30 * time.Second
)

// Config configures a [Sink].
type Config struct {
	Bucket    string // required
	TryBucket string // for try symbols; empty: Bucket

	Region        string // empty: from the AWS SDK's environment
	DefaultRegion string // where neither says one; empty: an error
	Endpoint      string // a URL; empty: from the AWS SDK's environment, or AWS
	PathStyle     bool   // the bucket is in the URL's path, not in its host

	Prefix    string // of every key, e.g. "v1/"
	TryPrefix string // of every key of try symbols, e.g. "try/v1/"

	ReceiptsPrefix string // of every key of [Batch.WriteReceipt], in both buckets; empty: none are written

	AccessKey, SecretKey string // empty: from where the AWS SDK looks for credentials

	PartSize    int64 // bytes of a full part: budget.Budget.PartSize
	Concurrency int   // requests in flight at once, of all batches together; at least 1
	SkipBySize  bool  // skip an entry if the stored object has no hash and the same length
	Verify      bool  // look at each object once it is published

	AttemptTimeout  time.Duration // of an attempt at a request without a body; 0: 60 s
	CompleteTimeout time.Duration // of an attempt at CompleteMultipartUpload, without the time for its parts and bytes; 0: 5 min
	MaxBackoff      time.Duration // the longest pause between attempts; 0: the SDK's 20 s

	Transport http.RoundTripper // nil: a transport with connections for Concurrency requests

	// OnAttempt, OnOperation and OnMultipart, if not nil, are called for each attempt, for
	// each operation with all its attempts, and for each step of a multipart upload. They are
	// called from many goroutines and must not block. ctx is derived from that of the upload,
	// the probe or the sweep.
	OnAttempt   func(ctx context.Context, a s3event.Attempt)
	OnOperation func(ctx context.Context, o s3event.Operation)
	OnMultipart func(s3event.Multipart)

	// OnChecksum, if not nil, is called when a probe finds out by which checksum a bucket
	// checks what it gets, if that is news. It must not block.
	OnChecksum func(bucket string, c s3event.Checksum)

	// OnSDKLog, if not nil, is called with what the AWS SDK logs. It must not block.
	OnSDKLog func(debug bool, message string)
}

// withDefaults returns the configuration with the fields that may be zero filled in.
func (cfg Config) withDefaults() Config {
	if cfg.TryBucket == "" {
		cfg.TryBucket = cfg.Bucket
	}
	if cfg.AttemptTimeout == 0 {
		cfg.AttemptTimeout = defaultAttemptTimeout
	}
	if cfg.CompleteTimeout == 0 {
		cfg.CompleteTimeout = defaultCompleteTimeout
	}
	if cfg.OnAttempt == nil {
		cfg.OnAttempt = func(context.Context, s3event.Attempt) {}
	}
	if cfg.OnMultipart == nil {
		cfg.OnMultipart = func(s3event.Multipart) {}
	}
	if cfg.OnChecksum == nil {
		cfg.OnChecksum = func(string, s3event.Checksum) {}
	}
	return cfg
}

// A Sink stores the entries of archives in S3.
type Sink struct {
	regular destination
	try     destination
	probers []*prober // of regular and try

	receipts       string           // Config.ReceiptsPrefix
	receiptProbers []*receiptProber // of each bucket; none without receipts

	partSize   int64 // bytes
	sweepPage  int32 // uploads on a page of a listing; at most maxPage
	skipBySize bool
	verify     bool
	multipart  func(s3event.Multipart) // Config.OnMultipart
}

// destination is where regular symbols go, or try symbols.
type destination struct {
	bucket, prefix string
	store          *store // of the bucket
}

// target returns the place of an entry's object.
func (d destination) target(name string) target { return target{d.bucket, d.prefix + name} }

// New returns a Sink. It sends no request: use [Sink.Probe] to check the configuration.
func New(ctx context.Context, cfg Config) (*Sink, error) {
	switch {
	case cfg.Bucket == "":
		return nil, errors.New("s3: no bucket")
	case cfg.Concurrency < 1:
		return nil, fmt.Errorf("s3: the number of requests in flight has to be at least 1, not %d", cfg.Concurrency)
	case len(cfg.Prefix) >= maxKey || len(cfg.TryPrefix) >= maxKey:
		return nil, fmt.Errorf("s3: a prefix of %d bytes is too long: a key has at most %d bytes, with the name of the file", max(len(cfg.Prefix), len(cfg.TryPrefix)), maxKey)
	}
	cfg = cfg.withDefaults()
	stores, err := newStores(ctx, cfg)
	if err != nil {
		return nil, err
	}
	regular, try := destination{cfg.Bucket, cfg.Prefix, stores.regular}, destination{cfg.TryBucket, cfg.TryPrefix, stores.try}
	return &Sink{
		regular: regular,
		try:     try,
		probers: probersOf(regular, try, stores.probe, cfg.OnChecksum),

		receipts:       cfg.ReceiptsPrefix,
		receiptProbers: receiptProbersOf(cfg.ReceiptsPrefix, regular, try, stores.probe),

		partSize:   cfg.PartSize,
		sweepPage:  maxPage,
		skipBySize: cfg.SkipBySize,
		verify:     cfg.Verify,
		multipart:  cfg.OnMultipart,
	}, nil
}

func (s *Sink) destination(try bool) destination {
	if try {
		return s.try
	}
	return s.regular
}

// Bucket returns the bucket of regular symbols, or of try symbols.
func (s *Sink) Bucket(try bool) string { return s.destination(try).bucket }

// Prefix returns the prefix of the keys of regular symbols, or of try symbols.
func (s *Sink) Prefix(try bool) string { return s.destination(try).prefix }

// MaxName returns the length of the longest entry name in bytes. S3 takes its key under
// either prefix.
func (s *Sink) MaxName() int {
	return maxKey - max(len(s.regular.prefix), len(s.try.prefix))
}

// Begin begins the objects of one upload. ctx is the upload's context: the batch's
// requests end with it, except aborts. fail ends ctx with a cause, unless it has
// ended before. The batch calls it when something fails in the background, with a
// [*stream.StoreError] or a [*guard.PanicError]. Buffers come out of share.
//
// The caller ends the batch, with [Batch.Publish] or [Batch.Abort], after all calls of
// its objects' methods have returned, and closes share after that.
func (s *Sink) Begin(ctx context.Context, fail func(cause error), share *budget.Share, try bool) *Batch {
	dest := s.destination(try)
	b := &Batch{
		sink:   s,
		dest:   dest,
		prober: s.prober(try),
		share:  share,
		ctx:    ctx,
		fail: func(cause error) {
			dest.store.dialect.doubt(cause)
			fail(cause)
		},
		goroutines:  newGoroutines(),
		uploads:     make(map[*record]*multipart),
		nudge:       make(chan struct{}, 1),
		stopFreeing: make(chan struct{}),
	}
	b.freeing.Go(func() { //nolint:contextcheck // the batch works under ctx
		if err := guard.Do(func() error { b.freeMemory(); return nil }); err != nil {
			b.fail(err)
		}
	})
	return b
}
