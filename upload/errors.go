package upload

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/dustin/go-humanize"

	"spillway/internal/guard"
	"spillway/internal/outcome"
	"spillway/stream"
	"spillway/stream/budget"
	"spillway/stream/zip"
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

// verdict is the answer to an upload that ended with an error, and its outcome.
type verdict struct {
	status  int
	outcome outcome.Outcome
	reason  outcome.Reason
	message string
}

func refused(status int, why outcome.Reason, message string) verdict {
	return verdict{status, outcome.Refused, why, message}
}

// retryLater returns the verdict for errors that have nothing to do with the archive.
func retryLater(o outcome.Outcome, why outcome.Reason, message string) verdict {
	return verdict{http.StatusServiceUnavailable, o, why, message + " Nothing is wrong with the upload: trying it again later is safe."}
}

// defect is the verdict for our own bugs.
var defect = verdict{http.StatusInternalServerError, outcome.Defect, outcome.NoReason, http.StatusText(http.StatusInternalServerError)}

// fixedVerdicts are the verdicts for sentinel errors.
var fixedVerdicts = []struct {
	err error
	verdict
}{
	{tokens.ErrMissing, refused(http.StatusForbidden, outcome.BadToken, "This requires an Auth-Token to authenticate the request")},
	{tokens.ErrUnknown, refused(http.StatusForbidden, outcome.BadToken, "API Token not matched")},
	{tokens.ErrExpired, refused(http.StatusForbidden, outcome.BadToken, "API Token found but expired")},
	{tokens.ErrForbidden, refused(http.StatusForbidden, outcome.BadToken, "Forbidden")},
	{errNotForm, refused(http.StatusBadRequest, outcome.BadForm, "Must be multipart form data with at least one file")},
	{errNoFile, refused(http.StatusBadRequest, outcome.BadForm, "Must be multipart form data with at least one file")},
	{errByURL, refused(http.StatusBadRequest, outcome.BadForm, "This server takes no uploads by URL. Send the archive itself, as a file of the form.")},
	{errTryLate, refused(http.StatusBadRequest, outcome.BadForm, "The field 'try' must come before the archive")},
	{errFormPart, refused(http.StatusBadRequest, outcome.BadForm, "A part of the form has a missing or malformed Content-Disposition header")},
	{errFormCut, refused(http.StatusBadRequest, outcome.BadForm, "The form ends before its closing boundary")},
	{zip.ErrNotZip, refused(http.StatusBadRequest, outcome.BadArchive, "File is not a zip file")},
	{errUploadTimeout, retryLater(outcome.TimedOut, outcome.TotalTooLong, "The upload took longer than --upload-timeout allows.")},
	{errShuttingDown, retryLater(outcome.ShutDown, outcome.NoReason, "This server is shutting down.")},
}

// maxMessage bounds a message, in bytes. A name that is short enough for a key fits.
const maxMessage = 4096

