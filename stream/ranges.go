package stream

import (
	"context"
	"errors"
	"io"

	"spillway/stream/budget"
)

// A RangeReader is an archive of which any range can be read. If the reader that [Read] is given
// is one, it need not be read as a whole.
type RangeReader interface {
	io.Reader

	// Size is the size of the archive in bytes.
	Size() int64

	// Range has the following calls of Read return the bytes of the archive from one offset up
	// to another, and then io.EOF. If the source has no ranges of the archive any more, their
	// error is an [ErrRanges].
	Range(from, to int64)

	// Rewind has the following calls of Read return the whole archive from its start. It may
	// be another one than before. size is the most bytes that it can have, or 0 if that is not
	// known. Rewind is called at most once, and Range is not called after it.
	Rewind() (size int64, err error)
}

// ErrRanges says that a [RangeReader] has no ranges of the archive any more, because the archive
// or the source has changed.
var ErrRanges = errors.New("stream: the source gives no more ranges of the archive")

// RangeCost is what a new range costs, in bytes that can be read meanwhile: a gap between two
// ranges that is not larger is read through. A round trip to a server far away takes 20 ms or
// more, and its answer may take as long again; at 10 MB/s, that is 256 KiB and more.
const RangeCost = 256 << 10

// ranges reads an archive at any offset.
type ranges struct {
	src     *client
	size    int64 // of the archive, in bytes
	at, end int64 // of the range that is read, without what has been read of it
}

// begin begins the range from one offset up to another, unless it is what is left of the
// present one.
func (r *ranges) begin(from, to int64) {
	if to = min(to, r.size); r.at != from || r.end != to {
		r.at, r.end = from, to
		r.src.ranged.Range(from, to)
	}
}

// read reads at least one byte at an offset, which is not before those that have been read of the
// range unless it begins another. It returns io.EOF at the end of the archive.
func (r *ranges) read(p []byte, offset int64) (int, error) {
	if offset == r.size {
		return 0, io.EOF
	}
	if offset < r.at || offset >= r.end {
		r.begin(offset, offset+int64(len(p)))
	}
	for r.at < offset {
		if _, err := r.next(p[:min(int64(len(p)), offset-r.at)]); err != nil {
			return 0, err
		}
	}
	return r.next(p[:min(int64(len(p)), r.end-r.at)])
}

// next reads the next bytes of the range, at least one.
func (r *ranges) next(p []byte) (int, error) {
	n, err := readSome(r.src, p)
	if r.at += int64(n); n > 0 {
		r.src.n.Store(r.at)
		return n, nil
	}
	if err == io.EOF { //nolint:errorlint // a Reader returns io.EOF unwrapped
		err = &SourceError{Err: io.ErrUnexpectedEOF}
	}
	return 0, err
}

// RangeWindow returns a window over the whole archive, whose cursor can be moved anywhere, or nil
// if the archive is not a [RangeReader]. It is called at most once, before anything else. The
// pipeline closes the window.
func (p *Pipeline) RangeWindow() *Window {
	ranged, ok := p.archive.r.(RangeReader)
	if !ok {
		return nil
	}
	p.archive.ranged = ranged
	w := p.Window(p.archive)
	w.ranges = &ranges{src: p.archive, size: ranged.Size()}
	w.spilled, w.length = true, w.ranges.size
	return w
}

// Restart forgets everything that has been read through the window of [Pipeline.RangeWindow],
// because of err, so that [Pipeline.Source] is the whole archive again. size is the most bytes
// that it can have, or 0 if that is not known. If the archive is not at fault and its source has
// not changed, Restart returns err.
func (p *Pipeline) Restart(err error) (size int64, _ error) {
	if !mayRestart(err) {
		return 0, err
	}
	p.lookups.stop()
	p.workers.wait()
	if p.ctx.Err() != nil {
		return 0, context.Cause(p.ctx)
	}
	p.drop(true)
	if p.created == 0 {
		p.share.Shrink(p.table) // else the sink keeps names
	}
	p.table, p.entries, p.names, p.lookups = 0, Table[entryRef]{}, names{}, nil
	p.expansion.reset()
	p.passed.Store(0)
	p.rules.Progress.note(func(r *Report) { *r = Report{} })
	p.archive.err = nil
	p.archive.n.Store(0)
	ranged := p.archive.ranged
	p.archive.ranged = nil
	if size, err = ranged.Rewind(); err != nil {
		p.archive.err = &SourceError{Err: err}
		return 0, p.archive.err
	}
	return size, nil
}

// mayRestart reports whether it may help to read the archive from its start after err: not if
// there is no room, or if the source or the store has failed.
func mayRestart(err error) bool {
	if _, ok := errors.AsType[*SourceError](err); ok {
		return errors.Is(err, ErrRanges)
	}
	_, noRoom := errors.AsType[*budget.NoRoomError](err)
	_, noSpace := errors.AsType[*budget.QuotaError](err)
	_, broken := errors.AsType[*budget.DiskError](err)
	_, store := errors.AsType[*StoreError](err)
	return !noRoom && !noSpace && !broken && !store
}
