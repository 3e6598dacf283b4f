package stream

import (
	"context"
	"encoding/binary"
	"io"

	"github.com/klauspost/compress/flate"

	"spillway/internal/account"
	"spillway/stream/budget"
)

const (
	gzipHeaderLen  = 10
	gzipTrailerLen = 8

	// gzipLevel is the level that entries are compressed at which do not come
	// deflated.
	gzipLevel = 6
)

// gzipHeader starts a gzip member (RFC 1952, section 2.3) of an unknown time
// and system.
var gzipHeader = [gzipHeaderLen]byte{0x1f, 0x8b, 8, 9: 0xff}

// gzipTrailer ends the gzip member of what was counted.
func gzipTrailer(crc uint32, size int64) (b [gzipTrailerLen]byte) {
	binary.LittleEndian.PutUint32(b[:], crc)
	binary.LittleEndian.PutUint32(b[4:], uint32(size))
	return b
}

// body cuts what is written to it into the parts of an object.
type body struct {
	ctx   context.Context // a body lives within one call, and io.Writer has no room for it
	share *budget.Share
	turn  *budget.Turn // of the goroutine that writes
	obj   Object

	b        *budget.Buffer // the part that is being filled
	parts    int            // handed over
	unwanted bool           // the store has the object already
}

// newBody begins the body of an entry, for obj. Where its size is known and it fits
// into one part, it is held at once if there is room.
func newBody(ctx context.Context, share *budget.Share, t *budget.Turn, h *Header, obj Object) *body {
	w := &body{ctx: ctx, share: share, turn: t, obj: obj}
	size := int64(-1)
	switch {
	case !h.SizeStated:
	case h.Form == AsIs:
		size = h.Size
	case h.Form == Gzip && h.Codec == Deflate:
		size = gzipHeaderLen + h.CompressedSize + gzipTrailerLen
	}
	if size >= 0 && size <= int64(share.PartSize()) {
		w.b, _ = share.Hold(int(size))
	}
	return w
}

// Write waits for room. Once a part is full and more follows it, it goes to
// the object.
func (w *body) Write(p []byte) (int, error) {
	size := len(p)
	for len(p) > 0 && !w.unwanted {
		if w.b != nil && w.b.Left() == 0 {
			full := w.b
			full.Full()
			w.b = nil
			w.parts++
			resume := w.turn.Pause()
			before := w.share.Account().Switch(account.OnStore)
			err := handOver(full, func() error {
				wanted, err := w.obj.Part(w.ctx, full)
				w.unwanted = !wanted
				return err
			})
			w.share.Account().Switch(before)
			resume()
			if err != nil {
				return 0, err
			}
			continue
		}
		if w.b == nil {
			resume := w.turn.Pause()
			b, err := w.share.Lease(w.ctx, w.share.PartSize())
			resume()
			if err != nil {
				return 0, err
			}
			w.b = b
		}
		n, ok := w.b.Append(p)
		if !ok {
			resume := w.turn.Pause()
			var err error
			n, err = w.b.Write(p)
			if resume(); err != nil {
				return 0, err
			}
		}
		p = p[n:]
	}
	return size, nil
}

// rest returns what has not been handed over, for the object's Commit.
func (w *body) rest() Body {
	rest := w.b
	w.b = nil
	if w.unwanted {
		return nil
	}
	if rest == nil {
		rest, _ = w.share.Hold(0)
	}
	rest.Full()
	if w.parts == 0 && !rest.Held() && rest.Memory() > 0 {
		// What turned out to be small need not go to the store before it is
		// published, if there is room to keep it.
		if held, ok := w.share.Hold(int(rest.Size())); ok {
			_, _ = held.Write(rest.Bytes()) // it fits, and is in memory
			held.Full()
			rest.Release()
			rest = held
		}
	}
	return rest
}

// close releases what was not handed over.
func (w *body) close() {
	w.b.Release()
	w.b = nil
}

// framed writes a gzip member whose deflate stream is written to it as it is.
type framed struct {
	w io.Writer
	n int64 // bytes of the member, so far
}

func (g *framed) Write(p []byte) (int, error) {
	if g.n == 0 {
		g.n = gzipHeaderLen
		if _, err := g.w.Write(gzipHeader[:]); err != nil {
			return 0, err
		}
	}
	g.n += int64(len(p))
	return g.w.Write(p)
}

func (g *framed) end(f Facts) error {
	trailer := gzipTrailer(f.CRC32, f.Size)
	_, err := g.Write(trailer[:])
	return err
}

// deflater writes a gzip member of what is written to it.
type deflater struct {
	frame framed
	fw    *flate.Writer
	in    int64 // bytes of the member, so far
}

// reset begins a member that is written to w.
func (d *deflater) reset(w io.Writer) {
	d.frame, d.in = framed{w: w}, 0
	d.fw.Reset(&d.frame)
}

func (d *deflater) Write(p []byte) (int, error) {
	d.in += int64(len(p))
	return d.fw.Write(p)
}

func (d *deflater) end(f Facts) error {
	if err := d.fw.Close(); err != nil {
		return err
	}
	return d.frame.end(f)
}

// whole reads a body of one part whose size is known from in: head, n bytes of
// the archive, and tail. The caller releases the buffer.
func whole(ctx context.Context, share *budget.Share, in *Window, head []byte, n int64, tail []byte) (*budget.Buffer, error) {
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
		err = in.moveTo(b, n)
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
