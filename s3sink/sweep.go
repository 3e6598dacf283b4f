package s3sink

import (
	"context"
	"errors"
	"strings"
	"time"

	"spillway/stream"
)

// begun is a multipart upload that the store has not finished.
type begun struct {
	key, id string
	at      time.Time
}

// Sweep aborts the unfinished multipart uploads under the prefixes that were
// begun longer ago than age, whoever began them: those whose processes died, or
// whose create was answered in vain. One that cannot be aborted does not keep
// the others: the error joins the failures, each a [*stream.StoreError].
func (s *Sink) Sweep(ctx context.Context, age time.Duration) (aborted int, err error) {
	before := time.Now().Add(-age)
	var errs []error
	for _, p := range s.sweepPlaces() {
		n, err := s.sweepPlace(ctx, p, before)
		aborted += n
		errs = append(errs, err)
	}
	return aborted, errors.Join(errs...)
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

// sweepPlace goes through the pages of the list of one place. Servers differ in
// how they take the marker of an upload, so that pages begin behind a key. Of
// several uploads of a key at the end of a page some may be passed over: they
// are there the next time, when those before them are gone.
func (s *Sink) sweepPlace(ctx context.Context, p place, before time.Time) (aborted int, err error) {
	var errs []error
	marker := ""
	for {
		page, next, err := s.store.listUploads(ctx, p, marker, s.sweepPage)
		if err != nil {
			return aborted, errors.Join(append(errs, err)...)
		}
		for _, u := range page {
			if !u.at.Before(before) {
				continue
			}
			err := s.store.abort(ctx, target{p.bucket, u.key}, u.id)
			if err != nil && !errors.Is(err, errNoUpload) {
				errs = append(errs, err)
				continue
			}
			aborted++
		}
		if ctx.Err() != nil {
			err := &stream.StoreError{Op: "ListMultipartUploads", Key: p.prefix, Err: context.Cause(ctx)}
			return aborted, errors.Join(append(errs, err)...)
		}
		if next <= marker { // the last page, or a server that does not go on
			return aborted, errors.Join(errs...)
		}
		marker = next
	}
}
