package health

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
)

const (
	// defaultWindow is how long a trouble of the machine counts.
	defaultWindow = 2 * time.Minute

	// tooMany troubles within the window take the instance out of the balancer.
	tooMany = 3

	// looks is how often within a window the disk is looked at: every 8 s, so that
	// one that is broken has made too many troubles within half a minute.
	looks = 15

	// recentEvents is how many events are remembered for the live page.
	recentEvents = 50
)

// Trouble is a kind of trouble of the machine. Nothing that a client can provoke
// is trouble.
type Trouble string

const (
	NoTrouble  Trouble = ""
	DiskFailed Trouble = "disk failed" // a call failed that should have succeeded
	DiskHangs  Trouble = "disk hangs"  // a call has not ended in time
	LowSpace   Trouble = "low space"   // others have taken the space that has to stay free
)

var troubles = []Trouble{DiskFailed, DiskHangs, LowSpace}

// State is what the troubles of the machine make of an instance.
type State int

const (
	Calm   State = iota // none within the window
	Warned              // fewer than too many
	Out                 // too many: no new uploads, until it is calm again
)

func (s State) String() string { return [...]string{"calm", "warned", "out"}[s] }

// PressureConfig is what a [Pressure] looks at. Every field must be set that does
// not say otherwise.
type PressureConfig struct {
	Window time.Duration // how long a trouble counts; 0: 2 minutes

	// Mark is how many bytes of the spill folder's file system should stay
	// free. Less is trouble; the instance comes back with a quarter more.
	Mark int64

	// Free says how many bytes are free, and how many the instance's own files
	// take, which count as free. Probe writes to the spill folder. Both return
	// within seconds, whatever the disk does.
	Free  func(ctx context.Context) (free, own int64, err error)
	Probe func(ctx context.Context) error

	// Late is how many calls of the disk have not ended in time, since the start.
	Late func() int64

	// Kind is what kind of trouble an error of Free or Probe is. With NoTrouble
	// the disk is not at fault; the instance does not come back with it either.
	Kind func(err error) Trouble

	// Counted is told of each trouble. It is called with nothing locked, and so
	// is Changed.
	Counted func(t Trouble, err error)

	// Changed is told when the instance goes out and when it comes back.
	Changed func(s State, last Trouble)
}

// Pressure counts the troubles of the machine in a sliding window. One is a
// warning; several take the instance out of the balancer, so that clients go to
// another. It comes back by itself, but only when there was no trouble for as
// long as the window, enough space is free, and the disk takes a write.
//
// It looks at the disk every few seconds, whether anybody uses it or not: clients
// may be too patient, or too few, to find out.
type Pressure struct {
	cfg PressureConfig

	free atomic.Int64 // bytes, as last seen; -1 before that
	late int64        // PressureConfig.Late when it was last looked at; of Watch

	mu     sync.Mutex // guards what follows
	times  []time.Time
	last   Trouble
	out    bool
	recent []pressureEvent // at most recentEvents, the newest last
}

// pressureEvent is a trouble, or a change of state, as the live page has it.
type pressureEvent struct {
	At   time.Time `json:"at"`
	What string    `json:"what"` // a Trouble or a State
	Text string    `json:"text"`
}

// NewPressure returns a pressure that is calm.
func NewPressure(cfg PressureConfig) *Pressure {
	if cfg.Window == 0 {
		cfg.Window = defaultWindow
	}
	p := &Pressure{cfg: cfg}
	p.free.Store(-1)
	return p
}

// Add counts a trouble. The error says more of it, for people.
func (p *Pressure) Add(t Trouble, err error) {
	p.cfg.Counted(t, err)
	p.mu.Lock()
	p.forget()
	p.times = append(p.times, time.Now())
	p.last = t
	p.remember(string(t), err.Error())
	goes := !p.out && len(p.times) >= tooMany
	p.out = p.out || goes
	if goes {
		p.remember(Out.String(), fmt.Sprintf("%d troubles within %v", tooMany, p.cfg.Window))
	}
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

// remember keeps an event for the live page. The caller holds p.mu.
func (p *Pressure) remember(what, text string) {
	if len(p.recent) == recentEvents {
		p.recent = slices.Delete(p.recent, 0, 1)
	}
	p.recent = append(p.recent, pressureEvent{time.Now(), what, text})
}

// recently returns what has happened of late, the oldest first.
func (p *Pressure) recently() []pressureEvent {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.recent)
}

// lastFree is the free space as it was last seen, in bytes; -1 if it never was.
func (p *Pressure) lastFree() int64 { return p.free.Load() }

// forget drops the troubles that have left the window, and all but the last
// few. The caller holds p.mu.
func (p *Pressure) forget() {
	for len(p.times) > 0 && (time.Since(p.times[0]) >= p.cfg.Window || len(p.times) > tooMany) {
		p.times = p.times[1:]
	}
}

// Watch looks at the disk until ctx ends.
func (p *Pressure) Watch(ctx context.Context) {
	tick := time.NewTicker(p.cfg.Window / looks)
	defer tick.Stop()
	for {
		p.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// look counts what is wrong with the disk as one trouble, and lets the instance
// come back where nothing is.
func (p *Pressure) look(ctx context.Context) {
	free, trouble, err := p.examine(ctx)
	switch {
	case ctx.Err() != nil: // what failed may have failed because of it
	case trouble != NoTrouble:
		p.Add(trouble, err)
	case err == nil && free >= p.cfg.Mark+p.cfg.Mark/4:
		p.comeBack()
	}
}

// examine finds out how much space others leave, in bytes, and what is wrong with
// the disk. An error may be no trouble.
func (p *Pressure) examine(ctx context.Context) (free int64, t Trouble, err error) {
	defer func() { p.late = p.cfg.Late() }() // calls of this look as well: they count once
	free, own, err := p.cfg.Free(ctx)
	if err != nil {
		return 0, p.cfg.Kind(err), err
	}
	p.free.Store(free)
	free += own
	if free < p.cfg.Mark {
		return free, LowSpace, fmt.Errorf("others leave %s free, and %s should be", humanize.IBytes(uint64(max(free, 0))), humanize.IBytes(uint64(p.cfg.Mark)))
	}
	if err := p.cfg.Probe(ctx); err != nil {
		return free, p.cfg.Kind(err), err
	}
	if late := p.cfg.Late() - p.late; late > 0 {
		return free, DiskHangs, fmt.Errorf("%d calls have not ended in time", late)
	}
	return free, NoTrouble, nil
}

// comeBack ends Out if the window has been without trouble.
func (p *Pressure) comeBack() {
	p.mu.Lock()
	p.forget()
	back := p.out && len(p.times) == 0
	p.out = p.out && !back
	last := p.last
	if back {
		p.remember(Calm.String(), fmt.Sprintf("no trouble for %v, and the disk has room and takes a write", p.cfg.Window))
	}
	p.mu.Unlock()
	if back {
		p.cfg.Changed(Calm, last)
	}
}
