package stream

import (
	"context"
	"errors"
	"io"

	"spillway/internal/account"
	"spillway/stream/budget"
)

const (
	// windowSize is how many bytes of an archive are in memory at once. A zip header
	// with the longest name and extra fields fits, and the end of an archive with
	// the longest comment.
	windowSize = 128 << 10

	// lookBack is how many bytes before the cursor stay in memory.
	lookBack = 20

	// maxEmptyReads is how often in a row a reader may return no bytes and no error.
	maxEmptyReads = 100
)

// A Window shows an archive as it arrives, from a cursor that moves forward. It
// keeps nothing before the cursor and never touches the disk, until
// [Window.Spill]: then the cursor can move anywhere from there on. The cursor of
// [Pipeline.RangeWindow] can move anywhere from the start.
//
// A Window belongs to the goroutine that reads the archive. Where bytes are missing
// because the archive ends, its methods return [ErrCutOff].
type Window struct {
	ctx    context.Context
	r      io.Reader
	share  *budget.Share
	turn   *budget.Turn
	offset int64 // of the cursor in the archive

	buf    []byte
	at     int // of the cursor in buf
	filled int // buf[at:filled] comes next

	// Set by Spill, or for a source that has ranges. Then all bytes are spilled from the
	// start, though they stay where they are.
	spilled bool
	origin  int64        // offset of the first spilled byte in the archive
	length  int64        // spilled bytes
	file    *budget.File // that has the spilled bytes; nil if the source has them, or all are in buf
	ranges  *ranges      // of the source; nil if it has none
	read    int64        // offset of the byte after buf[:filled], from origin
}

// Offset returns the cursor's position in the archive, in bytes.
func (w *Window) Offset() int64 { return w.offset }

// Spilled reports whether the window is spilled, from offset or before.
func (w *Window) Spilled(offset int64) bool { return w.spilled && offset >= w.origin }

