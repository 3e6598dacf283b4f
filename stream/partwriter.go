package stream

import (
	"context"

	"spillway/internal/account"
	"spillway/stream/budget"
)

// partWriter cuts an object's body into parts.
type partWriter struct {
	ctx   context.Context // a partWriter lives within one call, and io.Writer takes no context
	share *budget.Share
	turn  *budget.Turn // of the goroutine that writes
	obj   Object

	size     int64          // of the body; -1 if it is not known
	part     *budget.Buffer // the part that is being filled; nil if there is none
	parts    int            // passed to obj
	unwanted bool           // the store has the object already
}

// newPartWriter returns a partWriter for the body of an entry. If the body's size is
// known and fits into one part, it is held from the start if there is memory for it.
func newPartWriter(ctx context.Context, share *budget.Share, t *budget.Turn, h *Header, obj Object) *partWriter {
	w := &partWriter{ctx: ctx, share: share, turn: t, obj: obj, size: -1}
	switch {
	case !h.SizeStated:
	case h.Form == AsIs:
		w.size = h.Size
	case h.Form == Gzip && h.Codec == Deflate:
		w.size = gzipHeaderLen + h.CompressedSize + gzipTrailerLen
	}
	if w.size >= 0 && w.mayBeHeld() {
		w.part, _ = share.Hold(int(w.size))
	}
	return w
}

// mayBeHeld reports whether the whole body may fit into one part.
func (w *partWriter) mayBeHeld() bool { return w.parts == 0 && w.size <= int64(w.share.PartSize()) }

// Write waits for memory. It passes a full part to the object once more bytes follow.
func (w *partWriter) Write(p []byte) (int, error) {
	size := len(p)
	for len(p) > 0 && !w.unwanted {
		if w.part != nil && w.part.Left() == 0 {
			if err := w.send(); err != nil {
				return 0, err
			}
			continue
		}
		if w.part == nil {
			resume := w.turn.Pause()
			b, err := w.share.Lease(w.ctx, w.share.PartSize())
			resume()
			if err != nil {
				return 0, err
			}
			w.part = b
		}
		n, ok := w.part.Append(p)
		if !ok {
			resume := w.turn.Pause()
			var err error
			n, err = w.part.Write(p)
			if resume(); err != nil {
				return 0, err
			}
		}
		p = p[n:]
	}
	return size, nil
}

// send passes the full part to the object.
func (w *partWriter) send() error {
	full := w.part
	full.Full()
	w.part = nil
	w.parts++
	defer w.turn.Pause()()
	wanted, err := sendPart(w.ctx, w.share, w.obj, full)
	w.unwanted = !wanted
	return err
}

// sendPart passes a full part, which more of the body follows, to the object. It returns
// false if the store does not want more.
func sendPart(ctx context.Context, share *budget.Share, obj Object, part Body) (wanted bool, err error) {
	defer share.Account().During(account.OnStore)()
	err = transfer(part, func() error {
		wanted, err = obj.Part(ctx, part)
		return err
	})
	return wanted, err
}

// takeRest returns the bytes that have not been passed to the object, for its Commit.
func (w *partWriter) takeRest() Body {
	rest := w.part
	w.part = nil
	if w.unwanted {
		return nil
	}
	if rest == nil {
		rest, _ = w.share.Hold(0)
	}
	rest.Full()
	if w.parts == 0 && !rest.Held() && rest.Memory() > 0 {
		// A small body need not go to the store before publishing, if there is
		// memory to hold it.
		if held, ok := w.share.Hold(int(rest.Size())); ok {
			_, _ = held.Write(rest.Bytes()) // cannot fail: it fits, and is in memory
			held.Full()
			rest.Release()
			rest = held
		}
	}
	return rest
}

// close releases the part that has not been passed to the object.
func (w *partWriter) close() {
	w.part.Release()
	w.part = nil
}

// readBody reads a body of one part, whose size is known: head, n bytes of the archive,
// and tail. The caller releases the buffer.
func readBody(ctx context.Context, share *budget.Share, in *Window, head []byte, n int64, tail []byte) (*budget.Buffer, error) {
	size := len(head) + int(n) + len(tail)
	b, ok := share.Hold(size)
	if !ok {
		var err error
		if b, err = share.Lease(ctx, size); err != nil {
			return nil, err
		}
	}
	full := false
	defer func() {
		if !full {
			b.Release()
		}
	}()
	_, err := b.Write(head)
	if err == nil {
		err = in.copyTo(b, n)
	}
	if err == nil {
		_, err = b.Write(tail)
	}
	if err != nil {
		return nil, err
	}
	b.Full()
	full = true
	return b, nil
}
