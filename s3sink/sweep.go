package s3sink

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"spillway/internal/s3event"
	"spillway/stream"
)

// sweepErrors is how many errors a sweep keeps. Otherwise a store that refuses every abort
// would fill the memory with its answers.
const sweepErrors = 20

// errNoDate says that an answer has no Date header. Without S3's time, the age of an upload
// is unknown.
var errNoDate = errors.New("s3: the list of unfinished uploads has no Date")

// errNoProgress says that two pages of a listing begin with the same key.
var errNoProgress = errors.New("s3: the list of unfinished uploads does not continue after its marker")

// unfinishedUpload is a multipart upload that is neither completed nor aborted.
type unfinishedUpload struct {
	key, id string
	at      time.Time // when it was created; zero: not known
}

// stale reports whether the upload is under p's prefix and was created before that time. A
// store may list uploads under other prefixes, which are not ours to abort.
func (u unfinishedUpload) stale(p destination, before time.Time) bool {
	return strings.HasPrefix(u.key, p.prefix) && !u.at.IsZero() && u.at.Before(before)
}

// Sweep aborts the unfinished multipart uploads under the prefixes that are older than age:
// those of processes that died, and those whose create was never answered. Ages are
// measured by the store's clock, since ours may be wrong.
//
// An upload that cannot be aborted does not stop the sweep. The error joins the first
// errors, each a [*stream.StoreError], and the number of the others. Sweep ends with ctx;
// the next sweep aborts the rest.
func (s *Sink) Sweep(ctx context.Context, age time.Duration) (aborted int, err error) {
	w := sweep{sink: s, age: age}
	for _, p := range s.sweptDestinations() {
		w.abortUnder(ctx, p)
	}
	return w.aborted, w.err()
}

// sweptDestinations returns the destinations, without one that is inside the other.
func (s *Sink) sweptDestinations() []destination {
	inside := func(a, b destination) bool { return a.bucket == b.bucket && strings.HasPrefix(a.prefix, b.prefix) }
	switch {
	case inside(s.try, s.regular):
		return []destination{s.regular}
	case inside(s.regular, s.try):
		return []destination{s.try}
	}
	return []destination{s.regular, s.try}
}

// sweep is one call of Sweep.
type sweep struct {
	sink    *Sink
	age     time.Duration // the lowest age of uploads to abort
	aborted int
	errs    []error // the first ones
	more    int     // errors after those
}

// abortUnder sweeps one destination. Servers differ in how they use the marker for an upload
// ID, so each page begins after a key. This may miss some uploads if a page ends among
// several of one key. The next sweep finds them, once those before them are gone.
func (w *sweep) abortUnder(ctx context.Context, p destination) {
	listed := p.target("")
	page, err := p.store.listUploads(ctx, listed, "", w.sink.sweepPage)
	if err == nil {
		listed.key, err = p.listedKey(ctx, page)
	}
	if err == nil && listed.key != p.prefix {
		page, err = p.store.listUploads(ctx, listed, "", w.sink.sweepPage)
	}
	for marker, before := "", ""; ; {
		if err == nil && page.at.IsZero() && len(page.uploads) > 0 {
			err = failure("ListMultipartUploads", p.target(""), errNoDate)
		}
		if err != nil {
			w.failed(err)
			return
		}
		if !w.abortStale(ctx, p, page) || !page.more {
			return
		}
		// Ceph begins a page with the marker's key, of which there may be more uploads.
		if page.next < marker || page.next == marker && page.first() == before {
			if listed.key == p.prefix {
				w.failed(failure("ListMultipartUploads", p.target(""), errNoProgress))
			}
			return // MinIO lists the oldest first and knows no marker: the next sweep goes on
		}
		marker, before = page.next, page.first()
		page, err = p.store.listUploads(ctx, listed, marker, w.sink.sweepPage)
	}
}

// abortStale aborts the uploads of a page that are old enough. It reports false if ctx has
// ended.
func (w *sweep) abortStale(ctx context.Context, p destination, page listing) bool {
	for _, u := range page.uploads {
		if ctx.Err() != nil {
			w.failed(failure("AbortMultipartUpload", target{p.bucket, u.key}, context.Cause(ctx)))
			return false
		}
		if u.stale(p, page.at.Add(-w.age)) {
			w.abort(ctx, p.store, target{p.bucket, u.key}, u.id)
		}
	}
	return true
}

// abort aborts one upload. Nothing of it is in flight, so one request is enough. If there is
// no such upload, another process has aborted it, or an attempt whose answer was lost.
func (w *sweep) abort(ctx context.Context, s *store, t target, id string) {
	err := s.abort(ctx, t, id)
	if err != nil && !errors.Is(err, errNoUpload) {
		w.failed(err)
		return
	}
	w.aborted++
	w.sink.multipart(s3event.Swept)
}

func (w *sweep) failed(err error) {
	if len(w.errs) == sweepErrors {
		w.more++
		return
	}
	w.errs = append(w.errs, err)
}

func (w *sweep) err() error {
	if w.more > 0 {
		more := fmt.Errorf("s3: %d more failures", w.more)
		w.errs = append(w.errs, &stream.StoreError{Op: "Sweep", Err: more})
	}
	return errors.Join(w.errs...)
}
