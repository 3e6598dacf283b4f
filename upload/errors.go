package upload

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"spillway/internal/answer"
	"spillway/internal/guard"
	"spillway/internal/outcome"
	"spillway/stream"
	"spillway/stream/budget"
	"spillway/tokens"
)

// Why an upload is ended from outside.
var (
	errUploadTimeout = errors.New("upload: it took longer than --upload-timeout")
	errShuttingDown  = errors.New("upload: shutting down")
)

// A tooLargeError says that an archive exceeds --max-upload-size.
type tooLargeError struct {
	limit int64 // bytes of the archive
}

func (e *tooLargeError) Error() string {
	return fmt.Sprintf("upload: an archive of more than %d bytes", e.limit)
}

// verdict is the answer to an upload that ended with an error, and its outcome. Clients look
// for some messages, which the contract fixes. The detail is for people: what was found,
// where, and what to do.
type verdict struct {
	status  int
	outcome outcome.Outcome
	reason  outcome.Reason
	message string
	detail  string
}

// refused returns the verdict on what the client sent. Without a detail, the message says it
// all.
func refused(status int, why outcome.Reason, message, detail string) verdict {
	return verdict{status, outcome.Refused, why, message, cmp.Or(detail, message)}
}

// retryLater returns the verdict for errors that have nothing to do with the archive.
func retryLater(o outcome.Outcome, why outcome.Reason, message string) verdict {
	message += " Nothing is wrong with the upload: trying it again later is safe."
	return verdict{http.StatusServiceUnavailable, o, why, message, message}
}

// defect is the verdict for our own bugs.
var defect = verdict{http.StatusInternalServerError, outcome.Defect, outcome.NoReason, http.StatusText(http.StatusInternalServerError), answer.Defect}

// fixedVerdicts are the verdicts for sentinel errors.
var fixedVerdicts = []struct {
	err error
	verdict
}{
	{tokens.ErrMissing, refused(http.StatusForbidden, outcome.BadToken, "This requires an Auth-Token to authenticate the request",
		"The request has no header Auth-Token. Send the token that you were given in it.")},
	{tokens.ErrUnknown, refused(http.StatusForbidden, outcome.BadToken, "API Token not matched",
		"This server does not know the token in the header Auth-Token. Check that it is complete, and that it is one for this server.")},
	{tokens.ErrExpired, refused(http.StatusForbidden, outcome.BadToken, "API Token found but expired",
		"The token in the header Auth-Token has expired. Ask those who run this server for a new one.")},
	{tokens.ErrForbidden, refused(http.StatusForbidden, outcome.BadToken, "Forbidden",
		"The token in the header Auth-Token may upload neither symbols nor try symbols. Ask those who run this server for one that may.")},
	{tokens.ErrUnchecked, retryLater(outcome.Refused, outcome.Unchecked,
		"The token cannot be checked at the moment: the server that knows it cannot be asked, or too many other tokens are being checked.")},
	{errNotForm, refused(http.StatusBadRequest, outcome.BadForm, "Must be multipart form data with at least one file",
		"The request's Content-Type is not multipart/form-data with a boundary. Send the archive as a file of a form, as curl does with --form symbols.zip=@symbols.zip.")},
	{errNoFile, refused(http.StatusBadRequest, outcome.BadForm, "Must be multipart form data with at least one file",
		"No part of the form has a filename. Send the archive as a file of the form, as curl does with --form symbols.zip=@symbols.zip.")},
	{errTryLate, refused(http.StatusBadRequest, outcome.BadForm, "The field 'try' must come before the archive",
		"The field 'try' comes after the archive, whose entries are on their way by then. Put it first.")},
	{errFormPart, refused(http.StatusBadRequest, outcome.BadForm, "A part of the form has a missing or malformed Content-Disposition header",
		"Each part needs a line such as: Content-Disposition: form-data; name=\"symbols.zip\"; filename=\"symbols.zip\".")},
	{errFormCut, refused(http.StatusBadRequest, outcome.BadForm, "The form ends before its closing boundary",
		"The body ended before the form did. Nothing was stored. Send the form whole, to its closing boundary.")},
	{errUploadTimeout, retryLater(outcome.TimedOut, outcome.TotalTooLong, "The upload took longer than --upload-timeout allows.")},
	{errShuttingDown, retryLater(outcome.ShutDown, outcome.NoReason, "This server is shutting down.")},
}

