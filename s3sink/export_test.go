package s3sink

// NewTransport is the transport that a sink without one makes.
var NewTransport = newTransport

// SetSweepPage makes the pages of a sweep shorter than anybody wants them.
func (s *Sink) SetSweepPage(uploads int32) { s.sweepPage = uploads }

// Leave ends the batch as a process that dies does: what is at the store stays
// there.
func (b *Batch) Leave() {
	b.stop()
	b.work.Wait()
	b.fail(errEnded)
}

// Unfinished is how many multipart uploads of the batch are neither completed nor aborted.
func (b *Batch) Unfinished() int { return len(b.staged(func(s state) bool { return s != published })) }
