package upload

import "time"

// fastRead is the longest time for formBuffer bytes in which a client counts as fast.
const fastRead = time.Second

// chunkedRead returns how many bytes of a chunked body to read.
//
// A read through the HTTP server returns when the buffer is full or the chunk ends, not when
// bytes arrive. After a fast read, formBuffer bytes are read, which takes fewer calls. If the
// client becomes slow meanwhile, arrived moves the deadline. From slower clients, a read is so
// short that it is full after half of the idle timeout at the lowest rate. So uploads that
// wait for memory notice that this one makes progress.
func (b *body) chunkedRead() int {
	if b.watched && b.fast {
		return formBuffer
	}
	return max(1, int(minRate*b.idle/(2*time.Second)))
}

// arrived counts n bytes that have arrived at the connection during a read of a chunked body,
// and restarts the idle timeout. If the client is too slow, it interrupts the read.
func (b *body) arrived(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended || b.stopped != nil {
		return
	}
	now := time.Now()
	if err := b.checkRate(n, now); err != nil {
		b.stop(err)
		return
	}
	_ = b.control.SetReadDeadline(now.Add(b.idle)) // fails if the connection is closed: the read fails, too
}
