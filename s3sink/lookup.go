package s3sink

import (
	"context"

	"spillway/stream"
)

// lookup is the search for an entry's object in the store. It is nil if the object is not
// looked up.
type lookup struct {
	answered chan struct{} // closed once the fields below are set
	existing objectInfo
	stated   match // of existing and what the archive states of the entry
	err      error
}

// absent is the lookup of objects that Find has found [stream.Absent] or [stream.Different].
var absent = func() *lookup {
	l := &lookup{answered: make(chan struct{})}
	close(l.answered)
	return l
}()

// Find implements [stream.Sink].
func (b *Batch) Find(ctx context.Context, e stream.Entry) (stream.Found, error) {
	existing, err := b.dest.store.lookUp(ctx, b.dest.target(e.Name))
	if err != nil {
		b.fail(err)
		return stream.Undecided, err
	}
	return find(e, existing, b.sink.skipBySize), nil
}

// lookUp looks o up in the store, in the background.
func (o *object) lookUp() {
	b, form, stated, l := o.batch, o.form(), o.identity, &lookup{answered: make(chan struct{})}
	o.lookup = l
	t := o.target()
	b.spawn(func() error {
		defer close(l.answered)
		if l.existing, l.err = b.dest.store.lookUp(b.ctx, t); l.err != nil {
			return l.err
		}
		if l.existing.found {
			b.mu.Lock()
			o.record.flags |= replaces
			b.mu.Unlock()
		}
		l.stated = compare(form, stated, l.existing, b.sink.skipBySize)
		return nil
	}, b.fail)
}

// compare compares what is known of o so far with an object of the store.
func (o *object) compare(existing objectInfo) match {
	return compare(o.form(), o.identity, existing, o.batch.sink.skipBySize)
}

// wait waits for the answer. The error is that of the request, or the cause of ctx.
func (l *lookup) wait(ctx context.Context) error {
	if l == nil {
		return nil
	}
	select {
	case <-l.answered:
		return l.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// match returns how the object compares with what the archive states, once wait has
// returned nil.
func (l *lookup) match() match {
	if l == nil {
		return different
	}
	return l.stated
}

// NeedsMD5 implements [stream.Object]. A held body has its MD5 in its metadata. For any
// other, the MD5 can only tell whether the store has the object already.
func (o *object) NeedsMD5(held bool) bool {
	if o.lookup == nil {
		return !o.inParts // it will be looked up, unless it is sent in parts
	}
	select {
	case <-o.lookup.answered:
	default:
		return true
	}
	found := o.lookup.match()
	return found == undecided || held && found == different
}
