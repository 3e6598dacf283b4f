package stream

import (
	"cmp"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"spillway/internal/guard"
	"spillway/stream/budget"
)

// large takes an entry whose body is its compressed bytes between head and tail, and larger
// than a part. The reader's goroutine only cuts the body into parts. A worker verifies each
// part once it is full, while the next one is filled and this one is sent.
func (p *Pipeline) large(h Header, obj Object, in *Window, head, tail []byte) error {
	if err := p.takeOwn(); err != nil {
		return err
	}
	r := &relay{
		ctx: p.ctx, turn: p.share.NewTurn(p.ctx), skip: int64(len(head)), left: h.CompressedSize,
		parts: make(chan *sharedPart), rest: make(chan Body, 1),
	}
	p.workers.do(func() error { return p.verifyParts(h, obj, r) })
	defer close(r.parts)
	c := cutter{p: p, obj: obj, relay: r, left: int64(len(head)) + h.CompressedSize + int64(len(tail))}
	defer c.close()
	if err := c.add(head); err != nil {
		return err
	}
	for n := h.CompressedSize; n > 0; {
		b, err := in.buffered(n)
		if err != nil {
			return err
		}
		if err := c.add(b); err != nil {
			return err
		}
		in.Discard(len(b))
		n -= int64(len(b))
	}
	return c.add(tail)
}

// verifyParts verifies a long entry, and commits it. A worker calls it.
func (p *Pipeline) verifyParts(h Header, obj Object, r *relay) error {
	var facts Facts
	err := guard.Do(func() (err error) {
		defer p.giveOwn()
		begun := time.Now()
		defer func() { p.share.Account().Worked(time.Since(begun) + p.own.md5.worked - r.turn.Waited() - r.waited) }()
		facts, err = p.verifyBy(p.own, &h, r, r.turn, func() bool { return obj.NeedsMD5(false) })
		return cmp.Or(r.err, err)
	})
	switch {
	case errors.Is(err, errNoMoreParts):
		err = nil // the reader says why
	case err != nil:
		p.end(err) // so that the reader stops
	}
	rest, arrived := r.end()
	if err != nil || !arrived {
		if rest != nil {
			rest.Release()
		}
		return err
	}
	return p.workers.commit(p.ctx, obj, rest, facts)
}

// A cutter cuts the body of a long entry into parts.
type cutter struct {
	p     *Pipeline
	obj   Object
	relay *relay
	left  int64 // bytes of the body that have not been added

	part     *budget.Buffer // that is being filled; nil if there is none
	unwanted bool           // the store has the object already
}

// add adds the next bytes of the body.
func (c *cutter) add(b []byte) error {
	for len(b) > 0 {
		if c.part == nil {
			part, err := c.p.share.Lease(c.p.ctx, c.p.share.PartSize())
			if err != nil {
				return err
			}
			c.part = part
		}
		n, err := c.part.Write(b)
		if err != nil {
			return err
		}
		b, c.left = b[n:], c.left-int64(n)
		if c.left == 0 || c.part.Left() == 0 {
			if err := c.send(); err != nil {
				return err
			}
		}
	}
	return nil
}

// send passes the part to the store and to the verifier, or the last one to the verifier
// alone, which commits it.
func (c *cutter) send() error {
	c.part.Full()
	sent, verified := share(c.part)
	c.part = nil
	switch {
	case c.unwanted:
		sent.Release()
		if c.left == 0 {
			c.relay.rest <- nil
		}
	case c.left == 0:
		c.relay.rest <- sent
	default:
		wanted, err := sendPart(c.p.ctx, c.p.share, c.obj, sent)
		if err != nil {
			verified.Release()
			return err
		}
		c.unwanted = !wanted
	}
	defer c.p.workers.waiting()()
	c.relay.parts <- verified // the worker takes all of them
	return nil
}

// close releases the part that is being filled.
func (c *cutter) close() { c.part.Release() }

// A sharedPart is a part for two who read it. Its memory is given back once both have
// released it.
type sharedPart struct {
	*budget.Buffer
	users    *atomic.Int32 // that have not released it
	verifier bool          // this one is for the verifier
	released atomic.Bool
}

// share returns a part for the store and one for the verifier.
func share(b *budget.Buffer) (sent, verified *sharedPart) {
	users := new(atomic.Int32)
	users.Store(2)
	return &sharedPart{Buffer: b, users: users}, &sharedPart{Buffer: b, users: users, verifier: true}
}

// Release implements [Body].
func (s *sharedPart) Release() {
	switch {
	case s.released.Swap(true):
	case s.users.Add(-1) == 0:
		s.Buffer.Release()
	case !s.verifier:
		s.Sent()
	}
}

// A relay passes the parts of a long entry's body to the worker that verifies them. For the
// worker, it is the source of the entry's compressed bytes.
type relay struct {
	ctx   context.Context
	parts chan *sharedPart // full ones; closed when the reader is done with the entry
	rest  chan Body        // the last one, for the store; nil if that has the object already

	// The fields below belong to the worker.
	turn   *budget.Turn
	skip   int64 // bytes before the compressed ones
	left   int64 // compressed bytes that have not been discarded
	part   *sharedPart
	bytes  bodySource    // of part
	waited time.Duration // for parts
	err    error         // why there are no more
}

// errNoMoreParts says that the reader has failed before the entry's end.
var errNoMoreParts = errors.New("stream: the entry is not read to its end")

// Peek implements [source].
func (r *relay) Peek() ([]byte, error) {
	if r.left == 0 {
		return nil, io.EOF
	}
	for r.part == nil || r.bytes.at == r.bytes.end {
		if r.err = r.next(); r.err != nil {
			return nil, r.err
		}
	}
	return r.bytes.Peek()
}

// next takes the next part.
func (r *relay) next() error {
	r.release()
	began, resume := time.Now(), r.turn.Pause()
	defer func() {
		r.waited += time.Since(began)
		resume()
	}()
	select {
	case part, ok := <-r.parts:
		if !ok {
			return errNoMoreParts
		}
		r.part = part
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
	size := r.part.Size()
	r.bytes = bodySource{body: r.part, at: min(r.skip, size), end: min(r.skip+r.left, size), turn: r.turn}
	r.skip -= r.bytes.at
	return nil
}

// Discard implements [source].
func (r *relay) Discard(n int) {
	r.bytes.Discard(n)
	r.left -= int64(n)
}

func (r *relay) release() {
	if r.part != nil {
		r.part.Release()
		r.part = nil
	}
}

// end waits until the reader is done with the entry, releases the parts that are left, and
// returns the last one for the store.
func (r *relay) end() (rest Body, arrived bool) {
	r.release()
	for part := range r.parts {
		part.Release()
	}
	select {
	case rest = <-r.rest:
		return rest, true
	default:
		return nil, false
	}
}
