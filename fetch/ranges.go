package fetch

import (
	"fmt"
	"io"
	"net/http"
)

// tailHeader returns the header of a request for the last n bytes of a file, or nil for all of
// it.
func tailHeader(n int) http.Header {
	if n == 0 {
		return nil
	}
	return http.Header{"Range": {fmt.Sprintf("bytes=-%d", n)}}
}

// beginTail takes the answer to a request for the last n bytes of the file. It reports whether
// the file can be read in ranges, and closes the answer.
func (d *Download) beginTail(a *answer, n int) bool {
	defer a.close()
	r, ok := contentRange(a.header)
	v := newValidator(a.header)
	if a.status != http.StatusPartialContent || !ok || v.field == "" || a.checkEncoding(d.url) != nil ||
		r.size < 0 || r.last != r.size-1 || r.first != max(0, r.size-int64(n)) || a.length >= 0 && a.length != r.last-r.first+1 {
		return false
	}
	tail := make([]byte, r.last-r.first+1)
	d.answer = a
	defer func() { d.answer = nil }()
	for read := 0; read < len(tail); {
		got, err := d.read(tail[read:])
		if read += got; err != nil && read < len(tail) {
			return false
		}
	}
	d.tail, d.validator, d.ranges = tail, v, true
	d.size.Store(r.size)
	return true
}

// Ranged reports whether the file is read in ranges. Then Size is exact.
func (d *Download) Ranged() bool { return d.tail != nil }

// Range has the following reads return the bytes of the file from one offset up to another,
// and then io.EOF. It sends no request: that is up to the first Read, which needs none for
// what is in the tail. If the remote answers with anything else than that range of the same
// file, the error is a [*RemoteError] that is Changed.
func (d *Download) Range(from, to int64) {
	if d.answer != nil {
		d.answer.close()
		d.answer = nil
	}
	d.offset, d.until = from, to
}

// tailStart returns the offset of the tail.
func (d *Download) tailStart() int64 { return d.size.Load() - int64(len(d.tail)) }

// readKnown reads what needs no request: the tail, and the end of the range.
func (d *Download) readKnown(p []byte) (int, error) {
	if d.offset == d.until {
		return 0, io.EOF
	}
	at := d.offset - d.tailStart()
	if at < 0 {
		return 0, nil
	}
	n := copy(p, d.tail[at:d.until-d.tailStart()])
	d.offset += int64(n)
	return n, nil
}

// askRange asks for what is left of the range and not in the tail.
func (d *Download) askRange() error {
	last := min(d.until, d.tailStart()) - 1
	return d.ask(d.offset, last, &RemoteError{URL: Shown(d.url), Offset: d.offset})
}

// Rewind has the following reads return the whole file from its start, which the remote may have
// changed meanwhile. The error is one of [Fetcher.Open], and sticky.
func (d *Download) Rewind() error {
	d.Range(0, d.size.Load())
	if d.tailStart() == 0 {
		return nil
	}
	d.tail, d.err = nil, nil
	a, err := d.get(d.url, nil)
	if err == nil && a.status != http.StatusOK {
		a.close()
		err = &RemoteError{URL: Shown(d.url), Reason: fmt.Sprintf("status %d", a.status)}
	}
	if err == nil {
		if err = d.begin(a); err != nil {
			a.close()
		}
	}
	d.err = err
	return err
}
