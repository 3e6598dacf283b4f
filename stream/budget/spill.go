package budget

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"spillway/internal/account"
)

const (
	// spillBlock is the unit in which a spill file is written and given back, in bytes.
	spillBlock = 64 << 10

	// spillStep is the unit in which a spill file is allocated, in bytes.
	spillStep = 16 * spillBlock

	// spillOverhead is what a spill file counts for beside its bytes: what the file
	// system needs to find its pieces.
	spillOverhead = 64 << 10
)

// SpillConfig limits the disk that uploads may take.
type SpillConfig struct {
	// Disk is where the files are. It is not used if Quota is zero.
	Disk Disk

	// Quota is for all uploads together, UploadQuota for each one, in bytes. Without
	// a quota, nothing goes to the disk.
	Quota, UploadQuota int64

	// MinFree is how many bytes of the file system stay free.
	MinFree int64

	// HangAfter is how long a call of the disk may take before it counts as hanging;
	// 0: 5 s. Callers wait for a call six times as long at most.
	HangAfter time.Duration

	// Trouble is told of each call that should have succeeded and failed: a
	// [*DiskError]. It is not told of calls that hang, nor of what a client can cause.
	// It must not wait. It may be nil.
	Trouble func(error)
}

// Spill is the disk for what does not fit into memory.
//
// Space is counted against the quotas before it is allocated, and allocated before
// it is written. The files have no names, so the system takes their space back
// whatever ends the process.
type Spill struct {
	budget *Budget
	cfg    SpillConfig
	calls  *diskCalls

	cleaning, probing single

	// returns changes before and after each call that gives space back.
	returns atomic.Int64

	// guarded by Budget.mu
	stuck     int64 // bytes of the quota in files whose upload is over, but whose calls hang
	allocated int64 // bytes; counted before they are allocated, and until they are given back
	files     map[*File]struct{}
	refused   int64
}

// SpillUsage says how much of the disk is in use. Sizes are in bytes.
type SpillUsage struct {
	Quota, UploadQuota, MinFree int64

	Used    int64 // counted against Quota
	Files   int
	Waiting int   // uploads that wait for space
	Refused int64 // requests for space that were refused, since the start

	// Hanging is how many calls of the disk hang, and HangsFor for how long the oldest
	// has. Stuck is the part of Used in files whose upload is over, but whose calls
	// have not ended.
	Hanging  int
	HangsFor time.Duration
	Late     int64 // calls that took longer than HangAfter, since the start
	Stuck    int64
}

// Usage returns a snapshot.
func (s *Spill) Usage() SpillUsage {
	hanging, hangsFor := s.calls.hanging()
	late := s.calls.lateCalls()
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	return SpillUsage{
		Quota: s.cfg.Quota, UploadQuota: s.cfg.UploadQuota, MinFree: s.cfg.MinFree,
		Used: s.used(), Files: len(s.files), Waiting: len(s.budget.queues[disk].waiters), Refused: s.refused,
		Hanging: hanging, HangsFor: hangsFor, Late: late, Stuck: s.stuck,
	}
}

// used is how much of the quota is counted, in bytes. The caller holds Budget.mu.
func (s *Spill) used() int64 { return s.cfg.Quota - s.budget.free[disk] }

