package stream

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"
)

const (
	// spillBlock is the unit in which a spill file is written and given back,
	// in bytes.
	spillBlock = 64 << 10

	// spillStep is the unit in which a spill file is allocated, in bytes.
	spillStep = 16 * spillBlock

	// spillOverhead is what a spill file counts for beside its bytes: what the
	// file system needs to find its pieces.
	spillOverhead = 64 << 10
)

// SpillConfig is what bounds the disk that uploads may take.
type SpillConfig struct {
	// Disk is where the files are. It is not used if Quota is zero.
	Disk Disk

	// Quota bounds all uploads together, UploadQuota each one, in bytes. With a
	// quota of zero nothing goes to the disk.
	Quota, UploadQuota int64

	// MinFree is how many bytes of the file system stay free.
	MinFree int64

	// HangAfter is how long a call of the disk may take before it counts as
	// hanging; 0: 5 s. Callers wait for a call six times as long at most.
	HangAfter time.Duration

	// Trouble is told of each call that should have succeeded and failed: a
	// [*DiskError]. It is not told of calls that hang, nor of what a client can
	// provoke. It must not wait for anything. It may be nil.
	Trouble func(error)
}

// Spill is the bounded cache on disk for what does not fit into memory.
//
// Space is counted against the quotas before it is allocated, and allocated
// before it is written. The files have no names, so that the system takes their
// space back whatever ends the process.
type Spill struct {
	cfg   SpillConfig
	calls *diskCalls

	cleaning, probing single

	mu      sync.Mutex // guards what follows and Share.spilled; taken after every other
	used    int64      // counted against the quota
	stuck   int64      // of used, in files whose upload is over and whose calls hang
	onDisk  int64      // allocated; counted before it is, and until it is given back
	waiting []*claim   // first come first
	files   map[*spillFile]struct{}
	refused int64

	returned  time.Time // when space was last given back
	slowEnded time.Time // when a slow upload was last ended
}

// claim is a call that waits for space.
type claim struct {
	share *Share
	n     int64
	ready chan struct{} // closed, under Spill.mu, when the space is the claim's
}

// NewSpill returns a cache with nothing in it.
func NewSpill(cfg SpillConfig) *Spill {
	return &Spill{cfg: cfg, calls: newDiskCalls(cfg.HangAfter), files: make(map[*spillFile]struct{})}
}

// SpillUsage says how much of the quota is in use. Sizes are in bytes.
type SpillUsage struct {
	Quota, UploadQuota, MinFree int64

	Used    int64 // counted against Quota
	Files   int
	Waiting int   // uploads that wait for space
	Refused int64 // claims that were refused, since the start

	// Calls of the disk that hang, and for how long the oldest has. Stuck is the
	// part of Used in files whose upload is over, but whose calls have not ended.
	Hanging  int
	HangsFor time.Duration
	Late     int64 // calls that took longer than HangAfter, since the start
	Stuck    int64
}

// Usage returns a snapshot.
func (s *Spill) Usage() SpillUsage {
	hanging, hangsFor := s.calls.hanging()
	late := s.calls.lateCalls()
	s.mu.Lock()
	defer s.mu.Unlock()
	return SpillUsage{
		Quota: s.cfg.Quota, UploadQuota: s.cfg.UploadQuota, MinFree: s.cfg.MinFree,
		Used: s.used, Files: len(s.files), Waiting: len(s.waiting), Refused: s.refused,
		Hanging: hanging, HangsFor: hangsFor, Late: late, Stuck: s.stuck,
	}
}

// create makes a file for an upload, without any space yet. Whoever created it
// closes it.
func (s *Spill) create(ctx context.Context, share *Share) (*spillFile, error) {
	if s == nil || s.cfg.Quota == 0 {
		return nil, &QuotaError{Quota: ProcessQuota, Never: true}
	}
	var (
		file DiskFile
		err  error
	)
	_, failed := s.calls.do(ctx, func() error {
		file, err = s.cfg.Disk.Create()
		return err
	}, func() {
		if err == nil {
			s.calls.always(file.Close, func() {}) // nobody waits for it any more
		}
	})
	if failed != nil {
		return nil, s.failure(ctx, "create", failed, spillBlock)
	}
	f := &spillFile{spill: s, share: share, disk: file}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[f] = struct{}{}
	return f, nil
}

// take counts n more bytes of a file that has counted bytes already, if there
// is room for them now. The error is a [*QuotaError] or a [*DiskError].
func (s *Spill) take(ctx context.Context, share *Share, n, counted int64) error {
	if err := s.enoughFree(ctx, n); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.fits(share, n, counted)
	if err == nil && (s.used+n > s.cfg.Quota || len(s.waiting) > 0) {
		err = s.full(n)
	}
	if err != nil {
		s.refused++
		return err
	}
	s.count(share, n)
	return nil
}

