package serve

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"spillway/health"
)

// The tests in this file run in synctest's fake time.

var (
	errDown         = errors.New("store is down")
	errUnreportable = errors.New("reporting this panics")
)

// rig is a janitor with two tasks: "tried", and "beside", which never fails.
type rig struct {
	*janitor
	began time.Time
	log   *observer.ObservedLogs
	told  []string     // reported failures
	runs  atomic.Int64 // of the tried task, begun
}

// step is one run of the tried task.
type step func(ctx context.Context) (removed int, err error)

func removes(n int) step { return func(context.Context) (int, error) { return n, nil } }

func fails(context.Context) (int, error) { return 0, errDown }

func panics(context.Context) (int, error) { panic("a bug") }

// waits runs until ctx ends.
func waits(ctx context.Context) (int, error) {
	<-ctx.Done()
	return 1, context.Cause(ctx)
}

// newRig starts a janitor, which ends with the test. The last step repeats.
func newRig(t *testing.T, steps ...step) *rig {
	t.Helper()
	core, log := observer.New(zapcore.InfoLevel)
	r := &rig{began: time.Now(), log: log}
	r.janitor = &janitor{
		log: zap.New(core),
		failed: func(task string, _ int, err error) {
			r.told = append(r.told, task+": "+err.Error())
			if errors.Is(err, errUnreportable) {
				panic("no report")
			}
		},
		tasks: []*janitorTask{
			{name: "tried", deadline: 10 * time.Second, run: func(ctx context.Context) (int, error) {
				return steps[min(int(r.runs.Add(1)), len(steps))-1](ctx)
			}},
			{name: "beside", deadline: 10 * time.Second, run: removes(0)},
		},
	}
	r.start(t.Context())
	t.Cleanup(r.stop)
	return r
}

// at lets time pass until d after the start, and returns the report of the tried task. It
// checks that the other task ran every minute.
func (r *rig) at(t *testing.T, d time.Duration) health.Task {
	t.Helper()
	time.Sleep(d - time.Since(r.began))
	synctest.Wait()
	report := r.states()
	if len(report) != 2 {
		t.Fatalf("%d tasks, want 2", len(report))
	}
	beside := report[1]
	if beside.Name != "beside" || beside.Succeeded != 1+int(d/time.Minute) || beside.Failed != 0 {
		t.Errorf("at %v the other task: %+v", d, beside)
	}
	return report[0]
}

// events returns the log messages about the tried task.
func (r *rig) events() []string {
	events := []string{}
	for _, e := range r.log.FilterField(zap.String("task", "tried")).All() {
		events = append(events, e.Message)
	}
	return events
}

func TestJanitorRunsAtTheStartAndEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, removes(3), removes(0), removes(2))
		for minute, want := range []health.Task{{Succeeded: 1, Removed: 3}, {Succeeded: 2, Removed: 3}, {Succeeded: 3, Removed: 5}} {
			passed := time.Duration(minute) * time.Minute
			want.Name, want.LastSuccess = "tried", r.began.Add(passed)
			if got := r.at(t, passed); got != want || r.runs.Load() != int64(minute+1) {
				t.Errorf("at minute %d: %+v, want %+v", minute, got, want)
			}
		}
		if got, want := r.events(), []string{"cleaned up", "cleaned up"}; !slices.Equal(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}
		if len(r.told) != 0 {
			t.Errorf("reported: %q", r.told)
		}
	})
}

