// Package s3sink puts the entries of an archive into S3: staged while the
// archive arrives, published when it has been verified, or aborted.
//
// An object is staged in one of two ways. Small bodies are held in memory and
// written with one PutObject when they are published. Bodies that are larger
// than a part, or for which there is no memory, go up at once as a multipart
// upload, which S3 shows to nobody until CompleteMultipartUpload.
package s3sink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"spillway/internal/s3event"
	"spillway/stream"
)

const (
	// maxKey is the longest key that S3 takes, in bytes of UTF-8 (S3 User
	// Guide, "Naming Amazon S3 objects").
	maxKey = 1024

	defaultAttemptTimeout = 60 * time.Second

	// defaultCompleteTimeout is for what S3 says of CompleteMultipartUpload: that it
	// may take several minutes.
	defaultCompleteTimeout = 5 * time.Minute

	// headTimeout is how long a request that has been sent may wait for the
	// head of its answer, where the attempt's own deadline is not shorter. It does not
	// hold for CompleteMultipartUpload.
	headTimeout = 30 * time.Second
)

// Config says where objects go and how.
type Config struct {
	Bucket    string // required
	TryBucket string // for try symbols; empty: Bucket

	Region    string // empty: as the environment of the AWS SDK says
	Endpoint  string // a URL; empty: as that environment says, or else AWS
	PathStyle bool   // the bucket is a part of the URL's path, not of its host

	Prefix    string // of every key, e.g. "v1/"
	TryPrefix string // of every key of try symbols, e.g. "try/v1/"

	AccessKey, SecretKey string // empty: credentials come the SDK's usual way

	PartSize    int64 // bytes of a full part, as stream.Memory.PartSize has it
	Concurrency int   // requests in flight at once, of all batches together; at least 1
	SkipBySize  bool  // an object without any hash is skipped if its length is the entry's

	AttemptTimeout  time.Duration // of each attempt at a request, besides what its bytes add; 0: 60 s
	CompleteTimeout time.Duration // of each attempt at CompleteMultipartUpload, besides what parts and bytes add; 0: 5 min
	MaxBackoff      time.Duration // longest pause between attempts; 0: the SDK's 20 s

	Transport http.RoundTripper // nil: one of our own

	// OnAttempt and OnMultipart, if not nil, are told what happens. They are
	// called from many goroutines, and must not wait for anything.
	OnAttempt   func(s3event.Attempt)
	OnMultipart func(s3event.Multipart)

	// OnSDKLog is told what the AWS SDK logs. Same rules; nil drops it.
	OnSDKLog func(debug bool, message string)
}

// A Sink is a store for the entries of archives.
type Sink struct {
	regular place
	try     place
	probers []*prober // of the places

	partSize   int64 // bytes
	sweepPage  int32 // uploads on a page of a list; at most 1,000
	skipBySize bool
	multipart  func(s3event.Multipart) // tells whoever wants to know
}

// place is where the objects of one kind of symbols go.
type place struct {
	bucket, prefix string
	store          *store // of the bucket
}

// target is where the object of that name is, or will be.
func (p place) target(name string) target { return target{p.bucket, p.prefix + name} }

// New returns a Sink. It sends nothing yet: [Sink.Probe] does.
func New(ctx context.Context, cfg Config) (*Sink, error) {
	switch {
	case cfg.Bucket == "":
		return nil, errors.New("s3: no bucket")
	case cfg.Concurrency < 1:
		return nil, fmt.Errorf("s3: at least 1 request has to be in flight, not %d", cfg.Concurrency)
	case len(cfg.Prefix) >= maxKey || len(cfg.TryPrefix) >= maxKey:
		return nil, fmt.Errorf("s3: a prefix of %d bytes leaves no room for a name in a key of at most %d", max(len(cfg.Prefix), len(cfg.TryPrefix)), maxKey)
	}
	if cfg.TryBucket == "" {
		cfg.TryBucket = cfg.Bucket
	}
	if cfg.AttemptTimeout == 0 {
		cfg.AttemptTimeout = defaultAttemptTimeout
	}
	if cfg.CompleteTimeout == 0 {
		cfg.CompleteTimeout = defaultCompleteTimeout
	}
	if cfg.Transport == nil {
		cfg.Transport = newTransport(cfg)
	}
	if cfg.OnAttempt == nil {
		cfg.OnAttempt = func(s3event.Attempt) {}
	}
	if cfg.OnMultipart == nil {
		cfg.OnMultipart = func(s3event.Multipart) {}
	}
	stores, err := newStores(ctx, cfg)
	if err != nil {
		return nil, err
	}
	regular, try := place{cfg.Bucket, cfg.Prefix, stores.regular}, place{cfg.TryBucket, cfg.TryPrefix, stores.try}
	return &Sink{
		regular:    regular,
		try:        try,
		probers:    probersOf(regular, try, stores.probe),
		partSize:   cfg.PartSize,
		sweepPage:  1000,
		skipBySize: cfg.SkipBySize,
		multipart:  cfg.OnMultipart,
	}, nil
}

func newTransport(cfg Config) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		MaxIdleConns:          cfg.Concurrency,
		MaxIdleConnsPerHost:   cfg.Concurrency,
		IdleConnTimeout:       90 * time.Second,
	}
}

func (s *Sink) place(try bool) place {
	if try {
		return s.try
	}
	return s.regular
}

// Bucket is the bucket that symbols, or try symbols, go to.
func (s *Sink) Bucket(try bool) string { return s.place(try).bucket }

// MaxName is the length in bytes of the longest entry name whose key S3 takes,
// as regular and as try symbols.
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
func (s *Sink) Begin(ctx context.Context, fail func(cause error), share *stream.Share, try bool) *Batch {
	b := &Batch{
		sink:     s,
		place:    s.place(try),
		share:    share,
		ctx:      ctx,
		fail:     fail,
		nudge:    make(chan struct{}, 1),
		stopRoom: make(chan struct{}),
	}
	spawn(&b.room, func() error { b.makeRoom(); return nil }, b.fail) //nolint:contextcheck // the batch works under ctx
	return b
}
