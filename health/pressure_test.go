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

// machine is a disk whose state the test decides on, and what became of the
// instance on it.
type machine struct {
	*health.Pressure

	mu       sync.Mutex // guards what follows
	free     int64
	own      int64
	late     int64
	freeErr  error
	probeErr error
	probes   int
	counted  int
	changes  []health.State
}

// errNotTheDisk fails a probe for a reason that is not the disk's.
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
		t.Errorf("%s it is %v, want %v", when, got, want)
	}
}

// watched runs a test on a machine that is watched, in fake time.
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
		m.want(t, "in the beginning", health.Calm)
		m.Add(health.DiskFailed, syscall.EIO)
		m.want(t, "after one trouble", health.Warned)
		m.Add(health.DiskFailed, syscall.EIO)
		m.want(t, "after two", health.Warned)
		m.Add(health.DiskFailed, syscall.EIO)
		m.want(t, "after three", health.Out)
		pass(2*time.Minute - time.Second)
		m.want(t, "while the window is not over", health.Out)
		pass(11 * time.Second)
		m.want(t, "after it, with room and a disk that works,", health.Calm)
		if !slices.Equal(m.changes, []health.State{health.Out, health.Calm}) {
			t.Errorf("told of %v", m.changes)
		}
	})
}

func TestPressureForgets(t *testing.T) {
	watched(t, func(t *testing.T, m *machine) {
		for range 10 {
			m.Add(health.DiskFailed, syscall.EIO)
			pass(time.Minute + time.Second)
			m.want(t, "with trouble each minute", health.Warned)
		}
		pass(time.Minute)
		m.want(t, "two minutes after the last", health.Calm)
		if len(m.changes) > 0 {
			t.Errorf("told of %v", m.changes)
		}
	})
}

// TestPressureStays has an instance that is out for as long as any one of the
// conditions for its return is not there.
func TestPressureStays(t *testing.T) {
	for name, set := range map[string]func(m *machine, bad bool){
		"too little space": func(m *machine, bad bool) { m.free = map[bool]int64{true: 99, false: 1000}[bad] },
		"space between the marks": func(m *machine, bad bool) {
			m.free = map[bool]int64{true: 124, false: 125}[bad]
		},
		"a disk that takes no write":  func(m *machine, bad bool) { m.probeErr = map[bool]error{true: errors.New("EIO")}[bad] },
		"a disk that cannot be asked": func(m *machine, bad bool) { m.freeErr = map[bool]error{true: errors.New("EIO")}[bad] },
	} {
		t.Run(name, func(t *testing.T) {
			watched(t, func(t *testing.T, m *machine) {
				for range 3 {
					m.Add(health.DiskFailed, syscall.EIO)
				}
				m.set(func() { set(m, true) })
				pass(time.Hour)
				m.want(t, "while it lasts", health.Out)
				m.set(func() { set(m, false) })
				pass(2*time.Minute + 11*time.Second)
				m.want(t, "after it", health.Calm)
				if !slices.Equal(m.changes, []health.State{health.Out, health.Calm}) {
					t.Errorf("told of %v", m.changes)
				}
			})
		})
	}
}

// TestPressureDoesNotFlap has a disk that works and fails in turn, faster than
// the window.
func TestPressureDoesNotFlap(t *testing.T) {
	watched(t, func(t *testing.T, m *machine) {
		for i := range 200 {
			m.set(func() { m.free = []int64{50, 1000}[i%2] })
			pass(30 * time.Second)
		}
		if !slices.Equal(m.changes, []health.State{health.Out}) {
			t.Errorf("told of %v", m.changes)
		}
		m.set(func() { m.free = 1000 })
		pass(3 * time.Minute)
		m.want(t, "once it works", health.Calm)
	})
}

// TestBrokenDiskIsFound has nobody use the disk: the machine's own look finds what
// is wrong with it within half a minute, and that it is well again.
func TestBrokenDiskIsFound(t *testing.T) {
	for name, set := range map[string]func(m *machine, bad bool){
		"takes no write":  func(m *machine, bad bool) { m.probeErr = map[bool]error{true: syscall.EROFS}[bad] },
		"cannot be asked": func(m *machine, bad bool) { m.freeErr = map[bool]error{true: syscall.EIO}[bad] },
		"below the mark":  func(m *machine, bad bool) { m.free = map[bool]int64{true: 99, false: 1000}[bad] },
	} {
		t.Run(name, func(t *testing.T) {
			watched(t, func(t *testing.T, m *machine) {
				m.set(func() { set(m, true) })
				pass(8 * time.Second)
				m.want(t, "at the first look", health.Warned)
				pass(22 * time.Second)
				m.want(t, "after half a minute", health.Out)
				m.set(func() { set(m, false) })
				pass(2 * time.Minute)
				m.want(t, "two minutes after it works", health.Calm)
			})
		})
	}
}

// One failure is a warning, however long nobody uses the disk after it.
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
		m.want(t, "two minutes after it", health.Calm)
	})
}

// Calls of uploads that hang are trouble, also where the probe does not. All that
// hang between two looks are one.
func TestLateCallsAreTrouble(t *testing.T) {
	watched(t, func(t *testing.T, m *machine) {
		m.set(func() { m.late = 64 })
		pass(time.Minute)
		m.want(t, "after a disk that hung once", health.Warned)
		for range 2 {
			m.set(func() { m.late++ })
			pass(8 * time.Second)
		}
		if s, last := m.State(); s != health.Out || last != health.DiskHangs {
			t.Errorf("after three times it is %v for %q", s, last)
		}
		pass(2*time.Minute + 8*time.Second)
		m.want(t, "although the calls have not ended", health.Calm)
	})
}

// What the instance itself has on the disk counts as free: it neither takes the
// instance out nor keeps it out.
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
		m.want(t, "with those of others", health.Out)
	})
}

// A probe that fails for a reason that is not the disk's is no trouble. It proves
// nothing either.
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
			t.Errorf("below the mark for long it is %v for %q", s, last)
		}
	})
}
