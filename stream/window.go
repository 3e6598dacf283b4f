package stream

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"spillway/internal/account"
	"spillway/stream/budget"
)

const (
	// windowSize is how much of an archive is in memory at once, in bytes: room
	// for a zip header with the longest name and extra fields, and for a prefix to
	// search.
	windowSize = 128 << 10

	// LookBack is how many bytes before the cursor of a [Window] stay in memory.
	LookBack = 20
)

// A Window reads an archive as it arrives, with a cursor that moves forward. Bytes
// behind the cursor are gone, and nothing is written to disk, until [Window.Hold] is
// called. From then on, the cursor can move anywhere behind the place where it was
// then.
//
// A Window belongs to the goroutine that reads the archive. Its methods return
// [ErrCutOff] where the archive ends too early.
type Window struct {
	ctx    context.Context
	r      io.Reader
	share  *budget.Share
	turn   *budget.Turn
	offset int64 // of the cursor, from the start of the archive

	buf    []byte
	at     int // of the cursor in buf
	filled int // buf[at:filled] is next

	// once it holds
	held   bool
	origin int64 // offset of the first byte that is held
	length int64 // how many are
	file   *budget.File
	read   int64 // offset in file of the byte behind buf[:filled]
}

func newWindow(ctx context.Context, r io.Reader, share *budget.Share, t *budget.Turn) *Window {
	return &Window{ctx: ctx, r: r, share: share, turn: t, buf: make([]byte, windowSize)}
}

// Offset is where the cursor is, in bytes from the start of the archive.
func (w *Window) Offset() int64 { return w.offset }

// Holds reports whether Hold has been called, and offset is not before the bytes that
// are held.
func (w *Window) Holds(offset int64) bool { return w.held && offset >= w.origin }

// source reads the archive from its client. It tells failures from the end, stops when
// its context ends, and measures the time that it waits for the client.
type source struct {
	ctx   context.Context
	r     io.Reader
	share *budget.Share
	turn  *budget.Turn // of the goroutine that reads
	n     atomic.Int64 // bytes read
	err   error        // anything but the clean end
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
		return 0, s.err
	}
	resume := s.turn.Pause()
	arrived := s.share.AwaitClient()
	n, err := s.r.Read(p)
	arrived(n)
	resume()
	s.n.Add(int64(n))
	if err != nil {
		s.share.AllArrived()
	}
	if err != nil && err != io.EOF {
		s.err = &SourceError{Err: err}
		err = s.err
	}
	return n, err
}

// Peek returns the next n bytes without consuming them, and fewer only at the end of
// the archive. They are valid until the next call. n is at most 127 KiB.
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

// fill waits for at least one more byte. The error is io.EOF at the end.
func (w *Window) fill() error {
	if w.held && w.file == nil {
		return io.EOF // all of it is in buf
	}
	if w.filled == len(w.buf) || w.at == w.filled {
		keep := max(0, w.at-LookBack)
		w.filled = copy(w.buf, w.buf[keep:w.filled])
		w.at -= keep
	}
	var (
		n   int
		err error
	)
	if w.held {
		resume := w.turn.Pause()
		done := w.waitForDisk()
		n, err = w.file.Read(w.ctx, w.buf[w.filled:w.filled+int(min(int64(len(w.buf)-w.filled), w.length-w.read))], w.read)
		done()
		resume()
		w.read += int64(n)
		if n == 0 && err == nil {
			err = io.EOF
		}
	} else {
		n, err = w.arrive()
	}
	w.filled += n
	if n > 0 {
		return nil
	}
	return err
}

