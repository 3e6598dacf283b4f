package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"spillway/internal/account"
)

// maxResumes is how often a download is resumed.
const maxResumes = 5

// A remote is too slow if it averages less than minRate bytes per second over rateWindow.
// Only the time of reads counts.
const (
	minRate    = 256
	rateWindow = time.Minute
)

// A Download reads a file from a remote.
//
// If the connection breaks or stalls, it asks for the rest of the file with a range request.
// The remote must have sent a strong validator, and must prove with it that the file is the
// same; see [validator]. It does so at most five times, and only if something has arrived since
// the last time.
type Download struct {
	fetcher *Fetcher
	ctx     context.Context
	account *account.Account

	url       *url.URL // of the file itself, behind all redirects
	redirects []*url.URL
	size      int64 // -1 if the remote does not state it
	validator validator
	ranges    bool // the remote has not said that it takes no ranges

	answer  *answer // being read
	from    int64   // offset of the answer's first byte
	end     int64   // of the file, as the answer states it; -1 if it does not
	offset  int64   // bytes read
	resumes int
	err     error // sticky, also io.EOF

	waited time.Duration // time of reads in the present rateWindow
	got    int64         // bytes in the present rateWindow
}

// Size returns the size of the file in bytes, or 0 if the remote does not state it.
func (d *Download) Size() int64 { return max(0, d.size) }

// Redirects returns the URLs that redirects led to, in order.
func (d *Download) Redirects() []*url.URL { return d.redirects }

// Resumes returns how often the download was resumed.
func (d *Download) Resumes() int { return d.resumes }

// Close ends the download. It may be called more than once.
func (d *Download) Close() {
	if d.answer != nil {
		d.answer.close()
		d.answer = nil
	}
	if d.err == nil {
		d.err = fs.ErrClosed
	}
}

// begin takes the answer to the first request for the file.
func (d *Download) begin(a *answer) error {
	if a.status != http.StatusOK {
		return &StatusError{URL: Shown(d.url), Status: a.status}
	}
	if err := a.checkEncoding(d.url); err != nil {
		return err
	}
	d.answer, d.size, d.end, d.validator = a, a.length, a.length, newValidator(a.header)
	d.ranges = !strings.EqualFold(strings.TrimSpace(a.header.Get("Accept-Ranges")), "none")
	return nil
}

// Read returns io.EOF only at the end of the whole file. Other errors are the cause of the
// context, and those of [Fetcher.Open] with a [*RemoteError] for a download that broke off.
func (d *Download) Read(p []byte) (int, error) {
	for d.err == nil && len(p) > 0 {
		n, err := d.read(p)
		d.offset += int64(n)
		switch {
		case d.end >= 0 && d.offset > d.end:
			n -= int(d.offset - d.end)
			d.offset, err = d.end, errLength
		case err == io.EOF && d.offset < d.end: //nolint:errorlint // a Reader returns io.EOF unwrapped
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			d.answer.close()
			d.err = d.recover(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, d.err
}

// read reads from the present answer.
func (d *Download) read(p []byte) (int, error) {
	began := time.Now()
	done := d.account.During(account.OnRemote)
	n, err := d.answer.read(p, d.fetcher.idle)
	done()
	d.waited += time.Since(began)
	d.got += int64(n)
	if d.waited < rateWindow {
		return n, err
	}
	slow := d.got < int64(minRate*d.waited/time.Second)
	d.waited, d.got = 0, 0
	if err == nil && slow {
		err = errSlow
	}
	return n, err
}

// recover resumes the download after an error. It returns nil if there is more to read.
func (d *Download) recover(err error) error {
	if err == io.EOF { //nolint:errorlint // a Reader returns io.EOF unwrapped
		return err
	}
	if d.ctx.Err() != nil {
		return context.Cause(d.ctx)
	}
	broken := &RemoteError{URL: Shown(d.url), Reason: reason(err), Offset: d.offset}
	switch {
	case errors.Is(err, errLength) || errors.Is(err, errSlow):
		return broken
	case d.validator.field == "" || !d.ranges:
		broken.Reason += ", and the remote has no ranges of the file or no strong validator for it"
		return broken
	case d.resumes == maxResumes:
		broken.Reason += fmt.Sprintf(", after it had been resumed %d times", d.resumes)
		return broken
	case d.offset == d.from:
		broken.Reason += ", before anything had arrived since the last time"
		return broken
	}
	return d.resume(broken)
}

// resume asks for the rest of the file.
func (d *Download) resume(broken *RemoteError) error {
	// The same URL, and not the first one: a validator holds for one resource only (RFC 9110,
	// section 8.8.1).
	a, err := d.get(d.url, http.Header{
		"Range":    {fmt.Sprintf("bytes=%d-", d.offset)},
		"If-Range": {d.validator.value},
	})
	if err != nil {
		return err
	}
	end, err := d.checkRest(a)
	if err != nil {
		a.close()
		broken.Reason += ", and it cannot be resumed: " + err.Error()
		return broken
	}
	if err := a.checkEncoding(d.url); err != nil {
		a.close()
		return err
	}
	d.answer, d.from, d.end = a, d.offset, end
	d.resumes++
	return nil
}

// checkRest checks that an answer is exactly the rest of the same file (RFC 9110, sections
// 13.1.5, 14.4 and 15.3.7). It returns the end of the file.
func (d *Download) checkRest(a *answer) (end int64, err error) {
	if a.status == http.StatusOK {
		return 0, errors.New("the file has changed, or the remote has no ranges of it")
	}
	if a.status != http.StatusPartialContent {
		return 0, fmt.Errorf("status %d", a.status)
	}
	first, last, size, ok := parseContentRange(a.header.Get("Content-Range"))
	if !ok || len(a.header["Content-Range"]) != 1 {
		return 0, errors.New("the remote does not say which range it sends")
	}
	if size < 0 {
		size = d.end // the range may have no total
	}
	if first != d.offset || last != size-1 || d.end >= 0 && size != d.end {
		return 0, errors.New("the remote sends another range")
	}
	if a.length >= 0 && a.length != last-first+1 {
		return 0, errors.New("the remote sends a range of another length than it says")
	}
	if d.validator.contradicts(a.header) {
		return 0, errors.New("the file has changed")
	}
	return size, nil
}

// parseContentRange parses a Content-Range such as "bytes 100-199/1000" (RFC 9110, section
// 14.4). size is -1 if it is not known.
func parseContentRange(text string) (first, last, size int64, ok bool) {
	unit, rest, _ := strings.Cut(text, " ")
	span, total, found := strings.Cut(rest, "/")
	from, to, dash := strings.Cut(span, "-")
	if !strings.EqualFold(unit, "bytes") || !found || !dash {
		return 0, 0, 0, false
	}
	number := func(digits string) int64 {
		n, err := strconv.ParseUint(digits, 10, 63)
		if err != nil {
			ok = false
		}
		return int64(n)
	}
	ok = true
	first, last, size = number(from), number(to), -1
	if total != "*" {
		size = number(total)
	}
	return first, last, size, ok && first <= last && (size < 0 || last < size)
}
