package health_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"spillway/health"
)

// machine is a Pressure on a disk whose state the test sets.
type machine struct {
	*health.Pressure

	mu       sync.Mutex // guards all below
	free     int64
	own      int64
	late     int64
	freeErr  error
	probeErr error
	probes   int
	counted  int
	changes  []health.State
}

// errNotTheDisk is an error of a probe for which the disk is not at fault.
var errNotTheDisk = errors.New("EMFILE")

func newMachine() *machine {
	m := &machine{free: 1000}
	m.Pressure = health.NewPressure(health.PressureConfig{
		Mark: 100,
		Free: func(context.Context) (free, own int64, err error) {
			m.set(func() { free, own, err = m.free, m.own, m.freeErr })
			return free, own, err
		},
		Probe: func(context.Context) (err error) {
			m.set(func() { m.probes++; err = m.probeErr })
			return err
		},
		Late: func() (n int64) {
			m.set(func() { n = m.late })
			return n
		},
		Kind: func(err error) health.Trouble {
			if errors.Is(err, errNotTheDisk) {
				return health.NoTrouble
			}
			return health.DiskFailed
		},
		Counted: func(health.Trouble, error) { m.set(func() { m.counted++ }) },
		Changed: func(s health.State, _ health.Trouble) { m.set(func() { m.changes = append(m.changes, s) }) },
	})
	return m
}

// set changes the machine.
func (m *machine) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

func (m *machine) want(t *testing.T, when string, want health.State) {
	t.Helper()
	if got, _ := m.State(); got != want {
		t.Errorf("%s: %v, want %v", when, got, want)
	}
}

// watched runs a test in fake time while Watch runs.
func watched(t *testing.T, test func(t *testing.T, m *machine)) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		ctx, end := context.WithCancel(t.Context())
		go m.Watch(ctx)
		synctest.Wait()
		test(t, m)
		end()
		synctest.Wait()
	})
}

func pass(d time.Duration) {
	time.Sleep(d) // in fake time
	synctest.Wait()
}

func TestPressureComesAndGoes(t *testing.T) {
	watched(t, func(t *testing.T, m *machine) {
		m.want(t, "at the start", health.Calm)
		m.Add(health.DiskFailed, syscall.EIO)
		m.want(t, "after one trouble", health.Warned)
		m.Add(health.DiskFailed, syscall.EIO)
		m.want(t, "after two", health.Warned)
		m.Add(health.DiskFailed, syscall.EIO)
		m.want(t, "after three", health.Out)
		pass(2*time.Minute - time.Second)
		m.want(t, "before the window is over", health.Out)
		pass(11 * time.Second)
		m.want(t, "after the window, with a working disk", health.Calm)
		if !slices.Equal(m.changes, []health.State{health.Out, health.Calm}) {
			t.Errorf("changes: %v", m.changes)
		}
	})
}

func TestPressureForgets(t *testing.T) {
	watched(t, func(t *testing.T, m *machine) {
		for range 10 {
			m.Add(health.DiskFailed, syscall.EIO)
			pass(time.Minute + time.Second)
			m.want(t, "with one trouble a minute", health.Warned)
		}
		pass(time.Minute)
		m.want(t, "two minutes after the last", health.Calm)
		if len(m.changes) > 0 {
			t.Errorf("changes: %v", m.changes)
		}
	})
}

// An instance stays out while any condition for its return is missing.
func TestPressureStays(t *testing.T) {
	for name, set := range map[string]func(m *machine, bad bool){
		"too little space": func(m *machine, bad bool) { m.free = map[bool]int64{true: 99, false: 1000}[bad] },
		"space between the marks": func(m *machine, bad bool) {
			m.free = map[bool]int64{true: 124, false: 125}[bad]
		},
		"writes fail":           func(m *machine, bad bool) { m.probeErr = map[bool]error{true: errors.New("EIO")}[bad] },
		"free space is unknown": func(m *machine, bad bool) { m.freeErr = map[bool]error{true: errors.New("EIO")}[bad] },
	} {
		t.Run(name, func(t *testing.T) {
			watched(t, func(t *testing.T, m *machine) {
				for range 3 {
					m.Add(health.DiskFailed, syscall.EIO)
				}
				m.set(func() { set(m, true) })
				pass(time.Hour)
				m.want(t, "meanwhile", health.Out)
				m.set(func() { set(m, false) })
				pass(2*time.Minute + 11*time.Second)
				m.want(t, "afterwards", health.Calm)
				if !slices.Equal(m.changes, []health.State{health.Out, health.Calm}) {
					t.Errorf("changes: %v", m.changes)
				}
			})
		})
	}
}

