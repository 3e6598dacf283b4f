package s3sink

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"spillway/stream"
)

// Every S3 server returns these when it has stored something. An answer without them comes
// from something else, e.g. a proxy.
var (
	errNoETag     = errors.New("s3: the answer has no ETag")
	errNoUploadID = errors.New("s3: the answer has no upload ID")
)

var (
	// errNoUpload says that there is no multipart upload with that ID: it has been
	// completed or aborted.
	errNoUpload = errors.New("s3: no such upload")

	// errNoCredentials says that there are no credentials to sign requests with.
	errNoCredentials = errors.New("s3: no credentials")

	// errDiffers says that an object that was read back differs from what was written.
	errDiffers = errors.New("s3: the object differs from what was written")

	// errNotStored says that an object is not there, or is another one, although the
	// store said that it had written it.
	errNotStored = errors.New("s3: the object is not there as it was written")
)

// Codes for failures without an S3 error code. See also connection.go.
const (
	codeNoCredentials = "no credentials"
	codeDiffers       = "reads back differently"
	codeMetadata      = "metadata lost"
	codeNotStored     = "not there after it was written"
	codeUnchecked     = "no checksum"
	codeOutOfTime     = "out of time" // of publishing
)

// failure returns err as the error of an operation; nil if err is nil.
func failure(op string, t target, err error) error {
	switch {
	case err == nil:
		return nil
	case hasCode(err, "NoSuchUpload"):
		err = fmt.Errorf("%w: %w", errNoUpload, err)
	}
	return &stream.StoreError{Op: op, Key: t.key, Code: codeOf(err), Err: err}
}

// withCode returns the error of an operation with another code.
func withCode(err error, code string) error {
	failed, ok := errors.AsType[*stream.StoreError](err)
	if !ok {
		return err
	}
	return &stream.StoreError{Op: failed.Op, Key: failed.Key, Code: code, Err: failed.Err}
}

// hasCode reports whether S3 answered with that error code (S3 API Reference, "Error
// responses"). The SDK has no Go types for the errors of some operations.
func hasCode(err error, code string) bool {
	answered, ok := errors.AsType[smithy.APIError](err)
	return ok && answered.ErrorCode() == code
}

// validCode matches error codes. They come from outside and are used in messages.
var validCode = regexp.MustCompile(`^[A-Za-z0-9.]{1,64}$`)

// codeOf returns S3's error code, or one of ours.
func codeOf(err error) string {
	switch {
	case errors.Is(err, errMetadata):
		return codeMetadata
	case errors.Is(err, errNoCredentials):
		return codeNoCredentials // an answer in err is not S3's
	}
	if ended, ok := errors.AsType[*endedError](err); ok {
		err = ended.last // it says more
	}
	if answered, ok := errors.AsType[smithy.APIError](err); ok {
		if code := answered.ErrorCode(); validCode.MatchString(code) && code != "UnknownError" {
			return code
		}
	}
	if answered, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && answered.HTTPStatusCode() >= http.StatusBadRequest {
		return fmt.Sprint("HTTP ", answered.HTTPStatusCode())
	}
	switch {
	case errors.Is(err, errDiffers):
		return codeDiffers
	case errors.Is(err, errNotStored):
		return codeNotStored
	case errors.Is(err, errUnchecked), errors.Is(err, errOtherChecksum):
		return codeUnchecked
	}
	return connectionCode(err)
}

// isAnswer reports whether err is an answer of S3, or of what is in its place. That of a server
// for credentials is none.
func isAnswer(err error) bool {
	answered, ok := errors.AsType[*smithyhttp.ResponseError](err)
	return ok && !errors.Is(err, errNoCredentials) && answered.HTTPStatusCode() >= http.StatusMultipleChoices // 0: there was none
}
