package s3sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"spillway/receipts"
	"spillway/stream"
)

// readerRequests bounds the requests of a Reader that are in flight.
const readerRequests = 16

// A Reader reads the receipts in one bucket. It is a [receipts.Bucket].
type Reader struct {
	bucket, prefix string
	store          *store
}

// NewReaders returns a Reader for each bucket. It sends no request.
func NewReaders(ctx context.Context, cfg Config) ([]*Reader, error) {
	cfg.Concurrency = readerRequests
	cfg = cfg.withDefaults()
	stores, err := newStores(ctx, cfg)
	if err != nil {
		return nil, err
	}
	readers := []*Reader{{cfg.Bucket, cfg.ReceiptsPrefix, stores.regular}}
	if cfg.TryBucket != cfg.Bucket {
		readers = append(readers, &Reader{cfg.TryBucket, cfg.ReceiptsPrefix, stores.try})
	}
	return readers, nil
}

// errNoObjectProgress says that a page of a list does not come after the one before.
var errNoObjectProgress = errors.New("s3: the list of objects does not continue after its last page")

// List implements [receipts.Bucket]. The error is a [*stream.StoreError].
func (r *Reader) List(ctx context.Context, after string) iter.Seq2[receipts.Listed, error] {
	return func(yield func(receipts.Listed, error) bool) {
		t, last := target{r.bucket, r.prefix}, ""
		if after != "" {
			after = r.prefix + after
		}
		for page := (objectPage{more: true}); page.more; {
			var err error
			page, err = r.store.listObjects(ctx, t, max(after, last), page.next)
			before := last
			if n := len(page.objects); n > 0 {
				last = page.objects[n-1].key
			}
			if err == nil && page.more && last <= before {
				err = failure("ListObjectsV2", t, errNoObjectProgress)
			}
			if err != nil {
				yield(receipts.Listed{}, err)
				return
			}
			for _, o := range page.objects {
				if o.key > after && !yield(receipts.Listed{Name: o.key[len(r.prefix):], Size: o.size}, nil) {
					return
				}
			}
		}
	}
}

// Read implements [receipts.Bucket]. The other errors are a [*stream.StoreError].
func (r *Reader) Read(ctx context.Context, name string, off, n int64) ([]byte, error) {
	t := target{r.bucket, r.prefix + name}
	text, err := r.store.getRange(ctx, t, off, n)
	if failed, ok := errors.AsType[*stream.StoreError](err); ok && failed.Code == "NoSuchKey" {
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return text, err
}
