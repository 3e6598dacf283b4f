package health

import (
	"context"
	"sync"
	"time"
)

const (
	// window is how long a trouble of the machine counts.
	window = 2 * time.Minute

	// tooMany troubles within the window take the instance out of the balancer.
	tooMany = 3

	// lookEvery is how often free space is looked at, and whether the instance
	// can come back.
	lookEvery = 10 * time.Second
)

// Trouble is a kind of trouble of the machine. What a client can provoke is
// none.
type Trouble string

const (
	DiskFailed Trouble = "disk failed" // it is full or broken, or does not give back what it should
	LowSpace   Trouble = "low space"   // less is free than has to stay
)

// State is what the troubles of the machine make of an instance.
type State int

const (
	Calm   State = iota // none within the window
	Warned              // fewer than too many
	Out                 // too many: no new uploads, until it is calm again
)

func (s State) String() string { return [...]string{"calm", "warned", "out"}[s] }

// PressureConfig is what a [Pressure] looks at. Every field must be set.
type PressureConfig struct {
	// Mark is how many bytes of the spill folder's file system should stay
	// free. Less is trouble; the instance comes back with a quarter more.
	Mark int64

	Free  func() (int64, error) // bytes
	Probe func() error          // writes to the spill folder

	// Changed is told when the instance goes out and when it comes back. It is
	// called with nothing locked.
	Changed func(s State, last Trouble)
}

// Pressure counts the troubles of the machine in a sliding window. One is a
// warning; several take the instance out of the balancer, so that clients go to
// another. It comes back by itself, but only when there was no trouble for as
// long as the window, enough space is free, and the disk takes a write.
type Pressure struct {
	cfg PressureConfig

	mu    sync.Mutex // guards what follows
	times []time.Time
	last  Trouble
	out   bool
}

// NewPressure returns a pressure that is calm.
func NewPressure(cfg PressureConfig) *Pressure { return &Pressure{cfg: cfg} }

// Add counts a trouble.
func (p *Pressure) Add(t Trouble) {
	p.mu.Lock()
	p.forget()
	p.times = append(p.times, time.Now())
	p.last = t
	goes := !p.out && len(p.times) >= tooMany
	p.out = p.out || goes
	p.mu.Unlock()
	if goes {
		p.cfg.Changed(Out, t)
	}
}

// State returns the state, and the last trouble unless it is calm. It waits for
// nothing.
func (p *Pressure) State() (State, Trouble) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget()
	switch {
	case p.out:
		return Out, p.last
	case len(p.times) > 0:
		return Warned, p.last
	}
	return Calm, ""
}

// forget drops the troubles that have left the window, and all but the last
// few. The caller holds p.mu.
func (p *Pressure) forget() {
	for len(p.times) > 0 && (time.Since(p.times[0]) >= window || len(p.times) > tooMany) {
		p.times = p.times[1:]
	}
}

// Watch looks at the disk until ctx ends.
func (p *Pressure) Watch(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		p.look()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// look counts what is wrong with the disk, and lets the instance come back.
func (p *Pressure) look() {
	free, err := p.cfg.Free()
	switch {
	case err != nil:
		p.Add(DiskFailed)
		return
	case free < p.cfg.Mark:
		p.Add(LowSpace)
		return
	}
	if !p.quiet() || free < p.cfg.Mark+p.cfg.Mark/4 {
		return
	}
	if p.cfg.Probe() != nil {
		p.Add(DiskFailed)
		return
	}
	// Meanwhile there may have been trouble.
	p.mu.Lock()
	p.forget()
	back := p.out && len(p.times) == 0
	p.out = p.out && !back
	last := p.last
	p.mu.Unlock()
	if back {
		p.cfg.Changed(Calm, last)
	}
}

// quiet reports whether the instance is out, and the window has been without
// trouble.
func (p *Pressure) quiet() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget()
	return p.out && len(p.times) == 0
}
