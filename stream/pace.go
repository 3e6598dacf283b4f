package stream

import (
	"sync"
	"time"
)

// pace tells how slow the client of an upload is: how long it has been waited
// for since it last sent as much as a part. Time in which nobody waits for it
// does not count.
type pace struct {
	part int // bytes

	mu      sync.Mutex
	since   time.Time     // since when it has been waited for; zero while it is not
	waited  time.Duration // before that
	arrived int           // bytes, meanwhile
	latest  time.Time     // when it last sent something
	done    bool          // nobody waits for it any more
}

// begin says that somebody waits for the client.
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

// over says that the client is not waited for any more.
func (p *pace) over() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.waited = true, 0
}

// last is when the client last sent something, zero if it has not, and whether
// more is waited for.
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
