package s3sink

import (
	"context"
	"io"

	"spillway/stream"
)

// Len returns the number of objects.
func (b *Batch) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.records.Len()
}

// Result returns what became of the object with that number, after Publish has returned
// nil. It reports false if the object was dropped.
func (b *Batch) Result(number int) (result stream.Result, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.records.At(number)
	if r.state != published && r.state != skipped {
		return stream.Result{}, false
	}
	result = stream.Result{
		Name: r.name, Form: stream.Form(r.form), Skipped: r.state == skipped, Unread: r.flags&unread != 0,
		Replaced: r.state == published && r.flags&replaces != 0,
		Facts:    stream.Facts{Size: r.size, CRC32: r.crc32, MD5: r.md5, HasMD5: r.flags&hasMD5 != 0},
	}
	if number < b.sizes.Len() {
		result.BodySize = *b.sizes.At(number)
	}
	return result, true
}

// Receipts returns the prefix of the keys of receipts; empty if there are none.
func (s *Sink) Receipts() string { return s.receipts }

// WriteReceipt writes an object of that name under the prefix of receipts, in the batch's
// bucket. It may be called after Publish has returned nil. The body may be longer than a
// part: it is sent with one request, however long it is. Like Publish, WriteReceipt ends
// with the upload's context, and within a time limit of its own. The error is a
// [*stream.StoreError].
func (b *Batch) WriteReceipt(name, contentType string, body io.ReaderAt, size int64) error {
	t, store, kind := target{b.dest.bucket, b.sink.receipts + name}, b.dest.store, b.checksum(b.ctx)
	w, err := store.putReceipt(b.ctx, t, contentType, body, size, kind)
	if err == nil && b.sink.verify {
		var there objectInfo
		if there, err = store.headChecked(b.ctx, t, kind); err == nil && w.compare(there) == unlike {
			err = failure("HeadObject", t, errNotStored)
		}
	}
	store.lastReceiptFailed.Store(err != nil)
	if err != nil {
		b.fail(err)
	}
	return err
}

// putReceipt writes an object that is no entry. The store checks it by that kind of
// checksum.
func (s *store) putReceipt(ctx context.Context, t target, contentType string, body io.ReaderAt, size int64, kind checksum) (w written, err error) {
	w.size = size
	sent, request := sums{kind: kind}, newRequestBody(body, 0, size)
	if err = sum(body, 0, size, &sent.crc32); err == nil {
		err = sent.addMD5(request)
	}
	if err != nil {
		return w, failure("PutObject", t, request.cut(err))
	}
	w.crc32 = sent.crc32
	w.etag, _, err = s.putWhole(ctx, t, attributes{contentType: contentType}, request, sent)
	return w, err
}
