package upload

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"spillway/internal/answer"
)

const (
	// answerBuffer is how much of a long answer is in memory as JSON, in bytes.
	answerBuffer = 32 << 10

	// answerIdle is how long a client may take for answerBuffer bytes of its
	// answer, and answerTimeout for all of it. What it does not read meanwhile
	// takes memory from the budget: answerPatience is how long it may take for
	// answerBuffer bytes while other uploads wait for memory.
	answerIdle     = 10 * time.Second
	answerTimeout  = 2 * time.Minute
	answerPatience = 3 * time.Second
)

// writeDeadline bounds the time that a client has to read its answer.
type writeDeadline struct {
	control *http.ResponseController
	wanted  func() bool // others wait for the memory that the answer takes
	unhook  func() bool

	mu       sync.Mutex
	end      time.Time   // of all
	last     time.Time   // when extend was called
	patience *time.Timer // ends the answer if it is wanted; nil until extend is called
	stopped  bool        // the answer is written: the connection may be in other use
}

// newWriteDeadline returns one that leaves little time once closing ends. The
// caller calls stop.
func newWriteDeadline(control *http.ResponseController, wanted func() bool, closing context.Context) *writeDeadline {
	d := &writeDeadline{control: control, wanted: wanted, end: time.Now().Add(answerTimeout)}
	d.unhook = context.AfterFunc(closing, func() { d.cut(closeGrace) })
	return d
}

// cut leaves no more time than that.
func (d *writeDeadline) cut(left time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end = time.Now().Add(left)
	d.set(d.end)
}

// extend gives the next write its time.
func (d *writeDeadline) extend() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = time.Now()
	if d.patience == nil {
		d.patience = time.AfterFunc(answerPatience, d.look)
	}
	next := d.last.Add(answerIdle)
	if next.After(d.end) {
		next = d.end
	}
	d.set(next)
}

// set sets the connection's deadline. The caller holds d.mu.
func (d *writeDeadline) set(deadline time.Time) {
	if d.stopped {
		return
	}
	// It fails where there is no connection any more. Then so does the write.
	_ = d.control.SetWriteDeadline(deadline)
}

// look ends the answer if its client has not read for long enough and others wait.
func (d *writeDeadline) look() {
	d.mu.Lock()
	slow := time.Since(d.last) >= answerPatience
	d.mu.Unlock()
	if slow && d.wanted() {
		d.cut(0)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.stopped {
		d.patience.Reset(answerPatience / 3)
	}
}

// stop ends the looks. The deadline stays; the server takes it back.
func (d *writeDeadline) stop() {
	d.unhook()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	if d.patience != nil {
		d.patience.Stop()
	}
}

// answerWriter writes an answer in JSON as a stream. Its methods do nothing once
// the client has gone or has not read for too long.
type answerWriter struct {
	w        http.ResponseWriter
	status   int
	deadline *writeDeadline
	json     *answer.Encoder
	buf      []byte
	begun    bool
	err      error
}

func newAnswerWriter(w http.ResponseWriter, status int, d *writeDeadline) *answerWriter {
	return &answerWriter{w: w, status: status, deadline: d, json: answer.NewEncoder(), buf: make([]byte, 0, answerBuffer)}
}

// text writes JSON as it is.
func (a *answerWriter) text(text ...byte) {
	for len(text) > 0 && a.err == nil {
		n := min(len(text), cap(a.buf)-len(a.buf))
		a.buf = append(a.buf, text[:n]...)
		if text = text[n:]; len(text) > 0 {
			a.flush()
		}
	}
}

// list writes a field that is a list of names, behind others.
func (a *answerWriter) list(field string, names []string) {
	a.text([]byte(`,"` + field + `":[`)...)
	for i, name := range names {
		if a.err != nil {
			return
		}
		if i > 0 {
			a.text(',')
		}
		a.text(a.json.Text(name)...)
	}
	a.text(']')
}

// flush writes what is in the buffer.
func (a *answerWriter) flush() {
	if !a.begun {
		a.begun = true
		answer.Header(a.w.Header())
		a.w.WriteHeader(a.status)
	}
	a.deadline.extend()
	_, a.err = a.w.Write(a.buf)
	a.buf = a.buf[:0]
}

// end writes the rest. An answer that fits into the buffer states its length.
func (a *answerWriter) end() {
	if a.err != nil {
		return
	}
	if !a.begun {
		a.w.Header().Set("Content-Length", strconv.Itoa(len(a.buf)))
	}
	a.flush()
	_ = a.deadline.control.Flush() // there is nobody to tell
}

// writeStored answers an upload that is stored.
func writeStored(a *answerWriter, about storedUpload, names *lists) {
	head := a.json.Text(stored{about})
	a.text(head[:len(head)-len("}}")]...)
	a.list("skipped_keys", names.skipped)
	a.list("uploaded_keys", names.uploaded)
	a.list("ignored_keys", names.ignored)
	a.text([]byte("}}\n")...)
	a.end()
}
