package health

import (
	"fmt"
	"net/http"
	"time"

	"spillway/internal/answer"
)

const (
	// nearlyFull is how much of a budget may be in use, in percent, before uploads
	// are likely to wait for one another.
	nearlyFull = 90

	// stuck is how many failures of a cleaning task in a row are an error.
	stuck = 3
)

// Level is how bad the result of a check is. Numbers and names are Dockerflow's,
// which took them from Django's system checks.
type Level int

const (
	Unknown Level = -1 // not found out yet
	OK      Level = 0
	Warning Level = 30 // somebody should look
	Error   Level = 40 // uploads fail, or soon will
)

// Levels returns all levels.
func Levels() []Level { return []Level{Unknown, OK, Warning, Error} }

func (l Level) String() string {
	switch l {
	case Unknown:
		return "unknown"
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return "ok"
}

// detail is what the heartbeat says of a check that is not ok, and of the store.
type detail struct {
	Status   string            `json:"status"`
	Level    Level             `json:"level"`
	Messages map[string]string `json:"messages"`
}

// A Check is the result of one check.
type Check struct {
	Name    string
	Level   Level
	Message string // what is wrong and what to do; empty if the level is OK
}

// heartbeat runs every check. The status is 500 if one has failed, else 200.
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
	if _, failed := details["storage"]; !failed && h.cfg.Checksums != nil {
		if by := h.cfg.Checksums(); by != "" {
			details["storage"] = detail{OK.String(), OK, map[string]string{"spillway.storage": by}}
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

// Checks returns the result of every check without asking the store: "storage" is
// what the last probe found.
func (h *Health) Checks() []Check {
	known, err := h.storage.lastKnown()
	if !known {
		return h.checks(Check{"storage", Unknown, "The first probe of the store has not ended yet."})
	}
	return h.checks(h.checkStorage(err))
}

// checks returns the result of every check. That of the store is given.
func (h *Health) checks(storage Check) []Check {
	checks := []Check{storage, h.cfg.Outcomes.check(h.cfg.Holders()), h.checkSpill(), h.checkMemory(), h.checkJanitor()}
	for _, check := range h.cfg.Checks {
		checks = append(checks, check())
	}
	return checks
}

// checkStorage is the check of a store whose probe returned err.
func (h *Health) checkStorage(err error) Check {
	if err != nil {
		return Check{"storage", Error, "Uploads cannot be stored and get a 503. " + h.cfg.Explain(err)}
	}
	return Check{Name: "storage"}
}

func (h *Health) checkMemory() Check {
	m := h.cfg.Memory()
	if used := m.Used(); used*100 >= m.Total*nearlyFull {
		return Check{"memory", Warning, fmt.Sprintf("%d of %d bytes of --memory are in use, so uploads wait for one another. Raise --memory, or add instances.", used, m.Total)}
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
			"%d troubles within %v take this instance out of the load balancer.", last, hangs, remedies[last], tooMany, h.cfg.Pressure.cfg.Window)}
	case hangs != "":
		return Check{"spill", Warning, "The disk of --spill-dir does not respond." + hangs + " " + remedies[DiskHangs]}
	case s.Quota > 0 && s.Used*100 >= s.Quota*nearlyFull:
		return Check{"spill", Warning, fmt.Sprintf("%d of %d bytes of --spill-quota are in use, so archives that need the disk wait for one another. Raise --spill-quota, or add instances.", s.Used, s.Quota)}
	}
	return Check{Name: "spill"}
}

// remedies say what to do about each kind of trouble.
var remedies = map[Trouble]string{
	DiskFailed: "The log has the system's error. Check that the file system is writable, has free inodes and is not damaged.",
	DiskHangs:  "Check the device or the mount.",
	LowSpace:   "Other programs have left less free space than --spill-min-free. Free space on the disk.",
}

// checkJanitor looks at the cleaning tasks. Leftovers do no harm at once.
func (h *Health) checkJanitor() Check {
	worst := Check{Name: "janitor"}
	for _, t := range h.cfg.Tasks() {
		switch {
		case !t.HangsSince.IsZero():
			return Check{"janitor", Error, fmt.Sprintf("Cleaning the %s has hung for %v. Uploads go on, but leftovers pile up. Check the disk or the store that it cleans.", t.Name, time.Since(t.HangsSince).Round(time.Second))}
		case t.Failures >= stuck:
			return Check{"janitor", Error, fmt.Sprintf("Cleaning the %s has failed %d times in a row. Uploads go on, but leftovers pile up. The log says why.", t.Name, t.Failures)}
		case t.Failures > 0 && worst.Level == OK:
			worst = Check{"janitor", Warning, fmt.Sprintf("Cleaning the %s failed and will be retried. The log says why.", t.Name)}
		}
	}
	return worst
}
