package s3sink

import "spillway/stream"

// state is how far an object has got.
type state uint8

const (
	open       state = iota // neither committed nor dropped
	staging                 // committed; being compared with the store, or being sent
	held                    // committed; the body is in memory or on disk until it is published
	staged                  // committed; the parts have been sent or are being sent
	publishing              // being made visible
	skipped                 // the store already had it
	dropped                 // will not be published
	published               // visible
)

// record is what a batch keeps of an object until the upload is answered. There may be
// tens of thousands, so it is small: stream counts its bytes for each entry. Batch.mu
// guards it, except name and form, which do not change.
type record struct {
	name  string
	body  stream.Body // of a held object; nil if empty
	size  int64       // with crc32 and md5, the identity of a committed object
	md5   [16]byte    // if hasMD5 is set
	crc32 uint32
	flags flags
	form  uint8
	state state
}

// flags are the single bits of a record.
type flags uint8

const (
	hasMD5   flags = 1 << iota
	replaces       // the store has another object of that name, unless it is skipped
	unread         // the entry was skipped without being read
)

// object returns the held or staged object with that number, to be worked on. The
// caller holds b.mu.
func (b *Batch) object(number int) *object {
	r := b.records.At(number)
	return &object{
		batch: b, number: number, record: r, upload: b.uploads[r],
		identity: identity{hasSize: true, hasMD5: r.flags&hasMD5 != 0, size: r.size, crc32: r.crc32, md5: r.md5},
	}
}

// identify records what is known of a committed object.
func (b *Batch) identify(r *record, id identity) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.size, r.crc32, r.md5 = id.size, id.crc32, id.md5
	if id.hasMD5 {
		r.flags |= hasMD5
	}
}

func (b *Batch) inState(r *record, s state) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return r.state == s
}

// setState changes the state of r, unless it has been dropped.
func (b *Batch) setState(r *record, s state) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.state != dropped {
		r.state = s
	}
}

// unsettled records that body, nil if it is empty, is all of a committed object. The
// caller holds b.mu, and calls settled without it once the object is skipped, held or
// staged, or has failed.
func (b *Batch) unsettled(r *record, body stream.Body) (settled func()) {
	var n int64
	if body != nil {
		n = body.Size()
	}
	if r.state != dropped {
		r.state = staging
	}
	b.staging += n
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.staging -= n
	}
}

// hold makes o a held object with that body, nil if it is empty. It reports false if o
// has been dropped.
func (b *Batch) hold(o *object, body stream.Body) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := o.record
	if r.state == dropped {
		return false
	}
	r.state, r.body = held, body
	b.firstHeld = min(b.firstHeld, o.number)
	return true
}

// Drop implements [stream.Sink]. The object's multipart upload is aborted when the
// batch ends, a few at a time: there may be thousands.
func (b *Batch) Drop(number int) {
	b.mu.Lock()
	r := b.records.At(number)
	if r.state == publishing || r.state == published || r.state == dropped {
		b.mu.Unlock()
		return
	}
	r.state = dropped
	body := r.takeBody()
	b.mu.Unlock()
	release(body)
}

// takeBody returns the held body, or nil if there is none. The caller holds Batch.mu and
// releases the body.
func (r *record) takeBody() stream.Body {
	body := r.body
	r.body = nil
	return body
}
