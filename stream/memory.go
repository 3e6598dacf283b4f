package stream

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"spillway/internal/guard"
	"spillway/stream/inflate"
)

const (
	// floorSize is the room that every upload has to itself from admission to
	// its end, in bytes: the read buffer, a verifier and the first rows of the
	// entry table.
	floorSize = 512 << 10

	// verifierSize is the room of a verifier, in bytes: its inflater, the buffers
	// of other decoders, and a file's head. Those that all uploads share are four
	// a processor, within a thirty-second of the budget.
	verifierSize = inflate.Memory + 2*readSize + packedSize + symbolHead

	// minMemory is the smallest budget in which a part buffer of S3's minimum
	// size is still a sixth of the whole.
	minMemory = 6 * minPartSize

	// minPartSize is the least size of a part other than the last (S3 API,
	// "Multipart upload limits").
	minPartSize = 5 << 20

	// maxHeld bounds what one upload holds until it is published, in bytes.
	maxHeld = 64 << 20

	// slowFill is how long a buffer may take to fill while another upload waits
	// for one.
	slowFill = 20 * time.Second

	// slowRoom is the least room of a buffer that is taken from a slow client, in
	// bytes. Below it, all uploads at once have a thirty-second of the budget.
	slowRoom = 64 << 10

	// slowLook is the shortest time between two looks for slow clients.
	slowLook = 100 * time.Millisecond

	// maxAdmitting is how many uploads may wait for a floor. Each costs some memory
	// outside the budget: its connection and its request's header.
	maxAdmitting = 256

	// slowEvery is the shortest time between two that something is taken from,
	// however many wait: what the first gives back may be enough for all.
	slowEvery = time.Second
)

// Memory is the one budget that all uploads of the process share.
//
// A quarter of it is floors: each upload has one from admission to its end, so
// that floors bound the uploads at once. The rest is leases, which are waited
// for in turn, and held buffers, which only take what nobody waits for. Nobody
// gets a second lease while somebody waits for a first one.
//
// No upload keeps others waiting for anything but the store. A part buffer is
// either being filled (and when that takes longer than 20 s while others wait,
// it moves to the disk, or its upload is ended) or on its way to the store. An
// upload that has reserved memory while its client sends less than a part in
// 20 s is ended when others wait to reserve some. Held buffers, once they are
// full, are given up when [Share.Wanted] says that somebody waits.
//
// Nor do uploads wait for one another's reservations in a circle: one of them,
// the elder, finds at least half of what all may reserve, whatever the others
// have, so that it comes to its end, and then the next one is the elder. Only
// where that is not enough for it is the youngest of the others ended.
type Memory struct {
	total      int64
	partSize   int
	wait       time.Duration
	verifying  *gate  // a slot for each entry that is verified beside its upload's own, which takes a verifier
	processors *gate  // a slot for each goroutine that decodes
	spill      *Spill // for part buffers that fill slowly, and archives that have to be held; nil if there is none

	mu         sync.Mutex // guards all below, and the shares' fields that say so
	floors     int        // free floors
	free       int64      // bytes for leases and held buffers
	heavy      int64      // bytes that reservations may still take
	elderly    int64      // bytes of them that are the elder's, those it has included
	elder      *Share     // an upload that reserves, until it has none reserved; may be nil
	returned   time.Time  // when bytes were last given back
	slowTaken  time.Time  // when something was last taken from a slow client
	admissions int64      // since the start
	admitted   []*waiter  // waiting for a floor, first come first
	reserving  []*waiter  // waiting until reservations leave room for theirs, first come first
	leasing    []*waiter  // waiting for bytes, first come first
	shares     map[*Share]struct{}
	idleParts  [][]byte         // buffers of a part that nobody leases; see [Memory.Idle]
	idleTools  [toolKinds][]any // likewise
}

// waiter is a call that waits for a floor or for leased bytes.
type waiter struct {
	share    *Share // nil for a floor
	n        int64
	lease    bool          // n is a buffer
	reserved bool          // n is taken out of Memory.heavy
	ready    chan struct{} // closed, under Memory.mu, when the room is the waiter's
	data     []byte        // once ready, the idle buffer that a part can use again, if there was one
	tools    *tools        // nil, or what n is for: once ready, it has the idle ones that there were
}

