package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"spillway/health"
	"spillway/internal/account"
	"spillway/internal/answer"
	"spillway/internal/outcome"
)

const (
	// sampleEvery is how often the live page is updated.
	sampleEvery = time.Second

	// historyLength is how many samples are kept for the plots: five minutes.
	historyLength = 300

	// pageWrite bounds the write of one message, so that a page that does not read
	// is closed.
	pageWrite = 10 * time.Second

	// mostPages is how many live pages may be open at once.
	mostPages = 32

	// mostUploads is how many uploads under way a page shows. Further ones can only be
	// waiting for their turn.
	mostUploads = 200
)

// sample is one point of each plot. Sizes are in bytes.
type sample struct {
	At         int64 `json:"at"` // in milliseconds since 1970
	Memory     int64 `json:"memory"`
	Spill      int64 `json:"spill"`
	Free       int64 `json:"free"`     // -1 if unknown
	Received   int64 `json:"received"` // archive bytes in the last second
	Sent       int64 `json:"sent"`     // bytes sent to the store in the last second
	InFlight   int   `json:"in_flight"`
	MemoryWait int   `json:"memory_wait"` // calls that wait for room
}

// moment is the message that pages get every second.
type moment struct {
	Now      sample                  `json:"now"`
	Uploads  []activeUpload          `json:"uploads"`
	Ended    []endedUpload           `json:"ended"`    // since the previous moment, the oldest first
	Refusals []refusal               `json:"refusals"` // of tokens, the newest first
	Outcomes map[outcome.Outcome]int `json:"outcomes"`
	Draining bool                    `json:"draining"`
	Checks   []shownCheck            `json:"checks"`
	Janitor  []cleaning              `json:"janitor"`
	Pressure struct {
		State  string                 `json:"state"`
		Events []health.PressureEvent `json:"events"`
	} `json:"pressure"`

	MemoryTotal int64 `json:"memory_total"`
	SpillQuota  int64 `json:"spill_quota"`
	FreeMark    int64 `json:"free_mark"`
}

// shownCheck is a check of the heartbeat.
type shownCheck struct {
	Name    string `json:"name"`
	Level   string `json:"level"` // "unknown" if the heartbeat has not run yet
	Message string `json:"message"`
}

// cleaning is a cleaning task.
type cleaning struct {
	Name     string    `json:"name"`
	Success  time.Time `json:"success"`  // zero before the first
	Failures int       `json:"failures"` // in a row, up to now
	Removed  int       `json:"removed"`
}

// beginning is the first message of a page: the last moment, with the history up to
// it.
type beginning struct {
	moment
	Version health.Version `json:"version"`
	Started time.Time      `json:"started"`
	Labels  []string       `json:"labels"` // of accounts, in order
	History []sample       `json:"history"`
}

// live samples once a second for all pages. A moment is marshaled once, and only if a
// page is open.
type live struct {
	cfg     *AdminConfig
	started time.Time

	// used by run only
	received int64  // archive bytes up to the last sample
	sent     int64  // bytes to the store up to the last sample
	seen     uint64 // number of the last ended upload in a moment

	mu      sync.Mutex // guards all below
	open    int        // pages
	number  uint64     // of the last moment
	last    moment
	encoded []byte        // the last moment in JSON; nil if no page was open
	next    chan struct{} // closed with the next moment, and at the end
	over    bool          // there will be no more moments
	history []sample
}

func newLive(cfg *AdminConfig) *live {
	return &live{cfg: cfg, started: time.Now(), next: make(chan struct{})}
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
	memory, spill := l.cfg.Memory(), l.cfg.Spill()
	uploads, received := l.cfg.Uploads.underWay()
	sent := l.cfg.Metrics.sent.Load()
	m.Now = sample{
		At: time.Now().UnixMilli(), Memory: memory.Used(), Spill: spill.Used, Free: l.cfg.Pressure.Free(),
		// An upload that ends right now is counted in the next sample only, so the
		// sum may be less than before.
		Received: max(received-l.received, 0), Sent: sent - l.sent,
		InFlight: len(uploads), MemoryWait: memory.Waiting,
	}
	l.received, l.sent = max(received, l.received), sent
	m.Uploads = uploads[:min(len(uploads), mostUploads)]
	m.Ended, l.seen = l.cfg.Uploads.since(l.seen)
	m.Refusals = l.cfg.Uploads.refused()
	m.Outcomes = l.cfg.Uploads.outcomes()
	m.Draining = l.cfg.Health.Draining()
	for _, c := range l.cfg.Health.Checks() {
		m.Checks = append(m.Checks, shownCheck{c.Name, c.Level.String(), c.Message})
	}
	for _, t := range l.cfg.Tasks() {
		m.Janitor = append(m.Janitor, cleaning{t.Name, t.LastSuccess, t.Failures, t.Removed})
	}
	state, _ := l.cfg.Pressure.State()
	m.Pressure.State, m.Pressure.Events = state.String(), l.cfg.Pressure.Recent()
	m.MemoryTotal, m.SpillQuota, m.FreeMark = memory.Total, spill.Quota, l.cfg.Pressure.Mark()
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

// clients returns how many pages are open.
func (l *live) clients() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// enter counts a page as open. It reports false if too many are open or there will be
// no more moments. Otherwise the caller calls leave later.
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

// since returns the next message for a page whose last moment was the one with that
// number; 0: none. It is empty if there is nothing new, and a beginning if the page
// has missed a moment. The channel is closed when there is more, and nil when there
// will be none.
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
		moment: l.last, Version: l.cfg.Version, Started: l.started, Labels: account.Names(), History: l.history,
	}
	b.Ended, _ = l.cfg.Uploads.since(0)
	b.Refusals = l.cfg.Uploads.refused()
	return "beginning", encode(b), l.number, l.next
}

// encode returns v as JSON, on one line.
func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // v is of a type of this file; none of them can fail
	}
	return data
}

// serve streams to a page, as server-sent events: "beginning" first and after a gap,
// then "moment" every second.
func (l *live) serve(w http.ResponseWriter, r *http.Request) {
	if !l.enter() {
		w.Header().Set("Retry-After", "5")
		answer.Error(w, http.StatusServiceUnavailable, "Too many live pages are open, or this instance is shutting down", "Close one, or try another instance.")
		return
	}
	defer l.leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would buffer the events
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
			// This fails without a connection. Then so does the write.
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
