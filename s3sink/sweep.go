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

// sweepErrors is how many failures a sweep tells of one by one. A store that
// refuses every abort would otherwise fill the memory with its answers.
const sweepErrors = 20

// errNoDate says that an answer has no Date header. Without S3's own time there is
// no telling how old an upload is.
var errNoDate = errors.New("s3: the list of unfinished uploads has no Date")

// errNoProgress says that a page of a list begins where the page before it did.
var errNoProgress = errors.New("s3: the list of unfinished uploads does not go on behind its marker")

// begun is a multipart upload that the store has not finished.
type begun struct {
	key, id string
	at      time.Time // zero: the store does not say
}

// stale reports whether the upload is one at p that was begun before a moment.
// What the store says beyond what it was asked for is not ours to abort.
func (u begun) stale(p place, before time.Time) bool {
	return strings.HasPrefix(u.key, p.prefix) && !u.at.IsZero() && u.at.Before(before)
}

// Sweep aborts the unfinished multipart uploads under the prefixes that were
// begun longer ago than age, whoever began them: those whose processes died, or
// whose create was answered in vain. Both ends of an age are read off the store's
// clock: ours may be wrong. An upload that cannot be aborted does not stop the
// sweep of the others. The error joins the failures, each a [*stream.StoreError]; of
// many, it says how many more there were. The end of ctx ends the sweep: what
// it did not get to is there the next time.
func (s *Sink) Sweep(ctx context.Context, age time.Duration) (aborted int, err error) {
	w := sweep{sink: s, age: age}
	for _, p := range s.sweepPlaces() {
		w.place(ctx, p)
	}
	return w.aborted, w.err()
}

// sweepPlaces are the places of which none is inside another.
func (s *Sink) sweepPlaces() []place {
	within := func(a, b place) bool { return a.bucket == b.bucket && strings.HasPrefix(a.prefix, b.prefix) }
	switch {
	case within(s.try, s.regular):
		return []place{s.regular}
	case within(s.regular, s.try):
		return []place{s.try}
	}
	return []place{s.regular, s.try}
}

// sweep is one call of Sweep.
type sweep struct {
	sink    *Sink
	age     time.Duration // uploads older than this are aborted
	aborted int
	errs    []error // the first of them
	more    int     // how many came after
}

// place goes through the pages of the list of one place. Servers differ in how
// they take the marker of an upload, so that pages begin behind a key. Of
// several uploads of a key at the end of a page some may be passed over: they
// are there the next time, when those before them are gone.
func (w *sweep) place(ctx context.Context, p place) {
	marker := ""
	for {
		page, err := p.store.listUploads(ctx, p, marker, w.sink.sweepPage)
		if err == nil && page.at.IsZero() && len(page.uploads) > 0 {
			err = failure("ListMultipartUploads", target{p.bucket, p.prefix}, errNoDate)
		}
		if err != nil {
			w.failed(err)
			return
		}
		for _, u := range page.uploads {
			if ctx.Err() != nil {
				w.failed(failure("AbortMultipartUpload", target{p.bucket, u.key}, context.Cause(ctx)))
				return
			}
			if u.stale(p, page.at.Add(-w.age)) {
				w.abort(ctx, p.store, target{p.bucket, u.key}, u.id)
			}
		}
		if !page.more {
			return
		}
		if page.next <= marker {
			w.failed(failure("ListMultipartUploads", target{p.bucket, p.prefix}, errNoProgress))
			return
		}
		marker = page.next
	}
}

// abort aborts one upload. Nothing of it is in flight any more, so that once is
// enough. An upload that is not there has been aborted, by an attempt whose
// answer was lost or by another process that sweeps.
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
