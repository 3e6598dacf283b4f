package s3sink

import (
	"bytes"
	"context"
	"time"
)

// receiptProbeName is the object that a receiptProber writes.
const receiptProbeName = ".spillway-probe-receipt"

// receiptProber checks that receipts can be written to one bucket. Everything else that
// could fail is the bucket's prober's.
type receiptProber struct {
	destination
	api *store // see prober

	turn  chan struct{} // holds a value while wrote is in use
	wrote time.Time     // when this process last wrote the object
}

// receiptProbersOf returns a receiptProber for each bucket; none if there are no receipts.
func receiptProbersOf(prefix string, regular, try destination, api *store) (probers []*receiptProber) {
	if prefix == "" {
		return nil
	}
	for _, d := range []destination{regular, try} {
		if len(probers) == 0 || d.bucket != probers[0].bucket {
			probers = append(probers, &receiptProber{
				destination: destination{d.bucket, prefix, d.store}, api: api, turn: make(chan struct{}, 1),
			})
		}
	}
	return probers
}

// probe writes a small object as a receipt is written, and deletes it: at first, once an
// hour, and at every probe while the last receipt could not be written. Credentials need
// not be able to delete it: then it stays.
func (p *receiptProber) probe(ctx context.Context) error {
	if err := acquire(ctx, p.turn); err != nil {
		return failure("PutObject", p.target(receiptProbeName), err)
	}
	defer func() { <-p.turn }()
	if time.Since(p.wrote) < rewriteAfter && !p.store.lastReceiptFailed.Load() {
		return nil
	}
	if err := p.write(ctx, receiptProbeName); err != nil {
		return err
	}
	p.wrote = time.Now()
	p.store.lastReceiptFailed.Store(false)
	_ = p.api.delete(ctx, p.target(receiptProbeName))
	return nil
}

// write writes an object of that name as a receipt is written.
func (p *receiptProber) write(ctx context.Context, name string) error {
	return runCheck(ctx, func(ctx context.Context) error {
		kind := checksum(p.store.dialect.checksum.Load())
		_, err := p.api.putReceipt(ctx, p.target(name), "text/plain", bytes.NewReader(probeText), int64(len(probeText)), kind)
		return err
	})
}

// checkActions is [Sink.Check] for one bucket's receipts.
func (p *receiptProber) checkActions(ctx context.Context, name string) []Action {
	action := func(name string, err error) Action {
		return Action{Name: name, Bucket: p.bucket, Prefix: p.prefix, Needed: name != actionDelete, Tried: true, Err: err, needs: name}
	}
	step := func(ctx context.Context, check func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, checkLimit)
		defer cancel()
		return check(ctx)
	}
	put := step(ctx, func(ctx context.Context) error { return p.write(ctx, name) })
	deletion := action(actionDelete, step(ctx, func(ctx context.Context) error {
		return runCheck(ctx, func(ctx context.Context) error { return p.api.delete(ctx, p.target(name)) })
	}))
	if deletion.Err != nil && put == nil {
		deletion.Left = []string{p.target(name).key}
	}
	return []Action{action(actionPut, put), deletion}
}