// maxMessage bounds a message, in bytes. A name that is short enough for a key fits.
const maxMessage = 4096

// verdictOn returns the verdict for err. The length of its texts is bounded, whatever names
// the client chose.
func verdictOn(err error) verdict {
	v := verdictOnAny(err)
	v.message, v.detail = bounded(v.message), bounded(v.detail)
	return v
}

// bounded returns text, without its middle if it is longer than maxMessage.
func bounded(text string) string {
	n := len(text)
	if n <= maxMessage {
		return text
	}
	const head, tail = maxMessage - 1024, 1000
	return strings.ToValidUTF8(text[:head], "") + "[…]" + strings.ToValidUTF8(text[n-tail:], "")
}

// verdictOnAny is the one table from errors to answers. Messages are for clients. They name
// what the client sent and the settings that limit it, and nothing internal.
func verdictOnAny(err error) verdict {
	// First: other errors may be consequences of the panic.
	if _, ok := errors.AsType[*guard.PanicError](err); ok {
		return defect
	}
	for _, f := range fixedVerdicts {
		if errors.Is(err, f.err) {
			return f.verdict
		}
	}
	if v, ok := verdictOnContent(err); ok {
		return v
	}
	if v, ok := verdictOnDownload(err); ok {
		return v
	}
	if _, ok := errors.AsType[*idleError](err); ok {
		return retryLater(outcome.TimedOut, outcome.IdleTooLong, "Nothing of the upload arrived for as long as --idle-timeout allows.")
	}
	if _, ok := errors.AsType[*goneError](err); ok {
		const message = "The upload broke off before its end"
		return verdict{http.StatusBadRequest, outcome.ClientGone, outcome.NoReason, message, "The connection ended, or broke the transfer's framing, before the whole body had come. Nothing was stored."}
	}
	if e, ok := errors.AsType[*slowError](err); ok {
		return retryLater(outcome.TimedOut, outcome.IdleTooLong, fmt.Sprintf("Less than %s of the upload arrived while this server waited %v for it.", size(e.least), e.in))
	}
	if e, ok := errors.AsType[*tokenLimitError](err); ok {
		v := retryLater(outcome.Refused, outcome.TokenBusy, "With this token, "+e.describe()+" are under way already.")
		v.status = http.StatusTooManyRequests
		return v
	}
	if e, ok := errors.AsType[*budget.NoRoomError](err); ok {
		return retryLater(outcome.Refused, outcome.NoRoom, "This server has no room at the moment: "+e.What+".")
	}
	if e, ok := errors.AsType[*budget.QuotaError](err); ok {
		return retryLater(outcome.Refused, outcome.NoSpill, "This server has no room on disk at the moment: "+noQuota(e)+".")
	}
	// Before StoreError: a body on disk that cannot be read fails its request.
	if e, ok := errors.AsType[*budget.DiskError](err); ok {
		if budget.OutOfFiles(e) {
			return retryLater(outcome.Refused, outcome.NoRoom, "This server has no file descriptors left at the moment.")
		}
		return retryLater(outcome.Failed, outcome.DiskFailing, "The disk of this server failed, or does not answer.")
	}
	if _, ok := errors.AsType[*stream.StoreError](err); ok {
		return retryLater(outcome.Failed, outcome.StoreFailed, "The storage behind this server failed.")
	}
	return defect
}

// noQuota says which setting leaves no room on the disk.
func noQuota(e *budget.QuotaError) string {
	if e.Quota == budget.FreeSpace {
		return fmt.Sprintf("%s are free, %s more are needed, and --spill-min-free keeps %s free", size(e.Free), size(e.Need), size(e.Limit))
	}
	return "it would be over " + strings.TrimSuffix(quotaInUse(e), ",")
}

// quotaInUse names a quota's setting, with its value and use. It is not for
// [budget.FreeSpace].
func quotaInUse(e *budget.QuotaError) string {
	if e.Quota == budget.UploadQuota {
		return fmt.Sprintf("--spill-upload-quota, which is %s (%s of it in use, %s more were needed),", size(e.Limit), size(e.InUse), size(e.Need))
	}
	if e.Limit == 0 {
		return "--spill-quota, which is 0 and turns the disk off,"
	}
	return fmt.Sprintf("--spill-quota, which is %s (%s of it in use, %s more were needed),", size(e.Limit), size(e.InUse), size(e.Need))
}
