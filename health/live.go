package health

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"spillway/health/answer"
	"spillway/internal/account"
)

const (
	// sampleEvery is how often what the live page shows is looked at.
	sampleEvery = time.Second

	// historyLength is how many samples are kept for the plots: five minutes.
	historyLength = 300

	// pageWrite bounds one message to a page, and so what a page that does not
	// read can hold.
	pageWrite = 10 * time.Second

	// mostPages is how many live pages may be open at once.
	mostPages = 32

	// mostUploads is how many uploads under way a page shows; more of them can
	// only be waiting for their turn.
	mostUploads = 200
)

// sample is a moment on the plots. All sizes are in bytes.
type sample struct {
	At         int64 `json:"at"` // in milliseconds since 1970
	Memory     int64 `json:"memory"`
	Spill      int64 `json:"spill"`
	Free       int64 `json:"free"`     // -1 if it is not known
	Received   int64 `json:"received"` // a second, of archives
	Sent       int64 `json:"sent"`     // a second, to the store
	InFlight   int   `json:"in_flight"`
	MemoryWait int   `json:"memory_wait"` // calls that wait for room
}

// moment is what the live page is told every second.
type moment struct {
	Now      sample          `json:"now"`
	Uploads  []activeUpload  `json:"uploads"`
	Ended    []endedUpload   `json:"ended"` // since the moment before, the oldest first
	Outcomes map[Outcome]int `json:"outcomes"`
	Draining bool            `json:"draining"`
	Checks   []shownCheck    `json:"checks"`
	Janitor  []cleaning      `json:"janitor"`
	Pressure struct {
		State  string          `json:"state"`
		Events []pressureEvent `json:"events"`
	} `json:"pressure"`

	MemoryTotal int64 `json:"memory_total"`
	SpillQuota  int64 `json:"spill_quota"`
	FreeMark    int64 `json:"free_mark"`
}

// shownCheck is a line of the heartbeat.
type shownCheck struct {
	Name    string `json:"name"`
	Level   string `json:"level"` // "unknown" if nobody has asked yet
	Message string `json:"message"`
}

// cleaning is what the page shows of a task.
type cleaning struct {
	Name     string    `json:"name"`
	Success  time.Time `json:"success"`  // zero if there was none
	Failures int       `json:"failures"` // in a row
	Removed  int       `json:"removed"`
}

// beginning is what a page is told first: the moment, with all that is
// remembered from before.
type beginning struct {
	moment
	Version Version   `json:"version"`
	Started time.Time `json:"started"`
	Labels  []string  `json:"labels"` // of accounts, in their order
	History []sample  `json:"history"`
}

// live has one sampler for all pages. What it sees each second is put into
// JSON once, if there is anybody to read it.
type live struct {
	h       *Health
	started time.Time

	// the sampler's own
	received int64  // of archives, at the sample before
	sent     int64  // to the store, likewise
	seen     uint64 // number of the last upload that was told as ended

	mu      sync.Mutex
	open    int           // pages
	number  uint64        // of moments so far
	last    moment        // with that number
	encoded []byte        // the last moment, if somebody was there to read it
	next    chan struct{} // closed when there is another moment, or none will be
	over    bool          // none will be
	history []sample
}

func newLive(h *Health) *live {
	return &live{h: h, started: time.Now(), next: make(chan struct{})}
}

// run samples until ctx ends.
func (l *live) run(ctx context.Context) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		l.publish(l.look())
		select {
		case <-ticker.C:
		case <-ctx.Done():
			l.mu.Lock()
			defer l.mu.Unlock()
			l.over = true
			close(l.next)
			return
		}
	}
}

