package serve

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"
)

const (
	// asyncLimit bounds the memory of the lines that wait to be written, in
	// bytes.
	asyncLimit = 1 << 20

	// asyncOverhead is what a waiting line takes beside its text, in bytes.
	asyncOverhead = 64
)

// An asyncWriter writes lines in the background, so that whoever writes to it
// neither waits nor fails: standard output and error may be pipes that nobody
// reads. Lines that find no room are dropped and counted, and so are those whose
// writing fails. Each line is written with one call, in the order they came.
type asyncWriter struct {
	out io.Writer

	// lost is called when all lines are written, with the number of those that
	// have been dropped since the last call. It may write to the asyncWriter.
	// May be nil; must be set before start.
	lost func(lines int)

	wake  chan struct{} // has a value when run has something to look at
	ended chan struct{} // closed when run returns

	mu       sync.Mutex // guards what follows
	lines    [][]byte
	size     int // of lines and of the line being written, overhead included, in bytes
	closing  bool
	closed   bool // run has returned: there is nobody to write
	unlisted int  // dropped lines that lost has not been told of
	state    asyncState
}

// asyncState is how an asyncWriter is doing.
type asyncState struct {
	Dropped  int       // lines, since the start
	LastDrop time.Time // zero if there was none
	Writing  time.Time // when the write under way began; zero if there is none
	Err      error     // of the last write; nil if it succeeded
}

func newAsyncWriter(out io.Writer) *asyncWriter {
	return &asyncWriter{out: out, wake: make(chan struct{}, 1), ended: make(chan struct{})}
}

// start begins to write lines. The caller closes w.
func (w *asyncWriter) start() { go w.run() }

// Write implements [io.Writer] for whole lines. It never fails.
func (w *asyncWriter) Write(line []byte) (int, error) {
	w.add(line, asyncLimit)
	return len(line), nil
}

// add takes a copy of line if no more than limit bytes wait then.
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

// drop counts a line that is lost. The caller holds w.mu.
func (w *asyncWriter) drop() {
	w.state.Dropped++
	w.state.LastDrop = time.Now()
	w.unlisted++
}

func (w *asyncWriter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes lines until w is closed and all are written.
func (w *asyncWriter) run() {
	defer close(w.ended)
	torn := false // the last write ended within a line
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

// next waits for a line to write. It reports false when there will be none.
func (w *asyncWriter) next() ([]byte, bool) {
	for {
		line, lost, ok := w.take()
		if line != nil || !ok {
			return line, ok
		}
		if lost > 0 {
			w.lost(lost)
			continue
		}
		<-w.wake
	}
}

// take returns the first line that waits. If there is none, it returns how many
// lines w.lost has to be told of, which waits until writing works. It reports
// false when w is closed and empty.
func (w *asyncWriter) take() (line []byte, lost int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lines) > 0 {
		line, w.lines[0], w.lines = w.lines[0], nil, w.lines[1:]
		w.state.Writing = time.Now()
		return line, 0, true
	}
	if w.lost != nil && w.state.Err == nil {
		lost, w.unlisted = w.unlisted, 0
	}
	w.closed = w.closing && lost == 0
	return nil, lost, !w.closed
}

// wrote takes note of a write that has ended.
func (w *asyncWriter) wrote(line []byte, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.size -= len(line) + asyncOverhead
	w.state.Writing, w.state.Err = time.Time{}, err
	if err != nil {
		w.drop()
	}
}

// stats returns how w is doing. A nil asyncWriter drops nothing.
func (w *asyncWriter) stats() asyncState {
	if w == nil {
		return asyncState{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// close waits until all lines are written, or until ctx ends. Then a write that
// hangs is left behind.
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
