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
	// answerBuffer bounds the JSON of an answer in memory, in bytes.
	answerBuffer = 32 << 10

	// A client has answerIdle to read answerBuffer bytes of its answer, and
	// answerTimeout to read all of it. While other uploads wait for memory, which the
	// rest of the answer takes, it has answerPatience for answerBuffer bytes.
	answerIdle     = 10 * time.Second
	answerTimeout  = 2 * time.Minute
	answerPatience = 3 * time.Second
)

// writeDeadline bounds the time that a client has to read its answer.
type writeDeadline struct {
	control    *http.ResponseController
	othersWait func() bool // reports whether other uploads wait for memory
	unhook     func() bool

	mu       sync.Mutex
	end      time.Time   // of the whole answer
	last     time.Time   // when extend was last called
	patience *time.Timer // calls look; nil until extend is called
	stopped  bool        // the answer is written: the connection may be used for another request
}

// newWriteDeadline returns a writeDeadline. When closing ends, the client has closeGrace
// left. The caller calls stop.
func newWriteDeadline(control *http.ResponseController, othersWait func() bool, closing context.Context) *writeDeadline {
	d := &writeDeadline{control: control, othersWait: othersWait, end: time.Now().Add(answerTimeout)}
	d.unhook = context.AfterFunc(closing, func() { d.cut(closeGrace) })
	return d
}

// cut ends the answer after that time.
func (d *writeDeadline) cut(left time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end = time.Now().Add(left)
	d.set(d.end)
}

// extend sets the deadline of the next write.
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
	// It fails if the connection is closed. Then the write fails, too.
	_ = d.control.SetWriteDeadline(deadline)
}

// look ends the answer if the client has read nothing for answerPatience and other uploads
// wait for memory.
func (d *writeDeadline) look() {
	d.mu.Lock()
	slow := time.Since(d.last) >= answerPatience
	d.mu.Unlock()
	if slow && d.othersWait() {
		d.cut(0)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.stopped {
		d.patience.Reset(answerPatience / 3)
	}
}

// stop stops changing the deadline. The server resets it.
func (d *writeDeadline) stop() {
	d.unhook()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	if d.patience != nil {
		d.patience.Stop()
	}
}

// answerWriter streams an answer in JSON. Once a write has failed, its methods do nothing.
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

// text writes JSON.
func (a *answerWriter) text(text ...byte) {
	for len(text) > 0 && a.err == nil {
		n := min(len(text), cap(a.buf)-len(a.buf))
		a.buf = append(a.buf, text[:n]...)
		if text = text[n:]; len(text) > 0 {
			a.flush()
		}
	}
}

// list writes a field with a list of names, after another field.
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

// flush writes the buffer.
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

// end writes the rest of the answer. If the whole answer fits into the buffer, it has a
// Content-Length.
func (a *answerWriter) end() {
	if a.err != nil {
		return
	}
	if !a.begun {
		a.w.Header().Set("Content-Length", strconv.Itoa(len(a.buf)))
	}
	a.flush()
	_ = a.deadline.control.Flush() // the client has gone
}

// writeStored answers a stored upload.
func writeStored(a *answerWriter, about storedUpload, names *nameLists) {
	head := a.json.Text(stored{about})
	a.text(head[:len(head)-len("}}")]...)
	a.list("skipped_keys", names.skipped)
	a.list("uploaded_keys", names.uploaded)
	a.list("ignored_keys", names.ignored)
	a.text([]byte("}}\n")...)
	a.end()
}
