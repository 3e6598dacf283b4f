package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
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

// A Download reads a file from a remote, from its start to its end, or in ranges: see
// [Download.Range].
//
// If the connection breaks or stalls, it asks for the rest with a range request. The remote
// must have sent a strong validator, and must prove with it that the file is the same; see
// [validator]. It does so at most five times, and only if something has arrived since the last
// time.
type Download struct {
	fetcher *Fetcher
	ctx     context.Context
	account *account.Account

	url       *url.URL // of the file itself, behind all redirects
	redirects []*url.URL
	size      atomic.Int64 // -1 if the remote does not state it
	validator validator
	ranges    bool // the remote has not said that it takes no ranges

	tail  []byte // the last bytes of a file that is read in ranges; nil: it is read from its start
	until int64  // end of the range that is read

	answer  *answer // being read; nil between ranges
	end     int64   // offset at which the answer ends; -1 if it does not state that
	offset  int64   // of the next byte
	resumes int
	err     error // sticky, also io.EOF

	fetched  atomic.Int64 // bytes of all answers
	progress int64        // fetched, when the download was last resumed
	requests int

	waited time.Duration // time of reads in the present rateWindow
	got    int64         // bytes in the present rateWindow
}

// Size returns the size of the file in bytes, or 0 if the remote does not state it.
// Any goroutine may call it.
func (d *Download) Size() int64 { return max(0, d.size.Load()) }

// Fetched returns how many bytes have arrived. Any goroutine may call it.
func (d *Download) Fetched() int64 { return d.fetched.Load() }

// Requests returns how many requests were sent, also those that were redirected.
func (d *Download) Requests() int { return d.requests }

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
	d.answer, d.end, d.offset, d.validator = a, a.length, 0, newValidator(a.header)
	d.size.Store(a.length)
	d.ranges = !strings.EqualFold(strings.TrimSpace(a.header.Get("Accept-Ranges")), "none")
	return nil
}

// Read returns io.EOF only at the end of the whole file, or of the range. Other errors are the
// cause of the context, and those of [Fetcher.Open] with a [*RemoteError] for a download that
// broke off.
func (d *Download) Read(p []byte) (n int, err error) {
	for d.err == nil && len(p) > 0 {
		if d.tail != nil && d.answer == nil {
			if n, err = d.readKnown(p); n > 0 || err != nil {
				return n, err
			}
			if d.err = d.askRange(); d.err != nil {
				break
			}
		}
		n, err = d.read(p)
		d.offset += int64(n)
		switch {
		case d.end >= 0 && d.offset > d.end:
			n -= int(d.offset - d.end)
			d.offset, err = d.end, errLength
		case d.tail != nil && d.offset == d.end:
			d.answer.close()
			d.answer, err = nil, nil
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
	d.fetched.Add(int64(n))
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
	case errors.Is(err, errLength):
		broken.Changed = d.tail != nil
		return broken
	case errors.Is(err, errSlow):
		return broken
	case d.validator.field == "" || !d.ranges:
		broken.Reason += ", and the remote has no ranges of the file or no strong validator for it"
		return broken
	case d.resumes == maxResumes:
		broken.Reason += fmt.Sprintf(", after it had been resumed %d times", d.resumes)
		return broken
	case d.fetched.Load() == d.progress:
		broken.Reason += ", before anything had arrived since the last time"
		return broken
	}
	return d.resume(broken)
}

// resume asks for the rest of the file, or of the range.
func (d *Download) resume(broken *RemoteError) error {
	d.resumes++
	d.progress = d.fetched.Load()
	broken.Reason += ", and it cannot be resumed: "
	if d.tail != nil {
		return d.ask(d.offset, d.end-1, broken)
	}
	return d.ask(d.offset, -1, broken)
}