// verdictOn returns the verdict for err. The length of its message is bounded, whatever names
// the client chose.
func verdictOn(err error) verdict {
	v := verdictOnAny(err)
	if n := len(v.message); n > maxMessage {
		const head, tail = maxMessage - 1024, 1000
		v.message = strings.ToValidUTF8(v.message[:head], "") + "[…]" + strings.ToValidUTF8(v.message[n-tail:], "")
	}
	return v
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
	if _, ok := errors.AsType[*idleError](err); ok {
		return retryLater(outcome.TimedOut, outcome.IdleTooLong, "Nothing of the upload arrived for as long as --idle-timeout allows.")
	}
	if _, ok := errors.AsType[*goneError](err); ok {
		return verdict{http.StatusBadRequest, outcome.ClientGone, outcome.NoReason, "The upload broke off before its end"}
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

// verdictOnContent is the part of the table for what the client sent.
func verdictOnContent(err error) (verdict, bool) {
	bad := func(why outcome.Reason, format string, args ...any) (verdict, bool) {
		return refused(http.StatusBadRequest, why, fmt.Sprintf(format, args...)), true
	}
	tooMuch := func(format string, args ...any) (verdict, bool) {
		return refused(http.StatusRequestEntityTooLarge, outcome.TooLarge, fmt.Sprintf(format, args...)), true
	}
	if e, ok := errors.AsType[*extensionError](err); ok {
		return bad(outcome.BadForm, `Unrecognized archive file extension "%s"`, e.extension)
	}
	if e, ok := errors.AsType[*snippetError](err); ok {
		return bad(outcome.BadName, "Content of archive file contains the snippet '%s' which is not allowed", e.snippet)
	}
	if e, ok := errors.AsType[*patternError](err); ok {
		return bad(outcome.BadName, "Unrecognized file pattern. Should only be <module>/<hex>/<file> or <name>-symbols.txt and nothing else. "+
			"(First unrecognized pattern was '%s')", e.name)
	}
	if e, ok := errors.AsType[*nameLengthError](err); ok {
		return bad(outcome.BadName, "Entry '%s': its name is longer than the %d bytes that a key in the storage has room for.", e.name, e.max)
	}
	if e, ok := errors.AsType[*stream.ChecksumError](err); ok {
		return bad(outcome.BadArchive, "Bad CRC-32 for file '%s'", e.Entry)
	}
	if e, ok := errors.AsType[*stream.DuplicateError](err); ok {
		return bad(outcome.BadArchive, "The zipfile buffer contains two files both called %s and they have difference sizes (%d != %d)", e.Name, e.Later, e.Earlier)
	}
	if e, ok := errors.AsType[*stream.FormatError](err); ok {
		if e.Entry == "" {
			return bad(outcome.BadArchive, "The archive is not valid: %s.", e.Reason)
		}
		return bad(outcome.BadArchive, "Entry '%s': %s.", e.Entry, e.Reason)
	}
	if _, ok := errors.AsType[*formError](err); ok {
		return bad(outcome.BadForm, "The form is malformed")
	}
	if e, ok := errors.AsType[*formLimitError](err); ok {
		return tooMuch("The form has more than the %d %s that are allowed. Send the archive and the field 'try', and nothing else.", e.limit, e.what)
	}
	if e, ok := errors.AsType[*tooLargeError](err); ok {
		return tooMuch("The upload is larger than the %s that --max-upload-size allows. "+
			"Split the archive into several, or ask those who run this server for more.", size(e.limit))
	}
	if e, ok := errors.AsType[*stream.LimitError](err); ok {
		return tooMuch("%s", overLimit(e))
	}
	if e, ok := errors.AsType[*budget.NoRoomError](err); ok && e.Never {
		return tooMuch("The archive takes more memory than the %s that --memory allows for all uploads together: it needs %s. "+
			"Split it into several, or ask those who run this server for more.", size(e.Limit), e.What)
	}
	if e, ok := errors.AsType[*stream.SpillError](err); ok {
		if quota, ok := errors.AsType[*budget.QuotaError](e); ok && quota.Never {
			return tooMuch("The archive cannot be read while it arrives: %s. To hold it on disk would take more than %s allows. "+
				"Write it with every size in front of the entry (to a file and not to a pipe) and with nothing before, between or after its entries, "+
				"or ask those who run this server for more.", e.Reason, quotaInUse(quota))
		}
	}
	return verdict{}, false
}

func overLimit(e *stream.LimitError) string {
	const remedy = " Split the archive into several, or ask those who run this server for more."
	switch e.What {
	case stream.EntriesBound:
		return fmt.Sprintf("The archive has more than the %d entries that --max-entries allows.", e.Limit) + remedy
	case stream.UncompressedBound:
		return fmt.Sprintf("The archive expands to more than the %s that --max-expanded-size allows.", size(e.Limit)) + remedy
	case stream.DirectoryBound:
		return fmt.Sprintf("The central directory of the archive is longer than the %s that it may have. Leave out comments and extra fields, or split the archive into several.", size(e.Limit))
	}
	if e.What == stream.WorkBound {
		return fmt.Sprintf("Entry '%s': verifying the archive up to here takes too much processor time for its size, more than %d ms for each MB. "+
			"No symbols do. Leave out what is mostly zeros, or compress the archive with deflate.", e.Entry, e.Limit)
	}
	// stream.RatioBound
	what := "The archive"
	if e.Entry != "" {
		what = fmt.Sprintf("Entry '%s'", e.Entry)
	}
	return fmt.Sprintf("%s expands to more than %d times its compressed size, which no symbols do. Leave out what is mostly zeros, or store it without compression.", what, e.Limit)
}

// size formats a number of bytes, rounded and in full.
func size(n int64) string {
	return fmt.Sprintf("%s (%d bytes)", humanize.IBytes(uint64(max(n, 0))), n)
}