// A task that fails is tried again after a second, then two, and in the end every minute. The
// log says so, and says when the task works again.
func TestJanitorTriesAgain(t *testing.T) {
	for _, c := range []struct {
		name    string
		step    step
		lasts   time.Duration // one such run, to its end
		says    string
		removed int // by each such run
	}{
		{"error", fails, 0, "store is down", 0},
		{"panic", panics, 0, "panic: a bug", 0},
		{"past its deadline", waits, 10 * time.Second, "context deadline exceeded", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const failures = 8
				r := newRig(t, append(slices.Repeat([]step{c.step}, failures), removes(0))...)
				ended := c.lasts // when the run at hand has
				for n, pause := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
					got := r.at(t, ended)
					want := health.Task{Name: "tried", Failed: n + 1, Failures: n + 1, Removed: c.removed * (n + 1)}
					if got != want {
						t.Errorf("after run %d: %+v, want %+v", n+1, got, want)
					}
					if len(r.told) != n+1 || r.told[n] != "tried: "+c.says {
						t.Errorf("after run %d reported: %q", n+1, r.told)
					}
					again := ended + time.Duration(pause)*time.Second
					if _ = r.at(t, again-time.Millisecond); r.runs.Load() != int64(n+1) {
						t.Errorf("run %d begins before %d s have passed", r.runs.Load(), pause)
					}
					ended = again + c.lasts
				}
				last := ended - c.lasts
				got := r.at(t, last)
				if r.runs.Load() != int64(failures+1) || got.Failures != 0 || !got.LastSuccess.Equal(r.began.Add(last)) {
					t.Errorf("when it works again: %+v", got)
				}
				if got := r.at(t, last+time.Minute); r.runs.Load() != int64(failures+2) {
					t.Errorf("a minute later: %+v", got)
				}
				events := slices.DeleteFunc(r.events(), func(e string) bool { return e == "cleaned up" })
				want := append(slices.Repeat([]string{"a cleaning task failed"}, failures), "a cleaning task works again")
				if !slices.Equal(events, want) {
					t.Errorf("logged %q, want %q", events, want)
				}
			})
		})
	}
}

// A panic is logged with its stack.
func TestJanitorLogsTheStackOfAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, panics)
		r.at(t, 0)
		logged := r.log.FilterFieldKey("stack").All()
		if len(logged) != 1 || logged[0].Level != zapcore.ErrorLevel {
			t.Fatalf("logged with a stack: %+v, want one error", logged)
		}
	})
}

// A run that hangs has failed, and no other run starts beside it.
func TestJanitorTaskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		hangs := func(context.Context) (int, error) { <-free; return 4, nil }
		r := newRig(t, hangs, removes(0))
		if got := r.at(t, 11*time.Second); got.Failures != 0 {
			t.Errorf("it has failed already: %+v", got)
		}
		for _, passed := range []time.Duration{12 * time.Second, time.Hour} {
			got := r.at(t, passed)
			if r.runs.Load() != 1 || got.Failures != 1 || !got.HangsSince.Equal(r.began) {
				t.Errorf("after %v: %+v", passed, got)
			}
		}
		if want := []string{"tried: " + errHangs.Error()}; !slices.Equal(r.told, want) {
			t.Errorf("reported %q, want %q", r.told, want)
		}
		close(free)
		if got := r.at(t, time.Hour); got.Removed != 4 || !got.HangsSince.IsZero() {
			t.Errorf("when it has ended: %+v", got)
		}
		if got := r.at(t, time.Hour+time.Second); r.runs.Load() != 2 || got.Failures != 0 {
			t.Errorf("a second later: %+v", got)
		}
	})
}

// The janitor survives a panic in the report of a failure.
func TestJanitorWhoseReportPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(context.Context) (int, error) { return 0, errUnreportable }, removes(0))
		if got := r.at(t, time.Second); r.runs.Load() != 2 || got.Failures != 0 {
			t.Errorf("%+v", got)
		}
		if r.log.FilterMessage("cannot report the failure of a cleaning task").Len() != 1 {
			t.Errorf("logged %q", r.events())
		}
	})
}

// Stopping takes no time, between runs and during one, and is no failure. It does not wait for
// a run that hangs.
func TestJanitorStops(t *testing.T) {
	free := make(chan struct{})
	for _, c := range []struct {
		name  string
		step  step
		after time.Duration // how long after the start
		takes time.Duration
	}{
		{"between runs", removes(0), 30 * time.Second, 0},
		{"between failures", fails, 100 * time.Millisecond, 0},
		{"within a run", waits, 5 * time.Second, 0},
		{"within a run that hangs", func(context.Context) (int, error) { <-free; return 0, nil }, 5 * time.Second, janitorGrace},
		{"long after one began to hang", func(context.Context) (int, error) { <-free; return 0, nil }, time.Hour, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				free = make(chan struct{})
				r := newRig(t, c.step)
				before := r.at(t, c.after)
				begun := r.runs.Load()
				stopping := time.Now()
				r.stop()
				if took := time.Since(stopping); took != c.takes {
					t.Errorf("it takes %v, want %v", took, c.takes)
				}
				close(free)
				time.Sleep(time.Hour)
				if after := r.states()[0]; r.runs.Load() != begun || after.Failures != before.Failures {
					t.Errorf("before: %+v, after: %+v", before, after)
				}
			})
		})
	}
	t.Run("before its start", func(t *testing.T) {
		new(janitor).stop()
	})
}
