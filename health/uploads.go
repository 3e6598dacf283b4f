package health

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"spillway/internal/account"
)

// recentUploads is how many of the uploads that have ended are remembered.
const recentUploads = 200

// A Stage is how far an upload has got.
type Stage string

const (
	Waiting    Stage = "waiting"    // for its turn
	Receiving  Stage = "receiving"  // its archive, and staging what is in it
	Publishing Stage = "publishing" // what is staged
)

var stages = []Stage{Waiting, Receiving, Publishing}

// Progress is an upload under way, as it is at this moment.
type Progress struct {
	Stage    Stage
	Expected int64 // bytes that the archive will have, about; 0 if nobody knows
	Shape    Shape
	Spent    account.Spent // up to now
}

// Ended is all there is to say of an upload that has ended.
type Ended struct {
	Outcome Outcome
	Reason  Reason
	Status  int    // of the answer
	Message string // of the answer; empty where it is a success
	Shape   Shape
	Spent   account.Spent

	// Detail is what failed at the store, for people: its operation and error code.
	// Empty: it was not the store.
	Detail string

	// Err is why it ended, and Stack, for a panic, where; both are for Sentry.
	Err   error
	Stack []byte
}

// Uploads knows the uploads under way and the last ones that have ended, and
// counts and reports them. A nil Uploads does nothing.
type Uploads struct {
	metrics  *Metrics
	reporter *Reporter

	mu     sync.Mutex
	active map[*Upload]struct{}
	ended  uint64 // how many have
	recent [recentUploads]endedUpload
	bytes  int64 // of archives of those that have ended
	counts map[Outcome]int
	late   outcomes // for the heartbeat
}

// endedUpload is an upload that has ended, as the page shows it.
type endedUpload struct {
	Number  uint64    `json:"number"` // counts the uploads that have ended
	ID      int64     `json:"id"`
	At      time.Time `json:"ended"`
	Outcome Outcome   `json:"outcome"`
	Reason  Reason    `json:"reason"`
	Status  int       `json:"status"`
	Message string    `json:"message"`
	Shape   Shape     `json:"shape"`
	Spent   spent     `json:"spent"`
	Workers float64   `json:"workers"`
}

// spent is an account in seconds, by label.
type spent [account.Labels]float64

func seconds(a *account.Spent) (s spent) {
	for l, d := range a.By {
		s[l] = d.Seconds()
	}
	return s
}

// activeUpload is an upload under way, as the page shows it.
type activeUpload struct {
	ID       int64   `json:"id"`
	Stage    Stage   `json:"stage"`
	Expected int64   `json:"expected"`
	Shape    Shape   `json:"shape"`
	Spent    spent   `json:"spent"`
	Workers  float64 `json:"workers"`
}

// NewUploads makes one that knows of no upload yet.
func NewUploads(metrics *Metrics, reporter *Reporter, cfg OutcomeConfig) *Uploads {
	return &Uploads{
		metrics: metrics, reporter: reporter, active: make(map[*Upload]struct{}), counts: make(map[Outcome]int), late: newOutcomes(cfg),
	}
}

// An Upload is one that is under way.
type Upload struct {
	all *Uploads
	id  int64

	mu   sync.Mutex      // before Uploads.mu
	look func() Progress // nil once the upload has ended
}

// Begin makes an upload known. look tells how far it is: it is called from
// other goroutines, about once a second and never after End has returned. It
// must be quick and must wait for nothing; what of Progress it cannot say
// stays empty.
func (u *Uploads) Begin(id int64, look func() Progress) *Upload {
	if u == nil {
		return nil
	}
	x := &Upload{all: u, id: id, look: look}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.active[x] = struct{}{}
	return x
}

// End says how the upload ended. It is counted, remembered, and reported where
// somebody should look at it. End is called once, whatever happened, and not
// with a lock that the upload's look takes.
func (x *Upload) End(e Ended) {
	if x == nil {
		return
	}
	e.Outcome, e.Reason = known(e.Outcome, e.Reason)
	x.mu.Lock()
	stage := Waiting
	if e.Reason == NoRoom {
		stage = x.look().Stage
	}
	x.look = nil
	x.mu.Unlock()

	u := x.all
	u.mu.Lock()
	delete(u.active, x)
	u.ended++
	u.counts[e.Outcome]++
	u.recent[u.ended%recentUploads] = endedUpload{
		Number: u.ended, ID: x.id, At: time.Now(), Outcome: e.Outcome, Reason: e.Reason, Status: e.Status, Message: clip(e.Message),
		Shape: e.Shape.bounded(), Spent: seconds(&e.Spent), Workers: e.Spent.Workers.Seconds(),
	}
	u.bytes += e.Shape.ArchiveBytes
	u.late.add(&e, stage)
	u.mu.Unlock()

	u.metrics.ended(&e)
	switch e.Outcome {
	case Defect:
		u.reporter.defect(&e)
	case TimedOut:
		u.reporter.timedOut(&e)
	default:
		// The client's affair, or told by the metrics and the heartbeat.
	}
}

// progress asks the upload how far it is. It is false once it has ended.
func (x *Upload) progress() (Progress, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.look == nil {
		return Progress{}, false
	}
	return x.look(), true
}

// underWay returns the uploads under way, the oldest first, and how many bytes
// of archives have come up to now.
func (u *Uploads) underWay() (active []activeUpload, received int64) {
	u.mu.Lock()
	all := make([]*Upload, 0, len(u.active))
	for x := range u.active {
		all = append(all, x)
	}
	received = u.bytes
	u.mu.Unlock()

	active = make([]activeUpload, 0, len(all))
	for _, x := range all {
		p, ok := x.progress()
		if !ok {
			continue
		}
		received += p.Shape.ArchiveBytes
		active = append(active, activeUpload{
			ID: x.id, Stage: p.Stage, Expected: p.Expected, Shape: p.Shape.bounded(),
			Spent: seconds(&p.Spent), Workers: p.Spent.Workers.Seconds(),
		})
	}
	slices.SortFunc(active, func(a, b activeUpload) int { return cmp.Compare(a.ID, b.ID) })
	return active, received
}

// check is the line of the heartbeat on what uploads come to.
func (u *Uploads) check() Check {
	active, _ := u.underWay()
	var holders []int64
	for _, a := range active {
		if a.Stage != Waiting {
			holders = append(holders, a.ID)
		}
	}
	now := time.Now()
	u.mu.Lock()
	failures, why := u.late.checkFailures(now)
	refusals, what := u.late.checkRefusals(now, holders)
	u.mu.Unlock()
	return Check{"uploads", max(failures, refusals), strings.TrimSpace(why + " " + what)}
}

// lastStored is when an upload was last stored; zero: never.
func (u *Uploads) lastStored() time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.late.stored
}

// count returns how many uploads under way are in which stage.
func (u *Uploads) count() map[Stage]int {
	n := make(map[Stage]int, len(stages))
	active, _ := u.underWay()
	for _, a := range active {
		n[a.Stage]++
	}
	return n
}

// outcomes returns how many uploads have ended how.
func (u *Uploads) outcomes() map[Outcome]int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.counts)
}

// since returns the uploads that ended after the one of that number, as far as
// they are remembered, and the number of the last one. The oldest is first.
func (u *Uploads) since(number uint64) ([]endedUpload, uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended > recentUploads {
		number = max(number, u.ended-recentUploads)
	}
	ended := make([]endedUpload, 0, u.ended-number)
	for n := number + 1; n <= u.ended; n++ {
		ended = append(ended, u.recent[n%recentUploads])
	}
	return ended, u.ended
}