// arrive reads from the source into the room behind filled.
func (w *Window) arrive() (int, error) {
	for range maxEmptyReads {
		if n, err := w.r.Read(w.buf[w.filled:]); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// maxEmptyReads is how often in a row a reader may return nothing.
const maxEmptyReads = 100

// Need is Peek for bytes that must be there.
func (w *Window) Need(n int) ([]byte, error) {
	b, err := w.Peek(n)
	if err == nil && len(b) < n {
		err = ErrCutOff
	}
	return b, err
}

// buffered returns the bytes that are in memory, at least one and at most limit. It
// waits only if there is none.
func (w *Window) buffered(limit int64) ([]byte, error) {
	if _, err := w.Need(1); err != nil {
		return nil, err
	}
	return w.buf[w.at : w.at+int(min(int64(w.filled-w.at), limit))], nil
}

// Skip consumes n bytes that peek, need or buffered returned.
func (w *Window) Skip(n int) {
	w.at += n
	w.offset += int64(n)
}

// Before returns the last n bytes consumed, at most LookBack; fewer at the
// start of the archive, or of what is held.
func (w *Window) Before(n int) []byte { return w.buf[max(0, w.at-n):w.at] }

// moveTo consumes n bytes into b, which has the room; ErrCutOff if the archive
// ends before.
func (w *Window) moveTo(b *budget.Buffer, n int64) error {
	for n > 0 {
		next, err := w.buffered(n)
		if err != nil {
			return err
		}
		if _, err := b.Write(next); err != nil {
			return err
		}
		w.Skip(len(next))
		n -= int64(len(next))
	}
	return nil
}

// Hold reads the archive to its end and keeps everything from the cursor on:
// in memory where that suffices, otherwise on the disk. size is how many bytes
// the archive has at the most, 0 if that is not known. The error is a
// [*budget.QuotaError], a [*budget.DiskError], or one of the source.
func (w *Window) Hold(size int64) error {
	w.filled = copy(w.buf, w.buf[w.at:w.filled])
	w.at = 0
	w.origin = w.offset
	for {
		if w.filled == len(w.buf) {
			if err := w.overflow(size); err != nil {
				return err
			}
		}
		n, err := w.arrive()
		w.filled += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	w.held, w.length = true, int64(w.filled)
	if w.file == nil {
		return nil
	}
	defer w.waitForDisk()()
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
		file, err := w.share.HoldOnDisk(w.ctx, max(0, size-w.origin))
		if err != nil {
			return err
		}
		w.file = file
	}
	defer w.waitForDisk()()
	if err := w.file.Write(w.ctx, w.buf); err != nil {
		return err
	}
	w.filled = 0
	return nil
}

// waitForDisk switches the upload's account to the disk, until done is called.
func (w *Window) waitForDisk() (done func()) {
	before := w.share.Account().Switch(account.OnDisk)
	return func() { w.share.Account().Switch(before) }
}

// SeekTo puts the cursor of a window that holds at offset. It reports false if
// that is outside of what is held.
func (w *Window) SeekTo(offset int64) bool {
	if offset < w.origin || offset > w.origin+w.length {
		return false
	}
	at := int64(w.at) + offset - w.offset
	if w.file == nil || at >= 0 && at <= int64(w.filled) {
		w.at = int(at)
	} else {
		w.at, w.filled = 0, 0
		w.read = offset - w.origin
	}
	w.offset = offset
	return true
}

// End is the offset of the archive's end, and Origin that of the first byte that
// is held. The window holds.
func (w *Window) End() int64 { return w.origin + w.length }

// Origin is described at End.
func (w *Window) Origin() int64 { return w.origin }

// onDisk reports whether the rest of the archive is in a spill file.
func (w *Window) onDisk() bool { return w.held && w.file != nil }

// body returns a body of head, the next n bytes, and tail. The n bytes stay on disk.
func (w *Window) body(head []byte, n int64, tail []byte) Body {
	return w.file.Body(head, w.offset-w.origin, n, tail)
}

// Pass says that nothing before the cursor is wanted any more, but by bodies.
func (w *Window) Pass() error {
	if w.file == nil {
		return nil
	}
	return w.file.Pass(w.ctx, w.offset-w.origin)
}

// close deletes what is on the disk, except for bodies.
func (w *Window) close() {
	if w.file != nil {
		w.file.Close()
	}
}

// entryReader reads the compressed bytes of one entry as they arrive. It consumes
// nothing of what follows them.
type entryReader struct {
	in   *Window
	left int64     // bytes that may still be read
	tee  io.Writer // gets the entry's bytes; may be nil
	n    int64     // bytes consumed

	pending int   // bytes returned, but not consumed yet
	err     error // what reading the archive or tee failed with
}

func (r *entryReader) Read(p []byte) (int, error) {
	if r.consume(r.pending); r.err != nil {
		return 0, r.err
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	next, err := r.in.buffered(min(r.left, int64(len(p))))
	if err != nil {
		r.err = err
		return 0, err
	}
	r.pending = copy(p, next)
	return r.pending, nil
}

// end consumes what was read, except the last surplus bytes.
func (r *entryReader) end(surplus int) error {
	r.consume(r.pending - surplus)
	return r.err
}

func (r *entryReader) consume(n int) {
	r.pending = 0
	if r.err != nil || n == 0 {
		return
	}
	if r.tee != nil {
		b, _ := r.in.Peek(n) // it is there
		if _, r.err = r.tee.Write(b); r.err != nil {
			return
		}
	}
	r.in.Skip(n)
	r.n += int64(n)
	r.left -= int64(n)
}
