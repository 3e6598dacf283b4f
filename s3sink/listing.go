package s3sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"spillway/stream"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// listing is a page of unfinished multipart uploads.
type listing struct {
	uploads []unfinishedUpload
	next    string    // marker of the next page
	more    bool      // there is a next page
	at      time.Time // when the store listed them, by its clock; zero: not known
}

// first returns the ID of the first upload; empty if there is none.
func (l *listing) first() string {
	if len(l.uploads) == 0 {
		return ""
	}
	return l.uploads[0].id
}

// listUploads lists up to limit unfinished multipart uploads in t's bucket whose keys begin
// with t's and are after marker.
func (s *store) listUploads(ctx context.Context, t target, marker string, limit int32) (listing, error) {
	ctx, done := s.operation(ctx, 0)
	defer done()
	out, err := s.api.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{
		Bucket: &t.bucket, Prefix: optional(t.key), KeyMarker: optional(marker), MaxUploads: &limit,
	})
	if err != nil {
		return listing{}, failure("ListMultipartUploads", t, tooLong(ctx, err))
	}
	page := listing{next: aws.ToString(out.NextKeyMarker), more: aws.ToBool(out.IsTruncated)}
	page.at, _ = awsmiddleware.GetServerTime(out.ResultMetadata)
	for _, u := range out.Uploads {
		page.uploads = append(page.uploads, unfinishedUpload{aws.ToString(u.Key), aws.ToString(u.UploadId), aws.ToTime(u.Initiated)})
	}
	if n := len(page.uploads); page.next == "" && n > 0 {
		page.next = page.uploads[n-1].key
	}
	return page, nil
}

// listedObject is an object in a list.
type listedObject struct {
	key  string
	size int64 // bytes
}

// objectPage is a page of a list of objects.
type objectPage struct {
	objects []listedObject // in order
	next    string         // token of the next page; empty: the store has none
	more    bool           // there is a next page
}

// listObjects lists objects in t's bucket whose keys begin with t's and are after that one,
// in order. next is the token of the page; empty: the first one.
func (s *store) listObjects(ctx context.Context, t target, after, next string) (page objectPage, err error) {
	ctx, done := s.operation(ctx, 0)
	defer done()
	if next != "" {
		after = "" // the token says it
	}
	out, err := s.api.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket: &t.bucket, Prefix: &t.key, StartAfter: optional(after), ContinuationToken: optional(next),
	})
	if err != nil {
		return page, failure("ListObjectsV2", t, tooLong(ctx, err))
	}
	page = objectPage{next: aws.ToString(out.NextContinuationToken), more: aws.ToBool(out.IsTruncated)}
	for _, o := range out.Contents {
		if key := aws.ToString(o.Key); strings.HasPrefix(key, t.key) {
			page.objects = append(page.objects, listedObject{key, aws.ToInt64(o.Size)})
		}
	}
	return page, nil
}

// listingKind is how a store lists unfinished uploads.
type listingKind int32

const (
	listingUnknown listingKind = iota
	listsByPrefix              // as S3 does
	listsWholeOnly             // all of the bucket, or those of exactly one key, as MinIO does
)

// errUnlisted says that a store does not list an upload that has just begun. Nothing can be
// swept there.
var errUnlisted = errors.New("s3: the store does not list an unfinished upload that is there")

// listedKey returns what the keys of a list of p's uploads begin with. first is the first page
// of the list of those under p's prefix. An empty one is no evidence: so listedKey begins an
// upload, once, and sees whether it is listed.
func (p destination) listedKey(ctx context.Context, first listing) (string, error) {
	d := &p.store.dialect
	if len(first.uploads) > 0 || first.more || p.prefix == "" {
		d.listing.CompareAndSwap(int32(listingUnknown), int32(listsByPrefix))
	}
	if listingKind(d.listing.Load()) == listingUnknown {
		found, err := p.findListing(ctx)
		if err != nil {
			return "", err
		}
		d.listing.Store(int32(found))
	}
	if listingKind(d.listing.Load()) == listsWholeOnly {
		return "", nil
	}
	return p.prefix, nil
}

// findListing begins an upload, sees how the store lists it, and aborts it.
func (p destination) findListing(ctx context.Context) (found listingKind, err error) {
	trial, err := beginMultipart(finishSent(ctx), p.store, &p, probeNames.single, attributesOf(stream.AsIs, identity{}), checksum(p.store.dialect.checksum.Load()))
	if err != nil {
		return listingUnknown, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
		defer cancel()
		err = firstError([]error{err, trial.abort(ctx)})
	}()
	key := p.prefix + probeNames.single
	for _, try := range []struct {
		begins string // the keys that are asked for
		shows  listingKind
	}{{key[:len(key)-1], listsByPrefix}, {"", listsWholeOnly}, {key, listsWholeOnly}} {
		page, err := p.store.listUploads(ctx, target{p.bucket, try.begins}, "", maxPage)
		if err != nil {
			return listingUnknown, err
		}
		if slices.ContainsFunc(page.uploads, func(u unfinishedUpload) bool { return u.id == trial.id }) {
			return try.shows, nil
		}
	}
	return listingUnknown, failure("ListMultipartUploads", target{p.bucket, p.prefix}, errUnlisted)
}

// cutListing cuts a list of unfinished uploads that is too long after the last one that is
// whole, and says in it that there are more. MinIO lists all uploads of a bucket at once.
// It returns nil if body is no such list.
func cutListing(body []byte) []byte {
	const end = "</Upload>"
	body = body[:max(0, bytes.LastIndex(body, []byte(end))+len(end))]
	_, key, ok := bytes.Cut(body[max(0, bytes.LastIndex(body, []byte("<Key>"))):], []byte("<Key>"))
	key, _, closed := bytes.Cut(key, []byte("</Key>"))
	if !ok || !closed {
		return nil
	}
	key = slices.Clone(key)
	return fmt.Appendf(body, "<NextKeyMarker>%s</NextKeyMarker><IsTruncated>true</IsTruncated></ListMultipartUploadsResult>", key)
}
