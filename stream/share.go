package stream

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"spillway/internal/account"
)

// A Share is one upload's part of the budget. Whoever admitted it closes it.
type Share struct {
	m      *Memory
	cancel context.CancelCauseFunc
	number int64 // in the order of admission
	wanted chan struct{}
	pace   pace

	blocked atomic.Int32 // calls that wait for room, in memory or on disk

	disk    context.Context // of the calls of the disk that have none of their own
	endDisk context.CancelCauseFunc

	owner   string           // whose it is
	account *account.Account // of the goroutine that reads; nil if nobody wants to know

	// guarded by m.mu
	leases   int   // buffers
	leased   int64 // reserved bytes included
	reserved int64
	table    int64 // reserved bytes that are given back at the end
	settled  bool  // Keep has given the floor back
	held     int64
	peak     int64                // highest leased + held
	buffers  map[*Buffer]struct{} // that are filling, and leased ones on their way to the store

	// guarded by the Spill's mu
	spilled     int64
	peakSpilled int64
}

// Lease waits for a part buffer. It is empty, of [Memory.PartSize], and being
// filled until [Buffer.Full] or [Buffer.Release] is called. The error is a
// [*NoRoomError] or the context's cause.
func (s *Share) Lease(ctx context.Context) (*Buffer, error) { return s.lease(ctx, s.m.partSize) }

// lease is Lease of a buffer of n bytes, at most a part. What is small and has to
// go to the store at once should not take the room of a part meanwhile.
func (s *Share) lease(ctx context.Context, n int) (*Buffer, error) {
	m := s.m
	w := &waiter{share: s, n: int64(n), lease: true, ready: make(chan struct{})}
	m.mu.Lock()
	m.leasing = append(m.leasing, w)
	m.serve()
	m.mu.Unlock()
	defer s.account.Switch(s.account.Switch(s.waitsOn()))
	if err := m.await(ctx, w, "memory for a part"); err != nil {
		return nil, err
	}
	if w.data == nil {
		w.data = make([]byte, n)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b := &Buffer{share: s, data: w.data[:0], room: w.n, leased: true, filling: time.Now()}
	s.buffers[b] = struct{}{}
	return b, nil
}

// Hold returns an empty buffer of n bytes, at most a part, that may be kept
// until the upload ends, if there is room that nobody waits for. It is being
// filled until [Buffer.Full] or [Buffer.Release] is called.
func (s *Share) Hold(n int) (*Buffer, bool) {
	room := int64(n)
	if !s.takeHeld(room) {
		return nil, false
	}
	data := make([]byte, 0, n) // takes long: the lock is not held
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	b := &Buffer{share: s, data: data, room: room, filling: time.Now()}
	s.buffers[b] = struct{}{}
	return b, true
}

// takeHeld counts n bytes as held, and reports false if there is no room for them
// that nobody waits for.
func (s *Share) takeHeld(n int64) bool {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	// Two parts stay free of held bytes, so that leases go on.
	if n > 0 && (len(m.leasing) > 0 || s.held+n > maxHeld || n > m.free-2*int64(m.partSize)) {
		return false
	}
	m.free -= n
	s.held += n
	s.peak = max(s.peak, s.leased+s.held)
	m.trim()
	return true
}

// Reserve waits for n bytes for something other than a part buffer: a decoder,
// an entry table. They are free again after release, which may be called more
// than once. All reservations together leave room for two parts, so that those
// who have one can go on. An upload must not have a part buffer to fill when it
// calls Reserve. The error is a [*NoRoomError] or the context's cause.
func (s *Share) Reserve(ctx context.Context, n int64) (release func(), err error) {
	return s.reserve(ctx, n, nil)
}

// reserve is Reserve of n bytes for tools, if they are not nil.
func (s *Share) reserve(ctx context.Context, n int64, t *tools) (release func(), err error) {
	m := s.m
	w := &waiter{share: s, n: n, tools: t, ready: make(chan struct{})}
	m.mu.Lock()
	m.reserving = append(m.reserving, w)
	m.serve()
	m.mu.Unlock()
	before := s.account.Switch(s.waitsOn())
	err = m.await(ctx, w, "memory for a decoder or a long entry table")
	if s.account.Switch(before); err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.unreserve(s, n)
	}), nil
}

