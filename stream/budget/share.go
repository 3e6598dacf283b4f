package budget

import (
	"context"
	"fmt"
	"time"

	"spillway/internal/account"
)

// Upload is what a budget has to know of an upload.
type Upload struct {
	// Owner is whose upload it is. While processors are short, each owner gets one
	// in turn, however many uploads it has.
	Owner string

	// Account gets the time that the upload waits for room. It may be nil.
	Account *account.Account

	// End ends the upload, whose context then ends with that cause: a
	// [*NoRoomError], a [*QuotaError], or a [*guard.PanicError]. The budget calls it
	// when the client is slow and others wait for its room. It must not wait.
	End func(cause error)
}

// A Share is what one upload has of a budget. Whoever admitted it closes it.
type Share struct {
	budget  *Budget
	ctx     context.Context // of the upload
	owner   string
	account *account.Account
	end     func(cause error)
	wanted  chan struct{}
	pace    pace

	// guarded by Budget.mu
	floor       bool
	ticket      bool
	leases      int                  // part buffers
	leased      int64                // bytes: part buffers, the ticket, what Keep keeps
	held        int64                // bytes
	peak        int64                // highest leased + held
	buffers     map[*Buffer]struct{} // that are being filled, or are on their way to the store
	spilled     int64                // bytes on disk, as counted
	peakSpilled int64
	granted     time.Time // when it last got something that it waited for

	// of the goroutine that reads the archive
	table int64 // bytes
	tools int64 // likewise
}

// Admit waits for a floor and returns the upload's share. ctx is the context of the
// upload: its calls of the disk end with it. The error is a [*NoRoomError], after
// Config.Wait or at once if 256 others wait already, or the context's cause.
func (b *Budget) Admit(ctx context.Context, u Upload) (*Share, error) {
	if err := b.acquire(ctx, floors, nil, 1); err != nil {
		return nil, err
	}
	s := &Share{
		budget: b, ctx: ctx, owner: u.Owner, account: u.Account, end: u.End, floor: true,
		wanted: make(chan struct{}, 1), buffers: make(map[*Buffer]struct{}), pace: pace{part: b.partSize},
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shares[s] = struct{}{}
	return s, nil
}

// Account is the account that Admit was given.
func (s *Share) Account() *account.Account { return s.account }

// PartSize is the size of a full part in bytes.
func (s *Share) PartSize() int { return s.budget.partSize }

// AwaitClient says that the upload waits for its client, until it calls arrived with
// the number of bytes that have come.
func (s *Share) AwaitClient() (arrived func(n int)) {
	s.pace.begin()
	return s.pace.end
}

// AllArrived says that the upload does not wait for its client any more.
func (s *Share) AllArrived() { s.pace.over() }

// Wanted receives when another call waits for memory, and the upload should give up
// buffers that it holds as long as [Share.Waited] is true.
func (s *Share) Wanted() <-chan struct{} { return s.wanted }

// Waited reports whether a call waits for memory that held buffers have.
func (s *Share) Waited() bool {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	return s.budget.memoryWanted()
}

// InTheWay reports whether others wait for what the upload has.
func (s *Share) InTheWay() bool {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.memoryWanted() || s.ticket && len(b.queues[tickets].waiters) > 0 || s.floor && len(b.queues[floors].waiters) > 0
}

// waitsOn is what an upload that waits for memory is blocked on: the store or the
// processor, if they have parts of the upload, which come back.
func (s *Share) waitsOn() account.Label {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	on := account.OnMemory
	for buffer := range s.buffers {
		switch {
		case !buffer.filling.IsZero():
		case !buffer.sent:
			return account.OnStore
		default:
			on = account.OnCPU
		}
	}
	return on
}

// note keeps the peak. The caller holds Budget.mu.
func (s *Share) note() { s.peak = max(s.peak, s.leased+s.held) }

// spill counts n bytes on disk. The caller holds Budget.mu.
func (s *Share) spill(n int64) {
	s.spilled += n
	s.peakSpilled = max(s.peakSpilled, s.spilled)
}

// Peak is the most that the upload had at once beside its floor, in bytes: in memory,
// and on the disk as counted against its quota.
func (s *Share) Peak() (memory, spilled int64) {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	return s.peak, s.peakSpilled
}

// Keep gives everything back except n bytes of memory, which are kept until Close:
// for what an upload leaves behind until its answer is written. If the upload has
// no ticket, and there is no room for n bytes that nobody waits for, it keeps its
// floor instead. All buffers have been released before.
func (s *Share) Keep(n int64) {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	s.mustBeReleased()
	switch {
	case s.ticket && n <= b.ticketSize:
		b.unlease(s, b.ticketSize-n)
	case s.ticket || b.memoryWanted() || n > b.free[parts]-2*int64(b.partSize):
		return
	default:
		b.lease(s, n)
	}
	s.dropTicket()
	s.dropFloor()
}

// Close gives everything back. All buffers have been released before: Close panics
// if one was not, because then the budget would be wrong from there on. Close may
// be called more than once.
func (s *Share) Close() {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, open := b.shares[s]; !open {
		return
	}
	s.mustBeReleased()
	delete(b.shares, s)
	b.unlease(s, s.leased)
	s.dropTicket()
	s.dropFloor()
}

func (s *Share) dropTicket() {
	if s.ticket {
		s.ticket = false
		s.budget.giveBack(tickets, 1)
	}
}

func (s *Share) dropFloor() {
	if s.floor {
		s.floor = false
		s.budget.giveBack(floors, 1)
	}
}

// mustBeReleased panics if the upload has a buffer, or space on the disk. The caller
// holds Budget.mu.
func (s *Share) mustBeReleased() {
	if s.leases != 0 || s.held != 0 || s.spilled != 0 || s.tools != 0 {
		panic(fmt.Sprintf("budget: a share ends with %d parts leased, %d bytes held, %d on disk and %d of tools", s.leases, s.held, s.spilled, s.tools))
	}
}