// Peek returns the next n bytes without consuming them, or fewer at the end of the
// archive. They are valid until the next call. n is at most 127 KiB.
func (w *Window) Peek(n int) ([]byte, error) {
	for w.filled-w.at < n {
		if err := w.fill(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	return w.buf[w.at:min(w.at+n, w.filled)], nil
}

// fill reads at least one more byte into buf. It returns io.EOF at the end.
func (w *Window) fill() error {
	if w.isWhole() {
		return io.EOF
	}
	if w.filled == len(w.buf) || w.at == w.filled {
		keep := max(0, w.at-lookBack)
		w.filled = copy(w.buf, w.buf[keep:w.filled])
		w.at -= keep
	}
	var (
		n   int
		err error
	)
	switch {
	case w.ranges != nil:
		n, err = w.ranges.read(w.buf[w.filled:], w.read)
		w.read += int64(n)
	case w.spilled:
		resume := w.turn.Pause()
		done := w.share.Account().During(account.OnDisk)
		n, err = w.file.Read(w.ctx, w.buf[w.filled:w.filled+int(min(int64(len(w.buf)-w.filled), w.length-w.read))], w.read)
		done()
		resume()
		w.read += int64(n)
		if n == 0 && err == nil {
			err = io.EOF
		}
	default:
		n, err = readSome(w.r, w.buf[w.filled:])
	}
	w.filled += n
	if n > 0 {
		return nil
	}
	return err
}

// isWhole reports whether all bytes are in buf.
func (w *Window) isWhole() bool { return w.spilled && w.file == nil && w.ranges == nil }

// readSome reads at least one byte into p, or fails.
func readSome(r io.Reader, p []byte) (int, error) {
	for range maxEmptyReads {
		if n, err := r.Read(p); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// PeekAll is [Window.Peek] for bytes that the archive must have.
func (w *Window) PeekAll(n int) ([]byte, error) {
	b, err := w.Peek(n)
	if err == nil && len(b) < n {
		err = ErrCutOff
	}
	return b, err
}

// buffered returns at least one byte and at most limit bytes. It waits only if nothing
// is buffered.
func (w *Window) buffered(limit int64) ([]byte, error) {
	if _, err := w.PeekAll(1); err != nil {
		return nil, err
	}
	return w.buf[w.at : w.at+int(min(int64(w.filled-w.at), limit))], nil
}

// Discard consumes n bytes, which have been peeked.
func (w *Window) Discard(n int) {
	w.at += n
	w.offset += int64(n)
}

// LookBack returns the last n bytes before the cursor, at most 20, or fewer at the start
// of the archive or of the spilled bytes.
func (w *Window) LookBack(n int) []byte { return w.buf[max(0, w.at-n):w.at] }

// copyTo moves n bytes to b, which has the capacity.
func (w *Window) copyTo(b *budget.Buffer, n int64) error {
	for n > 0 {
		next, err := w.buffered(n)
		if err != nil {
			return err
		}
		if _, err := b.Write(next); err != nil {
			return err
		}
		w.Discard(len(next))
		n -= int64(len(next))
	}
	return nil
}

// Spill reads the archive to its end and keeps all bytes from the cursor on. They go
// to the disk if the window's memory is too small. size is the most bytes that the
// archive can have, or 0 if that is not known. The error is a [*budget.QuotaError], a
// [*budget.DiskError], or an error of the archive's reader.
func (w *Window) Spill(size int64) error {
	w.filled = copy(w.buf, w.buf[w.at:w.filled])
	w.at = 0
	w.origin = w.offset
	for {
		if w.filled == len(w.buf) {
			if err := w.overflow(size); err != nil {
				return err
			}
		}
		n, err := readSome(w.r, w.buf[w.filled:])
		w.filled += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	w.spilled, w.length = true, int64(w.filled)
	if w.file == nil {
		return nil
	}
	defer w.share.Account().During(account.OnDisk)()
	if err := w.file.Write(w.ctx, w.buf[:w.filled]); err != nil {
		return err
	}
	w.length = w.file.Size()
	w.filled = 0
	return w.file.Complete(w.ctx)
}

// overflow moves a full buf to the disk.
func (w *Window) overflow(size int64) error {
	if w.file == nil {
		file, err := w.share.SpillFile(w.ctx, max(0, size-w.origin))
		if err != nil {
			return err
		}
		w.file = file
	}
	defer w.share.Account().During(account.OnDisk)()
	if err := w.file.Write(w.ctx, w.buf); err != nil {
		return err
	}
	w.filled = 0
	return nil
}

// SeekTo moves the cursor of a spilled window. It returns false if offset is outside of
// the spilled bytes.
func (w *Window) SeekTo(offset int64) bool {
	if offset < w.origin || offset > w.origin+w.length {
		return false
	}
	at := int64(w.at) + offset - w.offset
	if w.isWhole() || at >= 0 && at <= int64(w.filled) {
		w.at = int(at)
	} else {
		w.at, w.filled = 0, 0
		w.read = offset - w.origin
	}
	w.offset = offset
	if w.ranges != nil {
		w.ranges.src.n.Store(w.read)
	}
	return true
}

// Expect says that the next n bytes will be read, or most of them. If the source has ranges,
// what of them is not in the window is one range.
func (w *Window) Expect(n int64) {
	if to := w.offset + n; w.ranges != nil && to > w.read {
		w.ranges.begin(w.read, to)
	}
}

// Origin returns the offset of the first byte of a spilled window.
func (w *Window) Origin() int64 { return w.origin }

// End returns the offset after the last byte that has arrived. It is the archive's end if
// the window is spilled, or a call has found bytes missing.
func (w *Window) End() int64 {
	if w.spilled {
		return w.origin + w.length
	}
	return w.offset + int64(w.filled-w.at)
}

// onDisk reports whether the rest of the archive is on disk.
func (w *Window) onDisk() bool { return w.spilled && w.file != nil }

// diskBody returns the next n bytes, between head and tail, as a body that stays on
// disk.
func (w *Window) diskBody(head []byte, n int64, tail []byte) Body {
	return w.file.Body(head, w.offset-w.origin, n, tail)
}

// Free gives back the disk space of all bytes before the cursor, except those of bodies.
func (w *Window) Free() error {
	if w.file == nil {
		return nil
	}
	return w.file.Pass(w.ctx, w.offset-w.origin)
}

// close gives back all disk space, except that of bodies.
func (w *Window) close() {
	if w.file != nil {
		w.file.Close()
	}
}
