package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httputil"
	"os"
	"sync"
	"time"

	"spillway/internal/account"
)

// closeGrace is the time that a client has to read its answer before the connection is
// closed, if its body is not read to the end. A connection that is closed with unread bytes
// is reset, and the client may lose the answer (RFC 9112, section 9.6).
const closeGrace = 500 * time.Millisecond

// errDrainOver ends a drain that has reached one of its limits.
var errDrainOver = errors.New("upload: the limit for draining was reached")

// A goneError says that the body broke off: the client closed or lost the connection, or
// broke the framing of the transfer.
type goneError struct {
	err error
}

func (e *goneError) Error() string { return "upload: the body broke off: " + e.err.Error() }
func (e *goneError) Unwrap() error { return e.err }

// An idleError says that a read got nothing from the client for that long.
type idleError struct {
	idle time.Duration
}

func (e *idleError) Error() string {
	return fmt.Sprintf("upload: the client sent nothing for %v", e.idle)
}

// A client is too slow if it averages less than minRate bytes per second over rateWindow.
// Only the time of reads counts.
const (
	minRate    = 256
	rateWindow = time.Minute
)

// A slowError says that the client sent less than that in that time.
type slowError struct {
	least int64 // bytes
	in    time.Duration
}

func (e *slowError) Error() string {
	return fmt.Sprintf("upload: the client sent less than %d bytes in %v", e.least, e.in)
}

// body is a request's body with progress deadlines. Each read has the whole idle timeout, so
// time in which nobody reads does not count. Any goroutine can interrupt reads.
type body struct {
	src     io.Reader
	answer  *http.ResponseController
	control interface {
		SetReadDeadline(deadline time.Time) error
	} // of the connection that src reads from
	chunked bool
	length  int64 // declared, in bytes, if it is not chunked
	idle    time.Duration
	account *account.Account
	limit   int64 // bytes; if the body is longer, Read returns over
	over    error

	// owned by the reading goroutine
	count   int64
	started bool // Read was called, so a 100 (Continue) was sent if the client expects one
	broken  bool // a read has failed, perhaps because of our deadline
	watched bool // arrived is called as bytes arrive
	fast    bool // the last read was fast: see chunkedRead

	// mu guards the fields below and the connection's read deadline.
	mu      sync.Mutex
	stopped error         // why reads are interrupted; nil if they are not
	ended   bool          // the whole body was read, or release was called: the deadline is the server's
	waited  time.Duration // time of reads in the present rateWindow
	got     int64         // bytes in the present rateWindow
	since   time.Time     // during a read: up to when it is counted in waited
}

func newBody(r *http.Request, answer *http.ResponseController, idle time.Duration, limit int64, over error) *body {
	return &body{
		src:     r.Body,
		answer:  answer,
		control: answer,
		chunked: r.ContentLength < 0,
		length:  r.ContentLength,
		idle:    idle,
		limit:   limit,
		over:    over,
		ended:   r.Body == http.NoBody,
	}
}

// Read returns io.EOF at the end of a complete body. Other errors are the cause of an
// interruption, [*idleError], [*slowError], [*goneError], and b.over.
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
	b.fast = now.Sub(began) <= fastRead*time.Duration(n)/formBuffer
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

// readEnded counts a read of n bytes. The error is a [*slowError].
func (b *body) readEnded(n int, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watched {
		n = 0 // counted by arrived
	}
	return b.checkRate(n, now)
}

// checkRate counts n bytes that have arrived by now. If the client is too slow, the error is
// a [*slowError], and a new rateWindow begins. The caller holds b.mu.
func (b *body) checkRate(n int, now time.Time) error {
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
		// The server reads now, to notice when the client leaves.
		return nil
	case b.stopped != nil:
		return b.stopped
	}
	if err := b.control.SetReadDeadline(b.since.Add(b.idle)); err != nil {
		return &goneError{err}
	}
	return nil
}

// interrupt ends the read that is under way, and every later one, with cause. The first
// cause stays.
func (b *body) interrupt(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended && b.stopped == nil {
		b.stop(cause)
	}
}

// stop interrupts reads. The caller holds b.mu and has checked that they are not.
func (b *body) stop(cause error) {
	b.stopped = cause
	_ = b.control.SetReadDeadline(time.Now()) // fails if the connection is closed: no read is blocked then
}

// follow interrupts reads with ctx's cause when ctx ends, until stop is called.
// Nothing interrupts the reads of whoever comes after that.
func (b *body) follow(ctx context.Context) (stop func()) {
	return follow(ctx, func() { b.interrupt(context.Cause(ctx)) })
}

// complete reports whether the whole body has been read.
func (b *body) complete() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}

// drain reads and discards the rest, also after an interruption: up to limit bytes, for up
// to d, until ctx ends. The error says why it did not reach the end.
func (b *body) drain(ctx context.Context, limit int64, d time.Duration) error {
	b.mu.Lock()
	b.stopped = nil
	b.mu.Unlock()
	b.limit = math.MaxInt64
	ctx, cancel := context.WithTimeoutCause(ctx, d, errDrainOver)
	defer cancel()
	// After stopped was reset, so that a context that has ended already ends the drain.
	defer b.follow(ctx)()
	switch n, err := io.Copy(io.Discard, io.LimitReader(b, limit)); {
	case err != nil:
		return err
	case n == limit && !b.complete():
		return errDrainOver
	}
	return nil
}

// comes reports whether any of the body arrives within d and before ctx ends, also after an
// interruption.
func (b *body) comes(ctx context.Context, d time.Duration) bool {
	b.mu.Lock()
	b.stopped = nil
	b.mu.Unlock()
	defer b.follow(ctx)()
	idle := b.idle
	b.idle = d
	n, _ := b.Read(make([]byte, 1))
	b.idle = idle
	return n > 0
}

// unreadable reports whether reads through the server fail from now on: its reader of chunks
// returns its first error forever.
func (b *body) unreadable() bool { return b.chunked && b.broken }

// hijackUnread is hijack before any of the body was read: reads return the body, to its end.
func (b *body) hijackUnread() (io.Closer, error) {
	conn, err := b.hijack()
	if err != nil {
		return nil, err
	}
	if b.chunked {
		b.src = httputil.NewChunkedReader(b.src)
	} else {
		b.src = io.LimitReader(b.src, b.length)
	}
	return conn, nil
}

// hijack takes the connection over after the answer. Reads then return what the client still
// sends, with the framing of its chunks. The caller closes the connection.
func (b *body) hijack() (io.Closer, error) {
	conn, buffered, err := b.answer.Hijack()
	if err != nil {
		return nil, err
	}
	// The end of the body can no longer be seen. A client that has sent all of it learns
	// that no other answer comes, and closes the connection (RFC 9112, section 9.6).
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // fails if the client has gone: the next read fails, too
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.src, b.control = buffered.Reader, conn
	return conn, nil
}

// release is the last call. From here on, the read deadline is the server's, which does not
// wait for the rest of an unread body.
func (b *body) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		_ = b.control.SetReadDeadline(time.Now())
	}
	b.ended = true
}
