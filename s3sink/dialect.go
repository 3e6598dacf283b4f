package s3sink

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"spillway/internal/s3event"
	"spillway/stream"
)

// dialect is what stores differ in, as far as one bucket has shown it. Nothing here depends
// on a store's name: the probe and the sweep ask the store, and each answer is checked.
type dialect struct {
	checksum atomic.Int32 // a checksum; wholeCRC32 until a probe has found out
	found    atomic.Bool  // a probe has found out
	doubted  atomic.Bool  // the store has refused what may be its checksum
	listing  atomic.Int32 // a listingKind
}

// checksum is how a store checks the bytes that it gets. The lower ones are better.
type checksum int32

const (
	wholeCRC32 checksum = iota // the CRC-32 of each body, and of the whole object on completion
	partCRC32                  // the CRC-32 of each body
	contentMD5                 // the header Content-MD5 of each body
	etagMD5                    // the store checks nothing, but its ETags are the MD5 of the bodies
)

// checksums are all kinds, the best one first.
var checksums = []checksum{wholeCRC32, partCRC32, contentMD5, etagMD5}

// String says how the store checks bodies, for people.
func (c checksum) String() string {
	return [...]string{"the CRC-32 of each object", "the CRC-32 of each part", "Content-MD5", "comparing ETags with MD5s, since the store checks nothing itself"}[c]
}

// event returns the kind as metrics and the log have it.
func (c checksum) event() s3event.Checksum {
	return [...]s3event.Checksum{s3event.WholeCRC32, s3event.PartCRC32, s3event.ContentMD5, s3event.ETagMD5}[c]
}

// isCRC32 reports whether bodies are sent with their CRC-32.
func (c checksum) isCRC32() bool { return c <= partCRC32 }

// Checksums says in one line by what the buckets check the bytes of uploads. It is empty
// before the first probe that went well.
func (s *Sink) Checksums() string {
	regular, try := &s.regular.store.dialect, &s.try.store.dialect
	if !regular.found.Load() || !try.found.Load() {
		return ""
	}
	by, tryBy := checksum(regular.checksum.Load()), checksum(try.checksum.Load())
	if by == tryBy {
		return fmt.Sprintf("What arrives in S3 is checked by %v.", by)
	}
	return fmt.Sprintf("What arrives in S3 is checked by %v; of try symbols, by %v.", by, tryBy)
}

// doubt has the next upload or probe find out anew which checksum the store takes, if err may
// be a refusal of the present one.
func (d *dialect) doubt(err error) {
	if refusesChecksum(err) {
		d.doubted.Store(true)
	}
}

// learn records the best checksum that the store takes. It reports whether that is news.
func (d *dialect) learn(c checksum) (news bool) {
	d.doubted.Store(false)
	changed := checksum(d.checksum.Swap(int32(c))) != c
	return !d.found.Swap(true) || changed
}

// otherRefusals are codes of a 400 that have to do with neither checksums nor anything else
// that a request says of its body.
var otherRefusals = []string{
	"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "AuthorizationHeaderMalformed", "AuthorizationQueryParametersError",
	"RequestTimeout", "RequestTimeTooSkewed", "InvalidBucketName", "KeyTooLongError", "EntityTooSmall", "EntityTooLarge", "IncompleteBody",
}

// refusesChecksum reports whether err may say that the store does not take a checksum, or does
// not check it. Stores say so with many codes: InvalidArgument (Backblaze B2, OVH),
// NotImplemented (Cloudflare R2), InvalidRequest, BadRequest (Ceph), MissingContentMD5. All
// have the status 400 or 501.
func refusesChecksum(err error) bool {
	if errors.Is(err, errUnchecked) || errors.Is(err, errOtherChecksum) {
		return true
	}
	if failed, ok := errors.AsType[*stream.StoreError](err); ok && (failed.Op == "HeadObject" || failed.Code == codeNoCredentials) {
		return false // no checksum was sent
	}
	answered, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok {
		return false
	}
	switch answered.HTTPStatusCode() {
	case http.StatusNotImplemented:
		return true
	case http.StatusBadRequest:
		refused, ok := errors.AsType[smithy.APIError](err)
		return !ok || !slices.Contains(otherRefusals, refused.ErrorCode())
	}
	return false
}