// SpillFile makes a file for an archive that has to be spilled, after the upload has
// taken its ticket. If the size of the file is known, in bytes, it waits for its
// turn until there is room for all of it: uploads that each got a part of what they
// need would keep one another from ever ending. If size is 0, it is not known, and
// each Write takes what it needs without waiting. Whoever gets the file closes it.
// The error is a [*QuotaError], a [*DiskError], a [*NoRoomError], or the context's
// cause.
func (s *Share) SpillFile(ctx context.Context, size int64) (*File, error) {
	spill := &s.budget.spill
	if spill.cfg.Quota == 0 {
		return nil, errNoSpill
	}
	if err := s.takeTicket(ctx); err != nil {
		return nil, err
	}
	defer s.account.During(account.OnDisk)()
	f, err := s.newFile(ctx)
	if err != nil || size == 0 {
		return f, err
	}
	if err := f.claimInTurn(ctx, size); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

var errNoSpill = &QuotaError{Quota: ProcessQuota, Never: true}

// newFile makes a file without any space yet.
func (s *Share) newFile(ctx context.Context) (*File, error) {
	spill := &s.budget.spill
	if spill.cfg.Quota == 0 {
		return nil, errNoSpill
	}
	var (
		file DiskFile
		err  error
	)
	before := spill.returns.Load()
	_, failed := spill.calls.do(ctx, func() error {
		file, err = spill.cfg.Disk.Create()
		return err
	}, func() {
		if err == nil {
			spill.calls.always(file.Close, func() {}) // nobody waits for it any more
		}
	})
	if failed != nil {
		return nil, spill.failure(ctx, "create", failed, spillBlock, before)
	}
	f := &File{spill: spill, share: s, disk: file}
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	spill.files[f] = struct{}{}
	return f, nil
}

// take counts n more bytes of a file that has counted bytes already, if there is
// room now. The error is a [*QuotaError] or a [*DiskError].
func (s *Spill) take(ctx context.Context, share *Share, n, counted int64) error {
	if err := s.enoughFree(ctx, n); err != nil {
		return err
	}
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	err := s.fits(share, n, counted)
	if err == nil && (b.free[disk] < n || len(b.queues[disk].waiters) > 0) {
		err = s.full(n)
	}
	if err != nil {
		s.refused++
		return err
	}
	b.free[disk] -= n
	share.spill(n)
	return nil
}

// takeInTurn is take that waits, first come first served, for what others have. The
// error may also be the context's cause.
func (s *Spill) takeInTurn(ctx context.Context, share *Share, n, counted int64) error {
	if err := s.enoughFree(ctx, n); err != nil {
		return err
	}
	s.budget.mu.Lock()
	err := s.fits(share, n, counted)
	if err != nil {
		s.refused++
	}
	s.budget.mu.Unlock()
	if err != nil {
		return err
	}
	return s.budget.acquire(ctx, disk, share, n)
}

// fits refuses what can never be there, and what the upload has used up itself. The
// caller holds Budget.mu.
func (s *Spill) fits(share *Share, n, counted int64) error {
	switch {
	case counted+n > s.cfg.Quota:
		return &QuotaError{Quota: ProcessQuota, Limit: s.cfg.Quota, InUse: s.used(), Need: n, Never: true}
	case share.spilled+n > s.cfg.UploadQuota:
		return &QuotaError{
			Quota: UploadQuota, Limit: s.cfg.UploadQuota, InUse: share.spilled, Need: n,
			Never: counted+n > s.cfg.UploadQuota,
		}
	}
	return nil
}

// full is the error of n bytes for which others leave no room. The caller holds
// Budget.mu.
func (s *Spill) full(n int64) error {
	return &QuotaError{Quota: ProcessQuota, Limit: s.cfg.Quota, InUse: s.used(), Need: n}
}

// giveBack returns n bytes of the quota, of a share or, if they were detached from
// it, of what is stuck.
func (s *Spill) giveBack(share *Share, n int64, detached bool) {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	if detached {
		s.stuck -= n
	} else {
		share.spilled -= n
	}
	s.budget.giveBack(disk, n)
	if s.used() < 0 || s.stuck < 0 || share.spilled < 0 {
		panic(fmt.Sprintf("budget: more disk given back than taken: %d left of all, %d stuck, %d of the upload", s.used(), s.stuck, share.spilled))
	}
}

// detach makes n bytes of a share stuck.
func (s *Spill) detach(share *Share, n int64) {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	share.spilled -= n
	s.stuck += n
}

// forget drops a file.
func (s *Spill) forget(f *File) {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	delete(s.files, f)
}
