package serve

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"
)

const (
	// asyncLimit bounds the memory of the queued lines, in bytes.
	asyncLimit = 1 << 20

	// asyncOverhead is the memory of a queued line besides its text, in bytes.
	asyncOverhead = 64
)

// An asyncWriter writes lines in the background, so that its callers never wait or fail:
// standard output and error may be pipes that nobody reads. It drops and counts lines
// that exceed the queue or cannot be written. It writes each line with one call, in
// order.
type asyncWriter struct {
	out io.Writer

	// onDropped is called when the queue is empty, with the number of lines dropped since
	// the last call. It may write to the asyncWriter. It may be nil; set it before start.
	onDropped func(lines int)

	wake  chan struct{} // holds a value when the fields below have changed
	ended chan struct{} // closed when run returns

	mu         sync.Mutex // guards the fields below
	lines      [][]byte   // the queue
	size       int        // of the queue and the line being written, with overhead, in bytes
	closing    bool
	closed     bool // run writes no more lines
	unreported int  // dropped lines that onDropped does not know of
	state      asyncState
}

// asyncState is the state of an asyncWriter.
type asyncState struct {
	Dropped  int       // lines since the start
	LastDrop time.Time // zero if there was none
	Writing  time.Time // start of the current write; zero if there is none
	Err      error     // of the last write; nil if it succeeded
}

func newAsyncWriter(out io.Writer) *asyncWriter {
	return &asyncWriter{out: out, wake: make(chan struct{}, 1), ended: make(chan struct{})}
}

// start starts to write lines. The caller closes w.
func (w *asyncWriter) start() { go w.run() }

// Write implements [io.Writer]. It takes whole lines and never fails.
func (w *asyncWriter) Write(line []byte) (int, error) {
	w.add(line, asyncLimit)
	return len(line), nil
}

// add queues a copy of line if the queue then has at most limit bytes.
func (w *asyncWriter) add(line []byte, limit int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.size+len(line)+asyncOverhead > limit {
		w.drop()
		return
	}
	w.lines = append(w.lines, bytes.Clone(line))
	w.size += len(line) + asyncOverhead
	w.signal()
}

// drop counts a dropped line. The caller holds w.mu.
func (w *asyncWriter) drop() {
	w.state.Dropped++
	w.state.LastDrop = time.Now()
	w.unreported++
}

func (w *asyncWriter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes lines until w is closed and the queue is empty.
func (w *asyncWriter) run() {
	defer close(w.ended)
	torn := false // the last write stopped within a line
	for {
		line, ok := w.next()
		if !ok {
			return
		}
		text := line
		if torn {
			text = append([]byte{'\n'}, line...)
		}
		n, err := w.out.Write(text)
		if n > 0 {
			torn = n < len(text)
		}
		w.wrote(line, err)
	}
}

// next waits for a line to write. It reports false when w is closed and the queue empty.
func (w *asyncWriter) next() ([]byte, bool) {
	for {
		line, dropped, ok := w.take()
		if line != nil || !ok {
			return line, ok
		}
		if dropped > 0 {
			w.onDropped(dropped)
			continue
		}
		<-w.wake
	}
}

// take returns the first queued line. If there is none and writing works, it returns how
// many dropped lines to report. It reports false when w is closed and the queue empty.
func (w *asyncWriter) take() (line []byte, dropped int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lines) > 0 {
		line, w.lines[0], w.lines = w.lines[0], nil, w.lines[1:]
		w.state.Writing = time.Now()
		return line, 0, true
	}
	if w.onDropped != nil && w.state.Err == nil {
		dropped, w.unreported = w.unreported, 0
	}
	w.closed = w.closing && dropped == 0
	return nil, dropped, !w.closed
}

// wrote records the result of a write.
func (w *asyncWriter) wrote(line []byte, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.size -= len(line) + asyncOverhead
	w.state.Writing, w.state.Err = time.Time{}, err
	if err != nil {
		w.drop()
	}
}

// stats returns the state of w.
func (w *asyncWriter) stats() asyncState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// close waits until the queue is written or ctx ends. It leaves a write that hangs
// behind.
func (w *asyncWriter) close(ctx context.Context) {
	w.mu.Lock()
	w.closing = true
	w.signal()
	w.mu.Unlock()
	select {
	case <-w.ended:
	case <-ctx.Done():
	}
}
