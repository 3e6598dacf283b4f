package upload

import "time"

// promptRead is the time for formBuffer bytes in which a client counts as fast.
const promptRead = time.Second

// chunkedRead is how many bytes of a chunked body to ask for.
//
// The HTTP server returns from a read when the buffer is full or the chunk ends, not as bytes
// arrive. A client that was fast gets a long read: fewer calls for the same bytes. If
// it becomes slow in the middle, arrived moves the deadline. For other clients, half of
// the idle timeout at the lowest rate fills a read. So uploads that wait for this one
// see its progress.
func (b *body) chunkedRead() int {
	if b.watched && b.prompt {
		return formBuffer
	}
	return max(1, int(minRate*b.idle/(2*time.Second)))
}

// arrived notes that n bytes have arrived at the connection while a chunked body is
// read: the idle timeout begins anew, unless the client is too slow.
func (b *body) arrived(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended || b.stopped != nil {
		return
	}
	now := time.Now()
	if err := b.pace(n, now); err != nil {
		b.stop(err)
		return
	}
	// An error means that there is no connection any more: the next read says so.
	_ = b.control.SetReadDeadline(now.Add(b.idle))
}