// NewMemory makes a budget of total bytes, for at most uploads uploads at once
// and parts of at most maxPart bytes. An upload waits for its turn as long as
// wait. Once it is admitted, a call that finds no room, here or in spill, waits
// for it as long as others give some back, and fails when nobody has for as long
// as wait. spill may be nil: then nothing goes to the disk. It is an error if
// total is under 30 MiB.
func NewMemory(total, maxPart int64, uploads int, wait time.Duration, spill *Spill) (*Memory, error) {
	if total < minMemory {
		return nil, fmt.Errorf("a memory budget of %d bytes is too small: the least is %d MiB", total, minMemory>>20)
	}
	part := min(max(total/6, minPartSize), max(maxPart, minPartSize))
	floors := min(uploads, int(total/4/floorSize))
	verifiers := max(1, min(4*int64(runtime.GOMAXPROCS(0)), total/32/verifierSize))
	free := total - int64(floors)*floorSize - verifiers*verifierSize
	if free < 2*part+zstdMemory+deflaterMemory {
		return nil, fmt.Errorf("a memory budget of %d bytes is too small for two parts of %d bytes and a decoder", total, part)
	}
	heavy := free - 2*part
	return &Memory{
		total:    total,
		partSize: int(part),
		wait:     wait,
		spill:    spill,
		// Long entries are not interrupted, so that an owner leaves some to others.
		verifying:  newGate(int(verifiers), max(1, int(verifiers)*3/4)),
		processors: newGate(runtime.GOMAXPROCS(0), runtime.GOMAXPROCS(0)),
		floors:     floors,
		free:       free,
		heavy:      heavy,
		elderly:    heavy / 2,
		shares:     make(map[*Share]struct{}),
	}, nil
}

// PartSize is the size of a full part in bytes.
func (m *Memory) PartSize() int { return m.partSize }

// Total is the budget in bytes.
func (m *Memory) Total() int64 { return m.total }

// Usage says who has how much of a budget, in bytes.
type Usage struct {
	Total   int64
	Uploads int   // shares that are open
	Floors  int64 // reserved by them
	Leased  int64 // part buffers, decoders and grown entry tables
	Held    int64
	Waiting int // calls that wait for room
}

// Usage returns a snapshot.
func (m *Memory) Usage() Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.usage()
}

func (m *Memory) usage() Usage {
	u := Usage{Total: m.total, Uploads: len(m.shares), Waiting: len(m.admitted) + len(m.reserving) + len(m.leasing)}
	for s := range m.shares {
		if !s.settled {
			u.Floors += floorSize
		}
		u.Leased += s.leased
		u.Held += s.held
	}
	return u
}

// noRoom is the error of a call that waited in vain. The caller holds m.mu.
func (m *Memory) noRoom(what string) *NoRoomError {
	u := m.usage()
	return &NoRoomError{What: what, Limit: m.total, InUse: u.Floors + u.Leased + u.Held}
}

// Admit waits for a floor and returns a share of the budget, together with a
// context that ends when the budget has to end this upload: its cause is a
// [*NoRoomError] then. The error is a *NoRoomError, after the wait that the
// budget was made with or at once if 256 others wait already, or the context's
// cause.
func (m *Memory) Admit(ctx context.Context) (context.Context, *Share, error) {
	w := &waiter{ready: make(chan struct{})}
	m.mu.Lock()
	if len(m.admitted) >= maxAdmitting {
		defer m.mu.Unlock()
		return nil, nil, m.noRoom(fmt.Sprintf("every place for an upload is taken, and %d others wait for one", maxAdmitting))
	}
	m.admitted = append(m.admitted, w)
	m.serve()
	m.mu.Unlock()
	if err := m.await(ctx, w, "every place for an upload is taken"); err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	disk, endDisk := context.WithCancelCause(context.WithoutCancel(ctx))
	ctx, cancel := context.WithCancelCause(ctx)
	m.admissions++
	s := &Share{
		m: m, cancel: cancel, disk: disk, endDisk: endDisk, number: m.admissions, wanted: make(chan struct{}, 1), buffers: make(map[*Buffer]struct{}),
		pace: pace{part: m.partSize},
	}
	m.shares[s] = struct{}{}
	return ctx, s, nil
}

