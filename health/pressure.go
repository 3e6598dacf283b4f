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
	// defaultWindow is how long a trouble counts.
	defaultWindow = 2 * time.Minute

	// tooMany troubles within the window take the instance out of the load balancer.
	tooMany = 3

	// looks is how often the disk is checked within a window. That is every 8 s, so
	// that a broken disk takes the instance out within half a minute.
	looks = 15

	// recentEvents is how many events are kept for the live page.
	recentEvents = 50
)

// Trouble is a kind of trouble with this machine's disk. Nothing that a client can
// cause is trouble.
type Trouble string

const (
	NoTrouble  Trouble = ""
	DiskFailed Trouble = "disk failed" // a call failed that should have succeeded
	DiskHangs  Trouble = "disk hangs"  // a call has not ended in time
	LowSpace   Trouble = "low space"   // other programs have left less free space than Mark
)

// Troubles returns all kinds of trouble.
func Troubles() []Trouble { return []Trouble{DiskFailed, DiskHangs, LowSpace} }

// State is the state of an instance under pressure.
type State int

const (
	Calm   State = iota // no trouble within the window
	Warned              // some, but not too many
	Out                 // too many: the load balancer should send uploads elsewhere
)

// States returns all states.
func States() []State { return []State{Calm, Warned, Out} }

func (s State) String() string { return [...]string{"calm", "warned", "out"}[s] }

// PressureConfig configures a [Pressure]. Every field must be set unless it says
// otherwise.
type PressureConfig struct {
	Window time.Duration // how long a trouble counts; 0: 2 minutes

	// Mark is how many bytes should stay free on the file system of the spill folder.
	// Less is trouble. The instance comes back when a quarter more is free.
	Mark int64

	// Free returns how many bytes are free, and how many the instance's own files
	// take, which count as free. Probe writes to the spill folder. Both return
	// within seconds even if the disk hangs.
	Free  func(ctx context.Context) (free, own int64, err error)
	Probe func(ctx context.Context) error

	// Late returns how many calls of the disk have not ended in time, since the start.
	Late func() int64

	// Kind classifies an error of Free or Probe. With NoTrouble the disk is not at
	// fault, but the instance does not come back either.
	Kind func(err error) Trouble

	// Counted is called with each trouble, and Changed when the instance goes out or
	// comes back. No lock is held meanwhile.
	Counted func(t Trouble, err error)
	Changed func(s State, last Trouble)
}

// Pressure counts the troubles of the disk in a sliding window. One is a warning.
// Several take the instance out of the load balancer, so that clients use another
// one. It comes back when there was no trouble for the whole window, enough space is
// free, and a write succeeds.
//
// It checks the disk every few seconds, whether uploads use it or not. Patient
// clients, or too few of them, would find a broken disk too late.
type Pressure struct {
	cfg PressureConfig

	free atomic.Int64 // bytes, as last seen; -1 before that
	late int64        // last result of PressureConfig.Late; used by Watch only

	mu     sync.Mutex // guards all below
	times  []time.Time
	last   Trouble
	out    bool
	recent []PressureEvent // at most recentEvents, the newest last
}

// A PressureEvent is a trouble or a change of state.
type PressureEvent struct {
	At   time.Time `json:"at"`
	What string    `json:"what"` // a Trouble or a State
	Text string    `json:"text"`
}

// NewPressure returns a calm Pressure.
func NewPressure(cfg PressureConfig) *Pressure {
	if cfg.Window == 0 {
		cfg.Window = defaultWindow
	}
	p := &Pressure{cfg: cfg}
	p.free.Store(-1)
	return p
}

// Add counts a trouble. The error describes it for people.
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

// State returns the state, and the last trouble unless the state is Calm. It waits
// for nothing but a lock.
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

// remember records an event. The caller holds p.mu.
func (p *Pressure) remember(what, text string) {
	if len(p.recent) == recentEvents {
		p.recent = slices.Delete(p.recent, 0, 1)
	}
	p.recent = append(p.recent, PressureEvent{time.Now(), what, text})
}

// Recent returns the last events, the oldest first.
func (p *Pressure) Recent() []PressureEvent {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.recent)
}

// Free returns the free space in bytes, as last seen; -1 if it never was.
func (p *Pressure) Free() int64 { return p.free.Load() }

// Mark returns [PressureConfig.Mark].
func (p *Pressure) Mark() int64 { return p.cfg.Mark }

// forget drops the troubles that have left the window, and all but the last few of
// the others. The caller holds p.mu.
func (p *Pressure) forget() {
	for len(p.times) > 0 && (time.Since(p.times[0]) >= p.cfg.Window || len(p.times) > tooMany) {
		p.times = p.times[1:]
	}
}

// Watch checks the disk until ctx ends.
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

// look checks the disk once. Whatever is wrong counts as one trouble. If nothing is,
// the instance may come back.
func (p *Pressure) look(ctx context.Context) {
	free, trouble, err := p.examine(ctx)
	switch {
	case ctx.Err() != nil: // the check may have failed because of it
	case trouble != NoTrouble:
		p.Add(trouble, err)
	case err == nil && free >= p.cfg.Mark+p.cfg.Mark/4:
		p.comeBack()
	}
}

// examine returns how many bytes other programs leave free, and what is wrong with
// the disk. An error may come with NoTrouble.
func (p *Pressure) examine(ctx context.Context) (free int64, t Trouble, err error) {
	defer func() { p.late = p.cfg.Late() }() // late calls of this check count once
	free, own, err := p.cfg.Free(ctx)
	if err != nil {
		return 0, p.cfg.Kind(err), err
	}
	p.free.Store(free)
	free += own
	if free < p.cfg.Mark {
		return free, LowSpace, fmt.Errorf("other programs leave %s free, and %s should be", humanize.IBytes(uint64(max(free, 0))), humanize.IBytes(uint64(p.cfg.Mark)))
	}
	if err := p.cfg.Probe(ctx); err != nil {
		return free, p.cfg.Kind(err), err
	}
	if late := p.cfg.Late() - p.late; late > 0 {
		return free, DiskHangs, fmt.Errorf("%d calls have not ended in time", late)
	}
	return free, NoTrouble, nil
}

// comeBack ends Out if there was no trouble in the window.
func (p *Pressure) comeBack() {
	p.mu.Lock()
	p.forget()
	back := p.out && len(p.times) == 0
	p.out = p.out && !back
	last := p.last
	if back {
		p.remember(Calm.String(), fmt.Sprintf("no trouble for %v, enough free space, and a write succeeded", p.cfg.Window))
	}
	p.mu.Unlock()
	if back {
		p.cfg.Changed(Calm, last)
	}
}
