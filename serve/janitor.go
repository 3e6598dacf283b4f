package serve

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"spillway/health"
	"spillway/internal/guard"
)

const (
	// janitorPeriod is the pause after a successful run, and the longest pause after
	// failed ones.
	janitorPeriod = time.Minute

	// janitorBackoff is the pause after a first failure. Each further failure in a row
	// doubles it.
	janitorBackoff = time.Second

	// janitorGrace is how long a run may continue after its deadline.
	janitorGrace = 2 * time.Second
)

// errHangs reports a run that continues after its deadline.
var errHangs = errors.New("still running after its deadline")

// janitor runs cleaning tasks at the start and every minute. A task that fails, panics
// or hangs affects neither the other tasks nor the service.
type janitor struct {
	log    *zap.Logger
	failed func(task string, failures int, err error) // called with each failure and the number of failures in a row
	tasks  []*janitorTask

	end     context.CancelFunc // nil until start
	running sync.WaitGroup
}

// janitorTask is a cleaning task.
type janitorTask struct {
	name     string
	deadline time.Duration // of one run

	// run cleans up once and returns how many items it removed, even with an error. Runs
	// never overlap.
	run func(ctx context.Context) (removed int, err error)

	mu     sync.Mutex // guards status
	status health.Task
}

// start starts the tasks.
func (j *janitor) start(ctx context.Context) {
	ctx, j.end = context.WithCancel(ctx)
	for _, t := range j.tasks {
		j.running.Go(func() { j.supervise(ctx, t) })
	}
}

// stop ends the tasks and waits for them, except for runs that hang.
func (j *janitor) stop() {
	if j.end != nil {
		j.end()
		j.running.Wait()
	}
}

// states returns the state of each task.
func (j *janitor) states() []health.Task {
	states := make([]health.Task, 0, len(j.tasks))
	for _, t := range j.tasks {
		states = append(states, t.state())
	}
	return states
}

func (t *janitorTask) state() health.Task {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.status
	s.Name = t.name
	return s
}

// supervise runs a task repeatedly until ctx ends.
func (j *janitor) supervise(ctx context.Context, t *janitorTask) {
	for {
		j.runOnce(ctx, t)
		next := time.NewTimer(pauseAfter(t.state()))
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return
		}
	}
}

// runOnce runs a task once. A run that hangs fails at its deadline, but runOnce returns
// only when it has ended: further runs would hang as well, and pile up.
func (j *janitor) runOnce(ctx context.Context, t *janitorTask) {
	began := time.Now()
	within, cancel := context.WithTimeout(ctx, t.deadline)
	defer cancel()
	type result struct {
		removed int
		err     error
	}
	ended := make(chan result, 1) // buffered, so that a run can end when nobody waits for it
	go func() {
		var r result
		r.err = guard.Do(func() (err error) {
			r.removed, err = t.run(within)
			return err
		})
		ended <- r
	}()

	select {
	case r := <-ended:
		j.account(ctx, t, r.removed, r.err)
		return
	case <-within.Done():
	}
	grace := time.NewTimer(janitorGrace)
	defer grace.Stop()
	select {
	case r := <-ended:
		j.account(ctx, t, r.removed, r.err)
		return
	case <-grace.C:
		t.note(func(s *health.Task) { s.HangsSince = began })
		j.account(ctx, t, 0, errHangs)
	}
	select {
	case r := <-ended:
		t.note(func(s *health.Task) {
			s.Removed += r.removed
			s.HangsSince = time.Time{}
		})
	case <-ctx.Done(): // shutting down: do not wait
	}
}

// account records the result of a run. It ignores a failure after ctx has ended: the
// shutdown caused it.
func (j *janitor) account(ctx context.Context, t *janitorTask, removed int, err error) {
	fields := []zap.Field{zap.String("task", t.name)}
	if removed > 0 || err == nil {
		level := zap.DebugLevel
		if removed > 0 {
			level = zap.InfoLevel
		}
		j.log.Log(level, "cleaned up", append(fields, zap.Int("removed", removed))...)
	}
	if err != nil && ctx.Err() != nil {
		t.note(func(s *health.Task) { s.Removed += removed })
		return
	}
	before, after := t.note(func(s *health.Task) {
		s.Removed += removed
		if err != nil {
			s.Failed++
			s.Failures++
			return
		}
		s.Succeeded++
		s.Failures = 0
		s.LastSuccess = time.Now()
	})
	switch {
	case err != nil:
		fields = append(fields, zap.Error(err), zap.Int("failures", after.Failures), zap.Duration("again_in", pauseAfter(after)))
		if p, ok := errors.AsType[*guard.PanicError](err); ok {
			fields = append(fields, zap.ByteString("stack", p.Stack))
		}
		j.log.Error("a cleaning task failed", fields...)
		j.report(t.name, after.Failures, err)
	case before.Failures > 0:
		j.log.Info("a cleaning task works again", append(fields, zap.Int("failures", before.Failures))...)
	}
}

// report reports a failure. It logs a panic of j.failed.
func (j *janitor) report(task string, failures int, failure error) {
	if err := guard.Do(func() error { j.failed(task, failures, failure); return nil }); err != nil {
		j.log.Error("cannot report the failure of a cleaning task", zap.String("task", task), zap.Error(err))
	}
}

// note changes the status and returns it before and after the change.
func (t *janitorTask) note(change func(*health.Task)) (before, after health.Task) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before = t.status
	change(&t.status)
	return before, t.status
}

// pauseAfter returns the pause between the last run and the next one.
func pauseAfter(s health.Task) time.Duration {
	if s.Failures == 0 {
		return janitorPeriod
	}
	pause := janitorBackoff
	for range min(s.Failures-1, 6) { // 64 s exceeds the period
		pause *= 2
	}
	return min(pause, janitorPeriod)
}
