package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"spillway/internal/account"
)

// ask asks for the bytes from first to last, or to the end of the file if last is -1, and
// begins to read them. If the remote answers anything else, the error is broken, with the
// reason.
func (d *Download) ask(first, last int64, broken *RemoteError) error {
	header := http.Header{"If-Range": {d.validator.value}}
	if last < 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", first))
	} else {
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", first, last))
	}
	a, err := d.getRange(header)
	if err != nil {
		return err
	}
	end, err := d.checkRange(a, first, last)
	if err != nil {
		a.close()
		broken.Reason += err.Error()
		broken.Changed = d.tail != nil && errors.Is(err, errOther)
		return broken
	}
	if err := a.checkEncoding(d.url); err != nil {
		a.close()
		return err
	}
	d.answer, d.end = a, end
	return nil
}

// askAgain is the pause before a request for a range is repeated.
const askAgain = time.Second

// getRange sends a request for a range. If there is no answer, or one that a retry may cure, it
// sends the request once more: an archive may take many requests, and one failure is not to end
// the upload.
func (d *Download) getRange(header http.Header) (*answer, error) {
	// The same URL, and not the first one: a validator holds for one resource only (RFC 9110,
	// section 8.8.1).
	a, err := d.get(d.url, header.Clone())
	_, unreachable := errors.AsType[*RemoteError](err)
	switch {
	case err == nil && (&StatusError{Status: a.status}).Temporary():
		a.close()
	case unreachable:
	default:
		return a, err
	}
	if err := d.pause(askAgain); err != nil {
		return nil, err
	}
	return d.get(d.url, header)
}

// pause waits. The error is the cause of the download's context.
func (d *Download) pause(pause time.Duration) error {
	defer d.account.During(account.OnRemote)()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-d.ctx.Done():
		return context.Cause(d.ctx)
	}
}

// errOther is an answer that is not the range that was asked for, because the file has changed,
// or the remote gives no ranges of it.
var errOther = errors.New("other than was asked for")

// An otherError is an [errOther] with its reason.
type otherError string

func (e otherError) Error() string        { return string(e) }
func (e otherError) Is(target error) bool { return target == errOther }

// checkRange checks that an answer is exactly the range of the same file that was asked for
// (RFC 9110, sections 13.1.5, 14.4 and 15.3.7). It returns the offset of the range's end. last is
// -1 for the end of the file.
func (d *Download) checkRange(a *answer, first, last int64) (end int64, err error) {
	switch a.status {
	case http.StatusPartialContent:
	case http.StatusOK:
		return 0, otherError("the file has changed, or the remote has no ranges of it")
	case http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
		return 0, otherError(fmt.Sprintf("status %d", a.status))
	default:
		return 0, fmt.Errorf("status %d", a.status)
	}
	got, ok := contentRange(a.header)
	if !ok {
		return 0, otherError("the remote does not say which range it sends")
	}
	known := d.end
	if d.tail != nil {
		known = d.size.Load()
	}
	size := got.size
	if size < 0 {
		size = known // the range may have no total
	}
	end = last + 1
	if last < 0 {
		end = size
	}
	if got.first != first || got.last != end-1 || known >= 0 && size != known {
		return 0, otherError("the remote sends another range")
	}
	if a.length >= 0 && a.length != end-first {
		return 0, otherError("the remote sends a range of another length than it says")
	}
	if d.validator.contradicts(a.header) {
		return 0, otherError("the file has changed")
	}
	if d.tail != nil && a.checkEncoding(d.url) != nil {
		return 0, otherError("the remote has encoded the range")
	}
	return end, nil
}

// byteRange is the range of a file that an answer has.
type byteRange struct {
	first, last int64
	size        int64 // of the file; -1 if it is not known
}

// contentRange parses the Content-Range of a header, such as "bytes 100-199/1000" (RFC 9110,
// section 14.4).
func contentRange(h http.Header) (r byteRange, ok bool) {
	if len(h["Content-Range"]) != 1 {
		return r, false
	}
	unit, rest, _ := strings.Cut(h.Get("Content-Range"), " ")
	span, total, found := strings.Cut(rest, "/")
	from, to, dash := strings.Cut(span, "-")
	if !strings.EqualFold(unit, "bytes") || !found || !dash {
		return r, false
	}
	ok = true
	number := func(digits string) int64 {
		n, err := strconv.ParseUint(digits, 10, 63)
		if err != nil {
			ok = false
		}
		return int64(n)
	}
	r = byteRange{number(from), number(to), -1}
	if total != "*" {
		r.size = number(total)
	}
	return r, ok && r.first <= r.last && (r.size < 0 || r.last < r.size)
}
