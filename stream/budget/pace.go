package budget

import (
	"sync"
	"time"
)

// pace measures how slow the client of an upload is: how long the upload has waited
// for it since it last sent as much as a part. Time in which the upload does not wait
// for its client does not count.
type pace struct {
	part int // bytes

	mu      sync.Mutex    // guards all below; taken after Budget.mu
	since   time.Time     // since when the upload waits for its client; zero while it does not
	waited  time.Duration // before that
	arrived int           // bytes, meanwhile
	latest  time.Time     // when the client last sent something
	done    bool          // the whole archive has arrived
}

// begin says that the upload waits for its client.
func (p *pace) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = time.Now()
}

// end says that the client has sent n bytes.
func (p *pace) end(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.waited += now.Sub(p.since)
	p.since = time.Time{}
	if n > 0 {
		p.latest = now
	}
	if p.arrived += n; p.arrived >= p.part {
		p.arrived, p.waited = 0, 0
	}
}

// over says that the upload waits for its client no more.
func (p *pace) over() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.waited = true, 0
}

// last is when the client last sent something, zero if it has not, and whether the
// whole archive has arrived.
func (p *pace) last() (at time.Time, done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.latest, p.done
}

// slow is how long the client has taken for less than a part.
func (p *pace) slow() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		return p.waited
	}
	return p.waited + time.Since(p.since)
}
