package health

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"spillway/health/answer"
)

const (
	// probeTimeout bounds a probe of the store, so that one that hangs does not
	// hang those who ask.
	probeTimeout = 5 * time.Second

	// probeLife is how long the answer of a probe is good, so that probes do
	// not become load, where the configuration does not say otherwise.
	probeLife = 10 * time.Second

	// nearlyFull is the share of a budget, in percent, from which on uploads are
	// likely to wait for one another.
	nearlyFull = 90

	// stuck is how many failures in a row of a cleaning task are no bad luck
	// any more.
	stuck = 3
)

// Level is how bad a check is. Its numbers and names are Dockerflow's, which took
// them from Django's system checks.
type Level int

const (
	OK      Level = 0
	Warning Level = 30 // somebody should look
	Error   Level = 40 // uploads fail, or soon will
)

func (l Level) String() string {
	switch l {
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return "ok"
}

// detail is what is said of a check that is not ok.
type detail struct {
	Status   string            `json:"status"`
	Level    Level             `json:"level"`
	Messages map[string]string `json:"messages"`
}

// A Check is one line of the heartbeat.
type Check struct {
	Name    string
	Level   Level
	Message string // what is wrong and what to do; empty if the level is OK
}

// heartbeat reports on everything that uploads need: 200, or 500 if one of the
// checks has failed.
func (h *Health) heartbeat(w http.ResponseWriter, r *http.Request) {
	checks := h.checks(h.checkStorage(h.storage.ask(r.Context())))
	worst, status := OK, http.StatusOK
	states, details := map[string]string{}, map[string]detail{}
	for _, c := range checks {
		worst = max(worst, c.Level)
		states[c.Name] = c.Level.String()
		if c.Level != OK {
			details[c.Name] = detail{c.Level.String(), c.Level, map[string]string{"spillway." + c.Name: c.Message}}
		}
	}
	if worst == Error {
		status = http.StatusInternalServerError
	}
	answer.JSON(w, status, struct {
		Status  string            `json:"status"`
		Checks  map[string]string `json:"checks"`
		Details map[string]detail `json:"details"`
	}{worst.String(), states, details})
}

// checks are all lines of the heartbeat. That of the store, which takes time to
// find out, is given.
func (h *Health) checks(storage Check) []Check {
	checks := []Check{storage, h.cfg.Uploads.check(), h.checkSpill(), h.checkMemory(), h.checkJanitor()}
	for _, look := range h.cfg.Checks {
		checks = append(checks, look())
	}
	return checks
}

// checkStorage is the check of a store whose probe returned err.
func (h *Health) checkStorage(err error) Check {
	if err != nil {
		return Check{"storage", Error, "Uploads cannot be stored and are answered with 503. " + h.cfg.Explain(err)}
	}
	return Check{Name: "storage"}
}

func (h *Health) checkMemory() Check {
	if m := h.cfg.Memory(); m.used()*100 >= m.Total*nearlyFull {
		return Check{"memory", Warning, fmt.Sprintf("%d of %d bytes of --memory are in use: uploads wait for one another. Add instances, or raise it.", m.used(), m.Total)}
	}
	return Check{Name: "memory"}
}

func (h *Health) checkSpill() Check {
	s := h.cfg.Spill()
	hangs := ""
	if s.Hanging > 0 {
		hangs = fmt.Sprintf(" %d of its calls hang, the oldest for %v.", s.Hanging, s.HangsFor.Round(time.Second))
	}
	switch state, last := h.cfg.Pressure.State(); {
	case state == Out:
		return Check{"spill", Error, fmt.Sprintf("The disk of --spill-dir is in trouble (last: %s).%s %s "+
			"/__lbheartbeat__ answers 503 until the disk works again. Uploads that need no disk go on.", last, hangs, remedies[last])}
	case state == Warned:
		return Check{"spill", Warning, fmt.Sprintf("The disk of --spill-dir had trouble (last: %s).%s %s "+
			"%d troubles within %v take this instance out of the balancer.", last, hangs, remedies[last], tooMany, h.cfg.Pressure.cfg.Window)}
	case hangs != "":
		return Check{"spill", Warning, "The disk of --spill-dir does not answer." + hangs + " " + remedies[DiskHangs]}
	case s.Quota > 0 && s.Used*100 >= s.Quota*nearlyFull:
		return Check{"spill", Warning, fmt.Sprintf("%d of %d bytes of --spill-quota are in use: archives that have to be held wait for one another. Add instances, or raise it.", s.Used, s.Quota)}
	}
	return Check{Name: "spill"}
}

// remedies are what to do about each kind of trouble.
var remedies = map[Trouble]string{
	DiskFailed: "The log has the system's error. Check that the file system is writable, has inodes left and is sound.",
	DiskHangs:  "Check the device, or the mount.",
	LowSpace:   "Other programs have filled it below --spill-min-free. Free space on it.",
}

// checkJanitor looks at the tasks. What they leave behind does no harm at once.
func (h *Health) checkJanitor() Check {
	worst := Check{Name: "janitor"}
	for _, t := range h.cfg.Cleaning() {
		switch {
		case t.Hangs > 0:
			return Check{"janitor", Error, fmt.Sprintf("Cleaning the %s has hung for %v. Uploads go on, but leftovers add up. Check the disk or the store that it cleans.", t.Name, t.Hangs.Round(time.Second))}
		case t.Failures >= stuck:
			return Check{"janitor", Error, fmt.Sprintf("Cleaning the %s has failed %d times in a row. Uploads go on, but leftovers add up. The log says why.", t.Name, t.Failures)}
		case t.Failures > 0 && worst.Level == OK:
			worst = Check{"janitor", Warning, fmt.Sprintf("Cleaning the %s failed and is tried again. The log says why.", t.Name)}
		}
	}
	return worst
}

// probe is a check that costs something. Whoever asks gets an answer that is at
// most life old, and waits for the one that is under way.
type probe struct {
	life  time.Duration
	check func(ctx context.Context) error

	turn chan struct{} // holds a value while somebody uses what follows
	done time.Time     // when err was the answer; zero if there is none yet
	err  error

	last atomic.Pointer[error] // the last answer; nil if there is none yet
}

func newProbe(life time.Duration, check func(ctx context.Context) error) *probe {
	return &probe{life: life, check: check, turn: make(chan struct{}, 1)}
}

func (p *probe) ask(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !p.done.IsZero() && time.Since(p.done) < p.life {
		return p.err
	}
	// Others want the answer as well: the one who asks first may leave.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	err := p.check(ctx)
	p.err, p.done = err, time.Now()
	p.last.Store(&err)
	return err
}

// lastKnown returns the last answer without waiting. known is false if nobody has
// asked yet.
func (p *probe) lastKnown() (known bool, answer error) {
	last := p.last.Load()
	if last == nil {
		return false, nil
	}
	return true, *last
}