// A disk that fails and works in turn, faster than the window, takes the instance out
// once.
func TestPressureDoesNotFlap(t *testing.T) {
	watched(t, func(t *testing.T, m *machine) {
		for i := range 200 {
			m.set(func() { m.free = []int64{50, 1000}[i%2] })
			pass(30 * time.Second)
		}
		if !slices.Equal(m.changes, []health.State{health.Out}) {
			t.Errorf("changes: %v", m.changes)
		}
		m.set(func() { m.free = 1000 })
		pass(3 * time.Minute)
		m.want(t, "once the disk works", health.Calm)
	})
}

// A broken disk that no upload uses takes the instance out within half a minute. The
// instance comes back once the disk works.
func TestBrokenDiskIsFound(t *testing.T) {
	for name, set := range map[string]func(m *machine, bad bool){
		"writes fail":           func(m *machine, bad bool) { m.probeErr = map[bool]error{true: syscall.EROFS}[bad] },
		"free space is unknown": func(m *machine, bad bool) { m.freeErr = map[bool]error{true: syscall.EIO}[bad] },
		"below the mark":        func(m *machine, bad bool) { m.free = map[bool]int64{true: 99, false: 1000}[bad] },
	} {
		t.Run(name, func(t *testing.T) {
			watched(t, func(t *testing.T, m *machine) {
				m.set(func() { set(m, true) })
				pass(8 * time.Second)
				m.want(t, "after the first check", health.Warned)
				pass(22 * time.Second)
				m.want(t, "after half a minute", health.Out)
				m.set(func() { set(m, false) })
				pass(2 * time.Minute)
				m.want(t, "two minutes after the repair", health.Calm)
			})
		})
	}
}

// One failure is a warning, even if no upload uses the disk afterwards.
func TestOneFailureIsAWarning(t *testing.T) {
	watched(t, func(t *testing.T, m *machine) {
		m.set(func() { m.probeErr = syscall.EIO })
		pass(8 * time.Second)
		m.set(func() { m.probeErr = nil })
		for range 14 {
			m.want(t, "after one failure", health.Warned)
			pass(8 * time.Second)
		}
		pass(8 * time.Second)
		m.want(t, "two minutes later", health.Calm)
	})
}

// Hanging calls of uploads are trouble even if the probe does not hang. Those between
// two checks count as one.
func TestLateCallsAreTrouble(t *testing.T) {
	watched(t, func(t *testing.T, m *machine) {
		m.set(func() { m.late = 64 })
		pass(time.Minute)
		m.want(t, "after one hang", health.Warned)
		for range 2 {
			m.set(func() { m.late++ })
			pass(8 * time.Second)
		}
		if s, last := m.State(); s != health.Out || last != health.DiskHangs {
			t.Errorf("after three hangs: %v, last %q", s, last)
		}
		pass(2*time.Minute + 8*time.Second)
		m.want(t, "with the calls still hanging", health.Calm)
	})
}

// The instance's own files count as free space. They neither take the instance out nor
// keep it out.
func TestOwnFilesCountAsFree(t *testing.T) {
	watched(t, func(t *testing.T, m *machine) {
		m.set(func() { m.free, m.own = 0, 125 })
		pass(time.Hour)
		m.want(t, "with its own files", health.Calm)
		for range 3 {
			m.Add(health.DiskFailed, syscall.EIO)
		}
		pass(2*time.Minute + 8*time.Second)
		m.want(t, "with its own files, after trouble", health.Calm)
		m.set(func() { m.own = 99 })
		pass(30 * time.Second)
		m.want(t, "with files of other programs", health.Out)
	})
}

// A probe that fails through no fault of the disk is no trouble. Nor does it prove
// that the disk works.
func TestFailureThatIsNotTheDisks(t *testing.T) {
	watched(t, func(t *testing.T, m *machine) {
		m.set(func() { m.probeErr = errNotTheDisk })
		pass(time.Hour)
		m.want(t, "without descriptors", health.Calm)
		for range 3 {
			m.Add(health.DiskFailed, syscall.EIO)
		}
		pass(time.Hour)
		m.want(t, "after trouble, without descriptors", health.Out)
		m.set(func() { m.probeErr = nil })
		pass(8 * time.Second)
		m.want(t, "with descriptors again", health.Calm)
	})
}

func TestLowSpaceIsTrouble(t *testing.T) {
	watched(t, func(t *testing.T, m *machine) {
		m.set(func() { m.free = 99 })
		pass(10 * time.Second)
		m.want(t, "below the mark", health.Warned)
		pass(20 * time.Second)
		if s, last := m.State(); s != health.Out || last != health.LowSpace {
			t.Errorf("below the mark for 30 s: %v, last %q", s, last)
		}
	})
}