// takeOrWait is take that waits, first come first served, for what others have.
// The error may also be the context's cause.
func (s *Spill) takeOrWait(ctx context.Context, share *Share, n, counted int64) error {
	if err := s.enoughFree(ctx, n); err != nil {
		return err
	}
	c := &claim{share: share, n: n, ready: make(chan struct{})}
	s.mu.Lock()
	if err := s.fits(share, n, counted); err != nil {
		s.refused++
		s.mu.Unlock()
		return err
	}
	s.waiting = append(s.waiting, c)
	s.serve()
	s.mu.Unlock()
	return s.await(ctx, c)
}

// await waits until c is served, ctx ends, or nobody has given anything back for
// as long as the budget's wait.
func (s *Spill) await(ctx context.Context, c *claim) error {
	timer := time.NewTimer(c.share.m.wait)
	defer timer.Stop()
	c.share.blocked.Add(1)
	defer c.share.blocked.Add(-1)
	for {
		var err error
		select {
		case <-c.ready:
			return nil
		case <-time.After(s.endSlowest()):
			continue
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-timer.C:
			if left := s.patience(c); left > 0 {
				timer.Reset(left)
				continue
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		i := slices.Index(s.waiting, c)
		if i < 0 {
			return nil // served just now
		}
		s.waiting = slices.Delete(s.waiting, i, i+1)
		if err == nil {
			s.refused++
			err = s.full(c.n)
		}
		s.serve()
		return err
	}
}

// patience is how much longer c waits when it has waited for the budget's wait:
// as long as others give space back, or those that have some get on.
func (s *Spill) patience(c *claim) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	moved := s.returned
	for share := range s.sharesOnDisk() {
		moved = later(moved, share.moved())
	}
	return c.share.m.wait - time.Since(moved)
}

// sharesOnDisk are the uploads that have space, some more than once. The caller
// holds s.mu.
func (s *Spill) sharesOnDisk() iter.Seq[*Share] {
	return func(yield func(*Share) bool) {
		for f := range s.files {
			if f.share.spilled > 0 && !yield(f.share) {
				return
			}
		}
	}
}

// serve gives free space to those who wait for it. The caller holds s.mu.
func (s *Spill) serve() {
	for len(s.waiting) > 0 && s.used+s.waiting[0].n <= s.cfg.Quota {
		c := s.waiting[0]
		s.waiting = s.waiting[1:]
		s.count(c.share, c.n)
		close(c.ready)
	}
}

// endSlowest ends the upload with space whose client has been slow longest while
// another waits for some, and returns when to look again.
func (s *Spill) endSlowest() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return slowFill // whoever asks has just been served
	}
	if again := slowEvery - time.Since(s.slowEnded); again > 0 {
		return again
	}
	var (
		slowest *Share
		longest time.Duration
	)
	for share := range s.sharesOnDisk() {
		if slow := share.pace.slow(); s.keepsWaiting(share) && (slowest == nil || slow > longest) {
			slowest, longest = share, slow
		}
	}
	if slowest == nil {
		return slowFill
	}
	if left := slowFill - longest; left > 0 {
		return max(left, slowLook)
	}
	s.slowEnded = time.Now()
	slowest.cancel(s.full(s.waiting[0].n))
	return slowEvery
}

// keepsWaiting reports whether another upload than share waits for space. The
// caller holds s.mu.
func (s *Spill) keepsWaiting(share *Share) bool {
	return slices.ContainsFunc(s.waiting, func(c *claim) bool { return c.share != share })
}

// fits refuses what can never be there, and what the upload has used up itself.
// The caller holds s.mu.
func (s *Spill) fits(share *Share, n, counted int64) error {
	switch {
	case counted+n > s.cfg.Quota:
		return &QuotaError{Quota: ProcessQuota, Limit: s.cfg.Quota, InUse: s.used, Need: n, Never: true}
	case share.spilled+n > s.cfg.UploadQuota:
		return &QuotaError{
			Quota: UploadQuota, Limit: s.cfg.UploadQuota, InUse: share.spilled, Need: n,
			Never: counted+n > s.cfg.UploadQuota,
		}
	}
	return nil
}

// full is the error of n bytes for which others leave no room. The caller holds
// s.mu.
func (s *Spill) full(n int64) error {
	return &QuotaError{Quota: ProcessQuota, Limit: s.cfg.Quota, InUse: s.used, Need: n}
}

// count counts n bytes. The caller holds s.mu.
func (s *Spill) count(share *Share, n int64) {
	s.used += n
	share.spilled += n
	share.peakSpilled = max(share.peakSpilled, share.spilled)
}

// giveBack stops counting n bytes, of a share or, if they were detached from it,
// of what is stuck.
func (s *Spill) giveBack(share *Share, n int64, detached bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= n
	if detached {
		s.stuck -= n
	} else {
		share.spilled -= n
	}
	if n > 0 {
		s.returned = time.Now()
	}
	if s.used < 0 || s.stuck < 0 || share.spilled < 0 {
		panic(fmt.Sprintf("stream: more spill space given back than taken: %d left of all, %d stuck, %d of the upload", s.used, s.stuck, share.spilled))
	}
	s.serve()
}

// detach makes n bytes of a share stuck.
func (s *Spill) detach(share *Share, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	share.spilled -= n
	s.stuck += n
}

// drop forgets a file.
func (s *Spill) drop(f *spillFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, f)
}
