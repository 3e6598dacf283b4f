package upload

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/dustin/go-humanize"

	"spillway/internal/outcome"
	"spillway/stream"
	"spillway/stream/budget"
	"spillway/stream/zip"
)

// verdictOnContent is the part of the table for what the client sent.
func verdictOnContent(err error) (verdict, bool) {
	if v, ok := verdictOnNames(err); ok {
		return v, true
	}
	if v, ok := verdictOnArchive(err); ok {
		return v, true
	}
	if v, ok := verdictOnForm(err); ok {
		return v, true
	}
	tooMuch := func(format string, args ...any) (verdict, bool) {
		return refused(http.StatusRequestEntityTooLarge, outcome.TooLarge, fmt.Sprintf(format, args...), ""), true
	}
	if e, ok := errors.AsType[*tooLargeError](err); ok {
		return tooMuch("The upload is larger than the %s that --max-upload-size allows. "+
			"Split the archive into several, or ask those who run this server for more.", size(e.limit))
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

// verdictOnNames is the part for the names of the archive and its entries.
func verdictOnNames(err error) (verdict, bool) {
	bad := func(why outcome.Reason, message, detail string) (verdict, bool) {
		return refused(http.StatusBadRequest, why, message, detail), true
	}
	if e, ok := errors.AsType[*extensionError](err); ok {
		detail := "The form's field, or else the file, has to be called after a zip archive: with a name that ends in .zip."
		if e.ofURL {
			detail = "The last part of the URL's path is the archive's name. It has to end in .zip."
		}
		return bad(outcome.BadForm, fmt.Sprintf(`Unrecognized archive file extension "%s"`, e.extension), detail)
	}
	if e, ok := errors.AsType[*snippetError](err); ok {
		return bad(outcome.BadName, fmt.Sprintf("Content of archive file contains the snippet '%s' which is not allowed", e.snippet),
			fmt.Sprintf("Entry '%s': its name contains '%s', which this server does not take. Leave the entry out.", e.name, e.snippet))
	}
	if e, ok := errors.AsType[*patternError](err); ok {
		return bad(outcome.BadName, fmt.Sprintf("Unrecognized file pattern. Should only be <module>/<hex>/<file> or <name>-symbols.txt and nothing else. "+
			"(First unrecognized pattern was '%s')", e.name),
			fmt.Sprintf("Entry '%s': its name is not <module>/<hex>/<file>, such as app.pdb/44E4EC8C2F41492B9369D6B9A059577C2/app.sym. Rename it, or leave it out.", e.name))
	}
	if e, ok := errors.AsType[*nameLengthError](err); ok {
		return bad(outcome.BadName, fmt.Sprintf("Entry '%s': its name is longer than the %d bytes that a key in the storage has room for.", e.name, e.max), "")
	}
	return verdict{}, false
}

// verdictOnArchive is the part for damage, lies and limits of an archive.
func verdictOnArchive(err error) (verdict, bool) {
	bad := func(message, detail string) (verdict, bool) {
		return refused(http.StatusBadRequest, outcome.BadArchive, message, detail), true
	}
	if e, ok := errors.AsType[*stream.ChecksumError](err); ok {
		return bad(fmt.Sprintf("Bad CRC-32 for file '%s'", e.Entry),
			fmt.Sprintf("Entry '%s': its bytes do not have the CRC-32 that the archive states for them. The archive is damaged: make it anew.", e.Entry))
	}
	if e, ok := errors.AsType[*stream.DuplicateError](err); ok {
		return bad(fmt.Sprintf("The zipfile buffer contains two files both called %s and they have difference sizes (%d != %d)", e.Name, e.Later, e.Earlier),
			fmt.Sprintf("Entry '%s' is in the archive twice, with %d and with %d bytes. Keep one of them.", e.Name, e.Earlier, e.Later))
	}
	if e, ok := errors.AsType[*stream.FormatError](err); ok {
		const remedy = " Make the archive anew, with a current version of a common tool."
		if e.Entry == "" {
			return bad("The archive is not valid: "+e.Reason+".", fmt.Sprintf("At byte %d of the archive: %s.", e.Offset, e.Reason)+remedy)
		}
		return bad(fmt.Sprintf("Entry '%s': %s.", e.Entry, e.Reason), fmt.Sprintf("Entry '%s', at byte %d of the archive: %s.", e.Entry, e.Offset, e.Reason)+remedy)
	}
	if e, ok := errors.AsType[*zip.NotZipError](err); ok {
		return bad("File is not a zip file", notZip(e))
	}
	if e, ok := errors.AsType[*stream.LimitError](err); ok {
		return refused(http.StatusRequestEntityTooLarge, outcome.TooLarge, overLimit(e), ""), true
	}
	return verdict{}, false
}

// notZip says why a file is not a zip archive.
func notZip(e *zip.NotZipError) string {
	const remedy = " Check it with unzip -t, and send it whole."
	switch {
	case !e.CutOff:
		return "The file does not begin as a zip archive does: it is another kind of file, or empty. Send a zip archive."
	case e.Entry != "":
		return fmt.Sprintf("The archive is cut off: it ends at byte %d, within entry '%s'.", e.Offset, e.Entry) + remedy
	}
	return fmt.Sprintf("The archive is cut off: it ends at byte %d, without its end of central directory record.", e.Offset) + remedy
}

// verdictOnForm is the part for the form and the request.
func verdictOnForm(err error) (verdict, bool) {
	if e, ok := errors.AsType[*formError](err); ok {
		return refused(http.StatusBadRequest, outcome.BadForm, "The form is malformed",
			fmt.Sprintf("The form does not follow RFC 7578: %v. Send it as curl --form does.", e.err)), true
	}
	if e, ok := errors.AsType[*formLimitError](err); ok {
		return refused(http.StatusRequestEntityTooLarge, outcome.TooLarge,
			fmt.Sprintf("The form has more than the %d %s that are allowed. Send the archive and the field 'try', and nothing else.", e.limit, e.what), ""), true
	}
	if e, ok := errors.AsType[*encodingError](err); ok {
		message := fmt.Sprintf("The part '%s' of the form has the Content-Transfer-Encoding %s. Send its bytes as they are, without that header.", e.part, e.encoding)
		status := http.StatusBadRequest
		if e.part == "" {
			message = fmt.Sprintf("The request has the Content-Encoding %s. Send the form as it is, without that header.", e.encoding)
			status = http.StatusUnsupportedMediaType
		}
		return refused(status, outcome.BadForm, message, ""), true
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
