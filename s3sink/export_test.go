package s3sink

import "spillway/stream"

// NewTransport returns the transport of a sink without one.
var NewTransport = newTransport

// SetSweepPage sets the number of uploads on a page of a listing.
func (s *Sink) SetSweepPage(uploads int32) { s.sweepPage = uploads }

// Leave stops the batch as a process that dies does: what is at the store stays there.
func (b *Batch) Leave() {
	b.stop()
	defer b.goroutines.end()
	b.work.Wait()
	b.fail(errEnded)
}

// Unfinished returns how many multipart uploads of the batch are neither completed nor
// aborted.
func (b *Batch) Unfinished() int { return len(b.staged(func(s state) bool { return s != published })) }

// DropObject drops o, which the batch created.
func (b *Batch) DropObject(o stream.Object) { b.Drop(o.(*object).number) }
