package stream

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"spillway/stream/budget"
)

// Sized takes an entry whose compressed bytes are the next h.CompressedSize bytes
// of in. It moves in past them. If the body is those bytes in a frame, a worker
// verifies them.
func (p *Pipeline) Sized(h Header, in *Window) error {
	if h.SizeStated && p.expansion.total()+h.Size > p.rules.MaxUncompressed {
		return &LimitError{What: UncompressedBound, Limit: p.rules.MaxUncompressed}
	}
	if h.SizeStated {
		p.rules.Progress.count(&h, h.Size)
	}
	obj, err := p.create(&h)
	if err != nil {
		return err
	}
	if head, tail, ok := h.frame(); ok {
		switch size := int64(len(head)) + h.CompressedSize + int64(len(tail)); {
		case in.onDisk():
			body := in.diskBody(head, h.CompressedSize, tail)
			in.SeekTo(in.offset + h.CompressedSize)
			p.verifyAndCommit(h, obj, body, int64(len(head)))
			return nil
		case size <= int64(p.share.PartSize()):
			body, err := readBody(p.ctx, p.share, in, head, h.CompressedSize, tail)
			if err != nil {
				return err
			}
			p.verifyAndCommit(h, obj, body, int64(len(head)))
			return nil
		default:
			return p.large(h, obj, in, head, tail)
		}
	}
	d, err := p.decode(h, obj, in, h.CompressedSize)
	if err != nil {
		return err
	}
	defer d.Close()
	if d.CompressedSize < h.CompressedSize {
		return h.bad(shortStream)
	}
	return d.Commit()
}

const shortStream = "its deflate stream is shorter than its stated compressed size"

// verifyAndCommit has a worker verify and commit body. The compressed bytes begin
// at offset.
func (p *Pipeline) verifyAndCommit(header Header, obj Object, body Body, offset int64) {
	p.workers.do(func() error {
		h, verified := header, false
		defer func() {
			if !verified {
				body.Release()
			}
		}()
		needsMD5 := func() bool { return obj != nil && obj.NeedsMD5(body.Held()) }
		facts, err := p.verify(&h, &bodySource{body: body, at: offset, end: offset + h.CompressedSize}, needsMD5)
		if err != nil {
			return err
		}
		verified = true
		return p.workers.commit(p.ctx, obj, body, facts)
	})
}

// verify verifies an entry that has arrived completely, with one of the pooled
// verifiers.
func (p *Pipeline) verify(h *Header, body *bodySource, needsMD5 func() bool) (Facts, error) {
	turn := p.share.NewTurn(p.ctx)
	body.turn = turn
	done, err := p.share.Verifier(p.ctx)
	if err != nil {
		return Facts{}, err
	}
	defer done()
	v := verifiers.Get().(*verifier)
	v.concurrent = false // other entries keep the processors busy
	defer verifiers.Put(v)
	begun := time.Now()
	defer func() { p.share.Account().Worked(time.Since(begun) - turn.Waited()) }()
	return p.verifyBy(v, h, body, turn, needsMD5)
}

// verifyBy verifies an entry with v. Its compressed bytes are all of src.
func (p *Pipeline) verifyBy(v *verifier, h *Header, src source, turn *budget.Turn, needsMD5 func() bool) (Facts, error) {
	defer v.end()
	chunks, err := v.decode(h.Codec, h.CompressedSize, src, tools{})
	if err != nil {
		return Facts{}, err
	}
	facts, err := v.count(h, chunks, turn, &p.expansion, io.Discard, needsMD5)
	if err == nil && v.input.n < h.CompressedSize {
		err = h.bad(shortStream)
	}
	return facts, formatError(h, err)
}

// formatError turns an error of a decoder into a [*FormatError] of the entry.
func formatError(h *Header, err error) error {
	if disk, ok := errors.AsType[*budget.DiskError](err); ok {
		return disk
	}
	switch _, failed := errors.AsType[*decodeError](err); {
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return h.bad(fmt.Sprintf("its zstd window is over %d MiB", maxWindow>>20))
	case failed:
		return h.bad("its compressed data is damaged or does not have its stated size")
	}
	return err
}
