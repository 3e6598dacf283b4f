package s3sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"spillway/stream"
)

// What every S3 server says of what it has stored. An answer without it is
// somebody else's, who has stored nothing.
var (
	errNoETag     = errors.New("s3: the answer has no ETag")
	errNoUploadID = errors.New("s3: the answer has no upload ID")
)

var (
	// errNoUpload says that there is no multipart upload of that identifier: it has
	// been completed or aborted.
	errNoUpload = errors.New("s3: no such upload")

	// errNoCredentials says that there are no credentials to sign a request with.
	errNoCredentials = errors.New("s3: no credentials")

	// errDiffers says that an object does not read back as it was written.
	errDiffers = errors.New("s3: the object reads back differently from what was written")
)

// Codes of failures for which S3 gave none of its own.
const (
	codeTimeout       = "no answer in time"
	codeUnreachable   = "no connection"
	codeLost          = "connection lost"
	codeNoCredentials = "no credentials"
	codeDiffers       = "reads back differently"
	codeOther         = "no valid answer"
	codeOutOfTime     = "out of time" // of publishing
)

// failure is the error of an operation that ended with err; nil if that is nil.
func failure(op string, t target, err error) error {
	switch {
	case err == nil:
		return nil
	case hasCode(err, "NoSuchUpload"):
		err = fmt.Errorf("%w: %w", errNoUpload, err)
	}
	return &stream.StoreError{Op: op, Key: t.key, Code: codeOf(err), Err: err}
}

// hasCode reports whether S3 answered with that error code (S3 API Reference,
// "Error responses"). Not every operation has a Go type for it.
func hasCode(err error, code string) bool {
	answered, ok := errors.AsType[smithy.APIError](err)
	return ok && answered.ErrorCode() == code
}

// validCode is what error codes look like. They come from outside and go into
// messages.
var validCode = regexp.MustCompile(`^[A-Za-z0-9.]{1,64}$`)

// codeOf is the error code that S3 answered with, or one of ours.
func codeOf(err error) string {
	// The answer is looked at before the end of ctx: it says more.
	if answered, ok := errors.AsType[smithy.APIError](err); ok {
		if code := answered.ErrorCode(); validCode.MatchString(code) && code != "UnknownError" {
			return code
		}
	}
	if answered, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && answered.HTTPStatusCode() >= http.StatusBadRequest {
		return fmt.Sprint("HTTP ", answered.HTTPStatusCode())
	}
	_, slow := errors.AsType[*slowError](err)
	timeout, isNet := errors.AsType[net.Error](err)
	dial, isOp := errors.AsType[*net.OpError](err)
	_, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, errNoCredentials):
		return codeNoCredentials
	case errors.Is(err, errDiffers):
		return codeDiffers
	case isDNS, isOp && dial.Op == "dial":
		return codeUnreachable
	case slow, errors.Is(err, context.DeadlineExceeded), isNet && timeout.Timeout():
		return codeTimeout
	case isOp, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return codeLost
	}
	return codeOther
}