// look takes a sample.
func (l *live) look() moment {
	var m moment
	memory, spill := l.h.cfg.Memory(), l.h.cfg.Spill()
	uploads, received := l.h.cfg.Uploads.underWay()
	sent := l.h.cfg.Metrics.sent.Load()
	m.Now = sample{
		At: time.Now().UnixMilli(), Memory: memory.used(), Spill: spill.Used, Free: l.h.cfg.Pressure.lastFree(),
		// An upload that ends at this very moment is not counted before the
		// next: the sum may fall behind what it was.
		Received: max(received-l.received, 0), Sent: sent - l.sent,
		InFlight: len(uploads), MemoryWait: memory.Waiting,
	}
	l.received, l.sent = max(received, l.received), sent
	m.Uploads = uploads[:min(len(uploads), mostUploads)]
	m.Ended, l.seen = l.h.cfg.Uploads.since(l.seen)
	m.Outcomes = l.h.cfg.Uploads.outcomes()
	m.Draining = l.h.draining.Load()
	// A page that is open does not probe the store.
	known, failure := l.h.storage.lastKnown()
	for _, c := range l.h.checks(l.h.checkStorage(failure)) {
		m.Checks = append(m.Checks, shownCheck{c.Name, c.Level.String(), c.Message})
	}
	if !known {
		m.Checks[0] = shownCheck{Name: "storage", Level: "unknown", Message: "/__heartbeat__ has not been asked yet."}
	}
	for _, t := range l.h.cfg.Cleaning() {
		m.Janitor = append(m.Janitor, cleaning{t.Name, t.LastSuccess, t.Failures, t.Removed})
	}
	state, _ := l.h.cfg.Pressure.State()
	m.Pressure.State, m.Pressure.Events = state.String(), l.h.cfg.Pressure.recently()
	m.MemoryTotal, m.SpillQuota, m.FreeMark = memory.Total, spill.Quota, l.h.cfg.Pressure.cfg.Mark
	return m
}

// publish makes m the last moment.
func (l *live) publish(m moment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.number++
	l.last, l.encoded = m, nil
	if len(l.history) == historyLength {
		copy(l.history, l.history[1:])
		l.history = l.history[:historyLength-1]
	}
	l.history = append(l.history, m.Now)
	if l.open > 0 {
		l.encoded = encode(m)
	}
	close(l.next)
	l.next = make(chan struct{})
}

// clients is how many pages are open.
func (l *live) clients() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// enter counts a page as open, unless there are too many or none is served any
// more. Those that are counted call leave.
func (l *live) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == mostPages || l.over {
		return false
	}
	l.open++
	return true
}

func (l *live) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
}

// since returns what to tell a page that was told of the moment with that
// number, or of none: nothing, if there is nothing new; the last moment; or
// everything, if the page has missed something. The channel is closed when
// there is more, and nil when there will be none.
func (l *live) since(told uint64) (event string, data []byte, number uint64, next <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.over:
		return "", nil, l.number, nil
	case told == l.number:
		return "", nil, l.number, l.next
	case told == l.number-1 && told > 0 && l.encoded != nil:
		return "moment", l.encoded, l.number, l.next
	}
	b := beginning{
		moment: l.last, Version: l.h.cfg.Version, Started: l.started, Labels: account.Names(), History: l.history,
	}
	b.Ended, _ = l.h.cfg.Uploads.since(0)
	return "beginning", encode(b), l.number, l.next
}

// encode puts what the page is told into JSON, on one line.
func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // they are types of this file, none of which can fail
	}
	return data
}

// serve tells a page what happens, as server-sent events: "beginning" first
// and after a gap, then "moment" every second.
func (l *live) serve(w http.ResponseWriter, r *http.Request) {
	if !l.enter() {
		w.Header().Set("Retry-After", "5")
		answer.Error(w, http.StatusServiceUnavailable, "Too many live pages are open, or this instance is shutting down")
		return
	}
	defer l.leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep them back
	if r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	told := uint64(0)
	for {
		event, data, number, next := l.since(told)
		if next == nil {
			return
		}
		if event != "" {
			// Where there are no deadlines, the connection's end ends the page.
			_ = control.SetWriteDeadline(time.Now().Add(pageWrite))
			if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, data); err != nil {
				return
			}
			if err := control.Flush(); err != nil {
				return
			}
			told = number
		}
		select {
		case <-next:
		case <-r.Context().Done():
			return
		}
	}
}