// grow waits as Reserve does for n bytes that are kept until the upload ends.
func (s *Share) grow(ctx context.Context, n int64) error {
	if _, err := s.Reserve(ctx, n); err != nil {
		return err
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.table += n
	return nil
}

// Measure has the waits of the upload counted. It is called before any other
// method.
func (s *Share) Measure(a *account.Account) { s.account = a }

// reads has the upload's calls of the disk end with ctx, under which the archive
// is read, until over is called: publishing goes on whatever ends that.
func (s *Share) reads(ctx context.Context) (over func() bool) {
	return context.AfterFunc(ctx, func() { s.endDisk(context.Cause(ctx)) })
}

// OwnedBy says whose the upload is. While processors are short, each owner's
// uploads together get their turn. It is called before any other method; without
// it, the upload belongs to the owner "".
func (s *Share) OwnedBy(owner string) { s.owner = owner }

// waitsOn is what an upload that waits for memory is blocked on: the store,
// where that has parts of its own, which it will give back.
func (s *Share) waitsOn() account.Label {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for b := range s.buffers {
		if b.filling.IsZero() {
			return account.OnStore
		}
	}
	return account.OnMemory
}

// Wanted receives when another call waits for room and the upload should give
// up buffers that it holds, as long as [Share.Waited] is true.
func (s *Share) Wanted() <-chan struct{} { return s.wanted }

// InTheWay reports whether other uploads wait for memory of any kind.
func (s *Share) InTheWay() bool {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return len(s.m.leasing)+len(s.m.reserving) > 0 || !s.settled && len(s.m.admitted) > 0
}

// Waited reports whether a call waits for leased room.
func (s *Share) Waited() bool {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return len(s.m.leasing) > 0
}

// moved is when the upload last got on, zero if it has not: when its client last
// sent something. Once all has arrived, it does as long as it waits for nothing but
// its disk and the store, whose operations end in time.
func (s *Share) moved() time.Time {
	sent, done := s.pace.last()
	if done && s.blocked.Load() == 0 {
		return time.Now()
	}
	return sent
}

// Peak is the most that the upload had in leases and held buffers at once, in
// bytes.
func (s *Share) Peak() int64 {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return s.peak
}

// PeakSpilled is the most that the upload had on disk at once, in bytes, as
// counted against its quota.
func (s *Share) PeakSpilled() int64 {
	_, peak := s.onDisk()
	return peak
}

// onDisk is how much the upload has on disk, and the most that it had, in bytes.
func (s *Share) onDisk() (now, peak int64) {
	if s.m.spill == nil {
		return 0, 0
	}
	s.m.spill.mu.Lock()
	defer s.m.spill.mu.Unlock()
	return s.spilled, s.peakSpilled
}

// Keep gives everything back but n bytes of memory, which are kept until Close,
// for what the upload leaves behind: the names that its answer lists. They come
// out of the entry table. Where that was too small, and there is no room for them
// that nobody waits for, the upload keeps its floor instead. All buffers and other
// reservations have been released before, as for Close.
func (s *Share) Keep(n int64) {
	m := s.m
	s.cancel(context.Canceled)
	m.mu.Lock()
	defer m.mu.Unlock()
	s.mustBeReleased()
	if more := n - s.table; more > 0 {
		if len(m.reserving)+len(m.leasing) > 0 || more > min(m.free, m.heavy-max(0, m.elderly)) {
			return
		}
		m.heavy -= more
		m.free -= more
		m.trim()
		s.reserved += more
		s.leased += more
		s.table = n
	}
	if m.elder == s {
		m.elder = nil // it reserves nothing more
	}
	s.settled = true
	m.floors++
	m.unreserve(s, s.table-n)
	s.table = n
}

// Close gives all that is left back. All buffers and other reservations have been
// released before: that they were is what keeps the budget whole, so Close panics
// where one was not.
func (s *Share) Close() {
	m := s.m
	s.cancel(context.Canceled)
	s.endDisk(context.Canceled)
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, open := m.shares[s]; !open {
		return
	}
	s.mustBeReleased()
	delete(m.shares, s)
	if !s.settled {
		m.floors++
	}
	m.unreserve(s, s.table)
}

// mustBeReleased panics unless the entry table is all that s has. The caller holds
// m.mu.
func (s *Share) mustBeReleased() {
	if spilled, _ := s.onDisk(); s.leased != s.table || s.held != 0 || spilled != 0 {
		panic(fmt.Sprintf("stream: share closed with %d bytes leased, %d held and %d on disk", s.leased-s.table, s.held, spilled))
	}
}
