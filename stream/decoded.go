package stream

import "io"

// Decoded is an entry whose compressed bytes have been decoded, and verified against
// what its Header states. The reader checks that the entry ends there, and calls
// Commit. It calls Close in any case.
type Decoded struct {
	CompressedSize int64 // in bytes
	Facts          Facts

	p     *Pipeline
	h     Header
	obj   Object // nil if the entry is not stored
	src   windowSource
	tools tools
	body  *partWriter
	frame gzipFrame
	gzip  gzipMember // the body, or nil if that is not compressed
}

// Decode takes an entry whose compressed bytes begin at the next byte of in, and end
// where the compressed stream does. It moves in to that end, which must be within
// limit bytes. Parts of the body go to the sink meanwhile.
func (p *Pipeline) Decode(h Header, in *Window, limit int64) (*Decoded, error) {
	obj, err := p.create(&h)
	if err != nil {
		return nil, err
	}
	d, err := p.decode(h, obj, in, limit)
	if err != nil {
		return nil, err
	}
	p.rules.Progress.count(&h, d.Facts.Size)
	return d, nil
}

// decode is Decode for an entry whose object is obj, or nil.
func (p *Pipeline) decode(h Header, obj Object, in *Window, limit int64) (*Decoded, error) {
	if err := p.takeOwn(); err != nil {
		return nil, err
	}
	defer p.giveOwn()
	taken, err := p.share.Tools(p.ctx, toolsFor(&h, limit)...)
	if err != nil {
		return nil, err
	}
	tools := tools{taken}
	d := &Decoded{p: p, h: h, obj: obj, src: windowSource{in: in, left: limit}, tools: tools}
	d.body = newPartWriter(p.ctx, p.share, p.turn, &d.h, obj)
	decoded := false
	defer func() { // also after a panic
		if !decoded {
			d.Close()
		}
	}()
	src, out := &d.src, io.Discard
	switch {
	case h.needsGzip():
		g := tools.gzip()
		g.reset(d.body)
		out, d.gzip = g, g
	case h.Form == Gzip:
		d.frame.w = d.body
		src.tee, d.gzip = &d.frame, &d.frame
	case h.Form == AsIs:
		out = d.body
	}

	v := p.own
	defer v.end()
	chunks, err := v.decode(h.Codec, limit, src, tools)
	if err != nil {
		return nil, err
	}
	d.Facts, err = v.count(&d.h, chunks, p.turn, &p.expansion, out, d.needsMD5)
	p.share.Account().Worked(v.md5.worked)
	if src.err != nil {
		return nil, src.err
	}
	if err != nil {
		return nil, formatError(&d.h, err)
	}
	d.CompressedSize = limit - src.left
	decoded = true
	return d, nil
}

func (d *Decoded) needsMD5() bool { return d.obj != nil && d.obj.NeedsMD5(d.body.mayBeHeld()) }

// Commit ends the body and has a worker commit it.
func (d *Decoded) Commit() error {
	if d.gzip != nil {
		if err := d.gzip.end(d.Facts); err != nil {
			return err
		}
	}
	d.tools.Recycle()
	if d.obj == nil {
		return nil
	}
	p, rest := d.p, d.body.takeRest()
	p.workers.do(func() error { return p.workers.commit(p.ctx, d.obj, rest, d.Facts) })
	return nil
}

// Close releases what Commit has not taken.
func (d *Decoded) Close() {
	d.body.close()
	d.tools.Release()
}
