package upload

import (
	"context"
	"io"

	"spillway/stream"
	"spillway/stream/budget"
)

// A Store is where uploads go. It is used by many uploads at once.
type Store interface {
	// Begin makes the batch of one upload. The batch works under ctx, the
	// upload's context, and takes its buffers out of share. When it fails in the
	// background, it calls fail, which ends ctx, with a [*stream.StoreError], a
	// [*budget.NoRoomError] or a [*guard.PanicError]. Begin waits for nothing.
	Begin(ctx context.Context, fail func(cause error), share *budget.Share, try bool) Batch

	// Bucket is the name of the bucket for try symbols, or for the others.
	Bucket(try bool) string

	// Prefix is what the keys of try symbols begin with, or those of the others.
	Prefix(try bool) string

	// Receipts is what the keys of receipts begin with. It is empty if none are written.
	Receipts() string

	// MaxName is the length in bytes of the longest entry name whose key the
	// store can take.
	MaxName() int
}

// A Batch is what one upload brings into the store. Nothing of it is visible
// before Publish.
type Batch interface {
	stream.Sink

	// Publish makes all objects visible that were committed and not dropped. It
	// is called at most once, after the last call of the Sink. It ends with the
	// upload's context, and within a time limit of its own. Its error is a
	// [*stream.StoreError], which may wrap a [*guard.PanicError]. Objects that are
	// visible by then stay.
	Publish() error

	// Len is the number of objects. Result returns what became of the object with that
	// number, after Publish has returned nil. It returns false if the object was dropped.
	Len() int
	Result(number int) (stream.Result, bool)

	// WriteReceipt writes an object of that name under the prefix of receipts. It may be
	// called after Publish has returned nil. It ends with the upload's context, and within
	// a time limit of its own. Its error is a [*stream.StoreError].
	WriteReceipt(name, contentType string, body io.ReaderAt, size int64) error

	// Abort ends the upload's context, gives up what has not been published, and
	// releases its buffers. It is called once, after the last call of the Sink or
	// after Publish failed. It does not depend on the upload's context and has time
	// limits of its own. Its error says what it could not clean up.
	Abort() error

	// Uploaded and Skipped are the names of the entries that were published,
	// and of those that the store had already. They are read at the end.
	Uploaded() []string
	Skipped() []string

	// Sent is the size of the bodies of those in Uploaded, in bytes. What was sent
	// in vain is none of it.
	Sent() int64
}