// await waits until w is served, its context ends, or its patience does. The
// caller does not hold m.mu.
func (m *Memory) await(ctx context.Context, w *waiter, what string) error {
	select {
	case <-w.ready:
		return nil
	default:
	}
	timer := time.NewTimer(m.wait)
	defer timer.Stop()
	if w.share != nil {
		w.share.blocked.Add(1)
		defer w.share.blocked.Add(-1)
	}
	for {
		var slow <-chan time.Time
		if w.share != nil {
			slow = time.After(m.endSlowest())
		}
		var err error
		select {
		case <-w.ready:
			return nil
		case <-slow:
			continue
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-timer.C:
			if left := m.patience(w); left > 0 {
				timer.Reset(left)
				continue
			}
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.leave(w) {
			return nil // served just now
		}
		if err == nil {
			err = m.noRoom(what)
		}
		m.serve()
		return err
	}
}

// patience is how much longer w, which has waited as long as it may, waits all
// the same: an upload that has been admitted is not given up while others give
// room back, or those that have reserved what it waits for get on.
func (m *Memory) patience(w *waiter) time.Duration {
	if w.share == nil {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	moved := m.returned
	for s := range m.shares {
		if s != w.share && s.reserved > 0 {
			moved = later(moved, s.moved())
		}
	}
	return m.wait - time.Since(moved)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// leave takes w out of the queue that it is in, and reports whether it was in
// one. The caller holds m.mu.
func (m *Memory) leave(w *waiter) bool {
	for _, queue := range []*[]*waiter{&m.admitted, &m.reserving, &m.leasing} {
		if i := slices.Index(*queue, w); i >= 0 {
			*queue = slices.Delete(*queue, i, i+1)
			if w.reserved {
				m.heavy += w.n
				w.share.reserved -= w.n
			}
			return true
		}
	}
	return false
}

// endSlowest takes from the upload whose client has been slowest what others
// wait for, if it has been slow for longer than slowFill, and returns when to
// look again. It does not wait for the disk that a part moves to.
func (m *Memory) endSlowest() (again time.Duration) {
	share, part, again := m.slowest()
	switch {
	case share == nil:
	case part == nil:
		m.endSlow(share)
	default:
		go func() {
			err := guard.Do(part.toDisk)
			if p, ok := errors.AsType[*guard.PanicError](err); ok {
				share.cancel(p)
			} else if err != nil {
				m.endSlow(share)
			}
		}()
	}
	return again
}

// endSlow ends an upload whose client is slow.
func (m *Memory) endSlow(s *Share) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.cancel(m.noRoom("an upload that arrives slowly while others wait for memory"))
}

// slowest finds the upload that has kept others waiting for its client for longest
// and for too long, if there is one, and what to take from it: a part buffer, or,
// if that is nil, all it has. It says when to look again.
func (m *Memory) slowest() (slowest *Share, part *Buffer, again time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.leasing)+len(m.reserving) == 0 {
		return nil, nil, slowFill // whoever asks has just been served
	}
	if again := slowEvery - time.Since(m.slowTaken); again > 0 {
		return nil, nil, again
	}
	slow := time.Duration(-1)
	for s := range m.shares {
		for b := range s.buffers {
			if d := time.Since(b.filling); b.room >= slowRoom && !b.filling.IsZero() && d > slow {
				slowest, part, slow = s, b, d
			}
		}
		// What is reserved is in nobody's way but of others who reserve.
		if d := s.pace.slow(); s.reserved > 0 && m.keepsWaiting(s) && d > slow {
			slowest, part, slow = s, nil, d
		}
	}
	switch {
	case slowest == nil:
		return nil, nil, slowFill
	case slow < slowFill:
		return nil, nil, max(slowFill-slow, slowLook)
	case part != nil:
		part.filling = time.Time{} // its turn has come, and comes once
	}
	m.slowTaken = time.Now()
	return slowest, part, slowEvery
}

// keepsWaiting reports whether another upload than s waits to reserve memory. The
// caller holds m.mu.
func (m *Memory) keepsWaiting(s *Share) bool {
	return slices.ContainsFunc(m.reserving, func(w *waiter) bool { return w.share != s })
}

// serve gives free room to those who wait for it. The caller holds m.mu.
func (m *Memory) serve() {
	for m.floors > 0 && len(m.admitted) > 0 {
		m.floors--
		close(m.admitted[0].ready)
		m.admitted = m.admitted[1:]
	}
	for next := m.nextReserving(); next >= 0; next = m.nextReserving() {
		w := m.reserving[next]
		m.reserving = slices.Delete(m.reserving, next, next+1)
		m.heavy -= w.n
		w.reserved = true
		w.share.reserved += w.n
		m.leasing = append(m.leasing, w)
	}
	if len(m.reserving) > 0 {
		m.untangle()
	}
	for len(m.leasing) > 0 {
		next := 0
		for i, w := range m.leasing {
			if w.share.leases == 0 {
				next = i
				break
			}
		}
		w := m.leasing[next]
		if w.n > m.free {
			m.askBack()
			return
		}
		m.take(w)
		close(w.ready)
		m.leasing = append(m.leasing[:next], m.leasing[next+1:]...)
	}
}

// nextReserving is which of those that wait for reservations gets one: the
// elder, or else the first, if that leaves the elder its part. It is -1 if there
// is nothing to get. The caller holds m.mu.
func (m *Memory) nextReserving() int {
	if len(m.reserving) == 0 {
		return -1
	}
	m.chooseElder()
	for i, w := range m.reserving {
		switch {
		case w.share != m.elder:
		case w.n <= m.heavy:
			return i
		default:
			return -1 // nobody takes what the elder waits for
		}
	}
	if m.reserving[0].n <= m.heavy-max(0, m.elderly-m.elder.reserved) {
		return 0
	}
	return -1
}

// chooseElder finds an elder if there is none, or none that has anything
// reserved: the oldest of those that have, or else the first that waits. The
// caller holds m.mu and has seen that one waits.
func (m *Memory) chooseElder() {
	if m.elder != nil && m.elder.reserved > 0 {
		return
	}
	m.elder = nil
	for s := range m.shares {
		if s.reserved > 0 && !s.settled && (m.elder == nil || s.number < m.elder.number) {
			m.elder = s
		}
	}
	if m.elder == nil {
		m.elder = m.reserving[0].share
	}
}

// untangle ends the youngest of the uploads that have reserved memory if all
// of them wait for more: none would ever give any back. The elder, whose part
// was not enough, is ended only if it is the last; then what it needs is never
// there. The caller holds m.mu.
func (m *Memory) untangle() {
	waits := make(map[*Share]bool, len(m.reserving))
	for _, w := range m.reserving {
		waits[w.share] = true
	}
	if m.elder.reserved == 0 || !waits[m.elder] {
		return
	}
	var youngest *Share
	for s := range m.shares {
		switch {
		case s.reserved == 0 || s == m.elder:
		case !waits[s]:
			return
		case youngest == nil || s.number > youngest.number:
			youngest = s
		}
	}
	if youngest == nil {
		never := m.noRoom("memory for the table of the archive's entries and a decoder")
		never.Never = true
		m.elder.cancel(never)
		return
	}
	youngest.cancel(m.noRoom("uploads that wait for one another's memory"))
}

// giveBack takes n bytes back that were leased or held. The caller holds m.mu.
func (m *Memory) giveBack(n int64) {
	m.free += n
	if n > 0 {
		m.returned = time.Now()
	}
	m.serve()
}

// unreserve takes n bytes back that s had reserved. The caller holds m.mu.
func (m *Memory) unreserve(s *Share, n int64) {
	m.heavy += n
	s.leased -= n
	s.reserved -= n
	m.giveBack(n)
}

// askBack tells those who hold buffers that somebody waits. The caller holds m.mu.
func (m *Memory) askBack() {
	for s := range m.shares {
		if s.held > 0 {
			select {
			case s.wanted <- struct{}{}:
			default:
			}
		}
	}
}

// take counts w's bytes as leased. The caller holds m.mu and has seen that
// they are free.
func (m *Memory) take(w *waiter) {
	m.free -= w.n
	w.share.leased += w.n
	if w.lease {
		w.share.leases++
	}
	if w.lease && w.n == int64(m.partSize) {
		w.data = m.popIdle()
	}
	if w.tools != nil {
		m.reuse(w.tools)
	}
	w.share.peak = max(w.share.peak, w.share.leased+w.share.held)
	m.trim()
}

// popIdle returns an idle part buffer, nil if there is none. The caller holds
// m.mu.
func (m *Memory) popIdle() []byte {
	n := len(m.idleParts)
	if n == 0 {
		return nil
	}
	data := m.idleParts[n-1]
	m.idleParts[n-1] = nil // so that it can be collected once its user drops it
	m.idleParts = m.idleParts[:n-1]
	return data
}
