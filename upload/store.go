package upload

import (
	"context"

	"spillway/stream"
)

// A Store is where uploads go. It is used by many uploads at once.
type Store interface {
	// Begin makes the batch of one upload, whose buffers come out of share.
	// The context it returns, which is derived from ctx, ends when the store
	// fails the upload; its cause is a [*stream.StoreError], a
	// [*stream.NoRoomError] or a [*guard.PanicError] then. Begin waits for nothing.
	Begin(ctx context.Context, share *stream.Share, try bool) (context.Context, Batch)

	// Bucket is the name of the bucket for try symbols, or for the others.
	Bucket(try bool) string

	// MaxName is the length in bytes of the longest entry name whose key the
	// store can take.
	MaxName(try bool) int
}

// A Batch is what one upload brings into the store. Nothing of it is visible
// before Publish.
type Batch interface {
	stream.Sink

	// Publish makes all objects that were committed and not dropped visible.
	// It is called at most once, after the last call of the Sink. Its error is
	// a [*stream.StoreError], which a [*guard.PanicError] may be the cause of;
	// objects that are visible by then stay. It ends in a time of its own,
	// whatever the store does.
	Publish(ctx context.Context) error

	// Abort gives up whatever is not published and releases its buffers. It is
	// called once, after the Sink's last call or after Publish failed, and
	// runs on a context and within times of its own. Its error says what it
	// could not clean up.
	Abort() error

	// Uploaded and Skipped are the names of the entries that were published,
	// and of those that the store had already. They are read at the end.
	Uploaded() []string
	Skipped() []string

	// Sent is the size of the bodies of those in Uploaded, in bytes. What was sent
	// in vain is none of it.
	Sent() int64
}
