package budget

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"spillway/internal/guard"
)

const (
	// defaultHangAfter is how long a call of the disk may take before it hangs.
	defaultHangAfter = 5 * time.Second

	// giveUpAfter is how many times hangAfter a caller waits for a call: a disk that is
	// only slow gets half a minute.
	giveUpAfter = 6

	// callGrace is how long a call gets to end after its context has ended. If the disk
	// works, nothing is left under way.
	callGrace = 100 * time.Millisecond

	// maxDiskCalls is how many calls may be under way. Each has a thread and a buffer.
	maxDiskCalls = 32

	// maxHanging is how many calls may hang at once. Beyond that, calls fail at once.
	maxHanging = 8

	// diskChunk is the most that one call reads or writes, in bytes.
	diskChunk = 128 << 10
)

// ErrDiskHangs says that the disk did not answer in time, or that too many calls hang
// already.
var ErrDiskHangs = errors.New("the disk does not answer")

// diskCalls makes the calls of a [Disk]. Any of them can hang forever: on a frozen file
// system, a dead network mount, a failing device. Nothing in the process can interrupt
// such a call. So each runs in a goroutine of its own, and its caller stops waiting
// when it has to.
//
// The number of calls under way is limited, and so are their threads and buffers. The
// buffers are at most 4 MiB, which the budget does not count.
type diskCalls struct {
	hangAfter time.Duration
	slots     chan struct{} // holds a value for each call under way

	mu    sync.Mutex             // guards all below
	calls map[*diskCall]struct{} // under way
	late  int64                  // calls that took longer than hangAfter, since the start
}

func newDiskCalls(hangAfter time.Duration) *diskCalls {
	if hangAfter == 0 {
		hangAfter = defaultHangAfter
	}
	return &diskCalls{
		hangAfter: hangAfter,
		slots:     make(chan struct{}, maxDiskCalls),
		calls:     make(map[*diskCall]struct{}),
	}
}

// A diskCall is a call under way. Its end is claimed by the call, when it ends, or by
// its caller, when that stops waiting: whichever comes first.
type diskCall struct {
	began   time.Time
	late    bool // counted in diskCalls.late; guarded by diskCalls.mu
	claimed atomic.Bool
}

// do makes a call and returns its error. If ctx ends before the call, or the call takes
// too long, do returns early: with the context's cause or ErrDiskHangs, and ended is
// false. Then late, which may be nil, runs once the call has ended.
//
// The call owns all memory that it reads or writes: its caller may be gone.
func (c *diskCalls) do(ctx context.Context, call func() error, late func()) (ended bool, err error) {
	if err := c.enter(ctx); err != nil {
		return true, err
	}
	k := c.begin()
	done := make(chan error, 1)
	go func() {
		err := guard.Do(call)
		c.end(k)
		if k.claimed.CompareAndSwap(false, true) {
			done <- err
		} else if late != nil {
			late()
		}
	}()
	timer := time.NewTimer(giveUpAfter * c.hangAfter)
	defer timer.Stop()
	select {
	case err := <-done:
		return true, err
	case <-timer.C:
		err = ErrDiskHangs
	case <-ctx.Done():
		err = context.Cause(ctx)
		timer.Reset(callGrace)
		select {
		case err := <-done:
			return true, err
		case <-timer.C:
		}
	}
	if !k.claimed.CompareAndSwap(false, true) {
		return true, <-done // it ended just now
	}
	return false, err
}

// enter waits for a slot for a call.
func (c *diskCalls) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if hanging, _ := c.hanging(); hanging >= maxHanging {
		return ErrDiskHangs
	}
	select {
	case c.slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(c.hangAfter)
	defer timer.Stop()
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return ErrDiskHangs
	}
}

// always makes a call that has to be made, however many hang. The call waits for its
// slot without a thread. Nobody needs its error. The channel is closed once the call
// has ended and then has run.
func (c *diskCalls) always(call func() error, then func()) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.slots <- struct{}{}
		k := c.begin()
		_ = guard.Do(call)
		c.end(k)
		then()
	}()
	return ended
}

// begin records that a call is under way. The caller has a slot.
func (c *diskCalls) begin() *diskCall {
	k := &diskCall{began: time.Now()}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[k] = struct{}{}
	return k
}

// end returns the slot of a call.
func (c *diskCalls) end(k *diskCall) {
	c.mu.Lock()
	c.overdue(k)
	delete(c.calls, k)
	c.mu.Unlock()
	<-c.slots
}

// overdue is how long a call has been under way if it hangs, else 0. It counts the call
// as late once. The caller holds c.mu.
func (c *diskCalls) overdue(k *diskCall) time.Duration {
	d := time.Since(k.began)
	if d < c.hangAfter {
		return 0
	}
	if !k.late {
		k.late = true
		c.late++
	}
	return d
}

// hanging is how many calls hang, and how long ago the oldest of them began.
func (c *diskCalls) hanging() (n int, oldest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.calls {
		if d := c.overdue(k); d > 0 {
			n++
			oldest = max(oldest, d)
		}
	}
	return n, oldest
}

// lateCalls is how many calls have taken too long since the start, including those that
// hang now.
func (c *diskCalls) lateCalls() int64 {
	c.hanging()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.late
}

// A single makes one call at a time. While one hangs, it makes no other.
type single struct {
	busy atomic.Bool
}

// do is [diskCalls.do]. It fails with ErrDiskHangs while an earlier call is under way
// whose caller stopped waiting.
func (s *single) do(ctx context.Context, c *diskCalls, call func() error) error {
	if !s.busy.CompareAndSwap(false, true) {
		return ErrDiskHangs
	}
	free := func() { s.busy.Store(false) }
	ended, err := c.do(ctx, call, free)
	if ended {
		free()
	}
	return err
}

// diskBuffers are the buffers of reads and writes. A call that was given up keeps its
// own.
var diskBuffers = sync.Pool{New: func() any { return new([diskChunk]byte) }}
