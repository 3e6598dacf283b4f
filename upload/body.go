package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"sync"
	"time"

	"spillway/internal/account"
)

// closeGrace is how long a client whose body is not read any further has to
// read its answer before the connection is closed. Closing while bytes of the
// client lie unread resets the connection, which can take the answer along
// (RFC 9112, section 9.6).
const closeGrace = 500 * time.Millisecond

// errDrainOver interrupts a drain that has taken as long as it may.
var errDrainOver = errors.New("upload: drained for long enough")

// A goneError says that the body broke off: the client closed its connection,
// or lost it, or broke the transfer's framing.
type goneError struct {
	err error
}

func (e *goneError) Error() string { return "upload: the body broke off: " + e.err.Error() }
func (e *goneError) Unwrap() error { return e.err }

// An idleError says that the client sent nothing for that long while we were
// ready to read.
type idleError struct {
	idle time.Duration
}

func (e *idleError) Error() string {
	return fmt.Sprintf("upload: the client sent nothing for %v", e.idle)
}

// A client that sends less than minRate bytes a second, on average over
// rateWindow of waiting for it, is as good as idle.
const (
	minRate    = 256
	rateWindow = time.Minute
)

// A slowError says that hardly anything came while we were ready to read.
type slowError struct {
	least int64 // bytes
	in    time.Duration
}

func (e *slowError) Error() string {
	return fmt.Sprintf("upload: the client sent less than %d bytes in %v", e.least, e.in)
}

// body is a request's body under progress deadlines: each read has the idle
// timeout to itself, so that time in which nobody reads never counts, and
// can be interrupted from any goroutine.
type body struct {
	src     io.Reader
	answer  *http.ResponseController
	control interface {
		SetReadDeadline(deadline time.Time) error
	} // of what src reads from
	chunked bool
	idle    time.Duration
	account *account.Account
	limit   int64 // bytes that may be read; beyond, Read returns over
	over    error

	// owned by the reading goroutine
	count   int64
	started bool // Read was called: a 100 (Continue) that was asked for is sent
	broken  bool // a read has failed, perhaps by a deadline of ours
	watched bool // arrived is called as bytes arrive
	prompt  bool // the last read was fast

	// mu makes setting a deadline one with knowing that it is the right one.
	mu      sync.Mutex
	stopped error         // why reads are interrupted
	ended   bool          // all has been read, or release was called: hands off the deadline
	waited  time.Duration // for the client, in this window of rateWindow
	got     int64         // bytes in it
	since   time.Time     // during a read: up to when waited counts
}

func newBody(r *http.Request, answer *http.ResponseController, idle time.Duration, limit int64, over error) *body {
	return &body{
		src:     r.Body,
		answer:  answer,
		control: answer,
		chunked: r.ContentLength < 0,
		idle:    idle,
		limit:   limit,
		over:    over,
		ended:   r.Body == http.NoBody,
	}
}

// Read returns io.EOF at the end of a complete body. Its other errors are what
// the body was interrupted with, [*idleError], [*slowError], [*goneError] and b.over.
func (b *body) Read(p []byte) (int, error) {
	if err := b.arm(); err != nil {
		return 0, err
	}
	b.started = true
	if b.chunked {
		p = p[:min(len(p), b.chunkedRead())]
	}
	before := b.account.Switch(account.OnClient)
	began := time.Now()
	n, err := b.src.Read(p)
	now := time.Now()
	b.account.Switch(before)
	b.count += int64(n)
	b.prompt = now.Sub(began) <= promptRead*time.Duration(n)/formBuffer
	slow := b.readEnded(n, now)
	if err == io.EOF {
		b.mu.Lock()
		b.ended = true
		b.mu.Unlock()
	}
	switch {
	case b.count > b.limit:
		return n, b.over
	case err == nil && slow != nil:
		return n, slow
	case err == nil || err == io.EOF:
		return n, err
	}
	b.broken = true
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped != nil {
		return n, b.stopped
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, &idleError{b.idle}
	}
	return n, &goneError{err}
}

// readEnded notes the end of a read of n bytes. Its error is a [*slowError].
func (b *body) readEnded(n int, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watched {
		n = 0 // arrived has counted them
	}
	return b.pace(n, now)
}

// pace notes that n bytes have come by now. Its error is a [*slowError]; after one,
// a new window begins. The caller holds b.mu.
func (b *body) pace(n int, now time.Time) error {
	b.got += int64(n)
	b.waited += now.Sub(b.since)
	b.since = now
	if b.waited < rateWindow {
		return nil
	}
	waited, got := b.waited, b.got
	b.waited, b.got = 0, 0
	if least := int64(minRate * waited / time.Second); got < least {
		return &slowError{least, waited.Round(time.Second)}
	}
	return nil
}

// arm gives the next read its deadline.
func (b *body) arm() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.since = time.Now()
	switch {
	case b.ended:
		// The server reads on by itself now, to learn when the client leaves.
		return nil
	case b.stopped != nil:
		return b.stopped
	}
	if err := b.control.SetReadDeadline(b.since.Add(b.idle)); err != nil {
		return &goneError{err}
	}
	return nil
}

// interrupt ends the read that is under way, and every later one, with cause.
func (b *body) interrupt(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended && b.stopped == nil {
		b.stop(cause)
	}
}

// stop is interrupt of what is not interrupted yet. The caller holds b.mu.
func (b *body) stop(cause error) {
	b.stopped = cause
	// An error means that there is no connection any more: no read is blocked.
	_ = b.control.SetReadDeadline(time.Now())
}

// follow interrupts reads with ctx's cause when ctx ends, until stop is called.
// Nothing interrupts the reads of whoever comes after that.
func (b *body) follow(ctx context.Context) (stop func()) {
	return follow(ctx, func() { b.interrupt(context.Cause(ctx)) })
}

// complete reports whether the client has sent all that it had to.
func (b *body) complete() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}

// drain reads the rest and throws it away, whatever stopped reads before, but
// no more than limit bytes, no longer than d and not beyond the end of ctx. Its
// error says why it did not come to the end.
func (b *body) drain(ctx context.Context, limit int64, d time.Duration) error {
	b.mu.Lock()
	b.stopped = nil
	b.mu.Unlock()
	b.limit = math.MaxInt64
	ctx, cancel := context.WithTimeoutCause(ctx, d, errDrainOver)
	defer cancel()
	// Not before reads may go on again: what ended already has to stop them.
	defer b.follow(ctx)()
	switch n, err := io.Copy(io.Discard, io.LimitReader(b, limit)); {
	case err != nil:
		return err
	case n == limit && !b.complete():
		return errDrainOver
	}
	return nil
}

// lost reports whether no more of the body can be had of the server: its reader of
// chunks returns its first error for ever.
func (b *body) lost() bool { return b.chunked && b.broken }

// takeOver has what the client still sends read off the connection itself, with
// the chunks' framing. It is called after the answer. The caller closes the
// connection.
func (b *body) takeOver() (io.Closer, error) {
	conn, buffered, err := b.answer.Hijack()
	if err != nil {
		return nil, err
	}
	// Where the body ends does not show any more. A client that has sent it, and
	// waits for more than its answer, learns that nothing comes (RFC 9112, section
	// 9.6), so that its leaving is what is waited for.
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // it fails where the client has gone, which the next read tells
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.src, b.control = buffered.Reader, conn
	return conn, nil
}

// release is the last call: from here on the connection's deadlines are the
// server's. It sees to it that the server does not wait for the rest of a body
// that nobody wanted.
func (b *body) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		_ = b.control.SetReadDeadline(time.Now())
	}
	b.ended = true
}
