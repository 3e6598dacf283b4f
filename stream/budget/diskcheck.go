package budget

import (
	"context"
	"errors"
	"syscall"
)

// OutOfFiles reports whether err says that the process, or the system, has no file
// descriptor left. That is not the disk's fault, and clients can cause it.
func OutOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// noSpace reports whether err says that there is no space: on the file system, or
// within a disk quota of the system, which the free space does not show.
func noSpace(err error) (full, quota bool) {
	return errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT)
}

// failure is the error of an upload whose call, which needs n bytes, failed with err:
// the context's cause, a [*QuotaError] if the file system is full, else a [*DiskError].
// It reports the error as trouble if the call should have succeeded. before is the value
// of s.returns before the call.
func (s *Spill) failure(ctx context.Context, op string, err error, n, before int64) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, cause) {
		return err
	}
	failed := &DiskError{Op: op, Err: err}
	if errors.Is(err, ErrDiskHangs) || OutOfFiles(err) {
		return failed
	}
	if full, quota := noSpace(err); full || quota {
		// Others may have taken the space since then. Or our own files had it, and have
		// given it back since then.
		free, freeErr := s.free(ctx)
		if freeErr == nil && (quota || free-s.cfg.MinFree < n || n > 0 && s.returns.Load() != before) {
			return s.tooFull(free, n)
		}
	}
	s.trouble(failed)
	return failed
}

// returning makes a call that gives space back.
func (s *Spill) returning(call func() error) error {
	s.returns.Add(1)
	defer s.returns.Add(1)
	return call()
}

// trouble reports a call that failed and should have succeeded.
func (s *Spill) trouble(err error) {
	if s.cfg.Trouble != nil {
		s.cfg.Trouble(err)
	}
}

// tooFull refuses n bytes because only free bytes are free.
func (s *Spill) tooFull(free, n int64) error {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	s.refused++
	return &QuotaError{Quota: FreeSpace, Limit: s.cfg.MinFree, Free: free, Need: n}
}

// enoughFree refuses n bytes if the file system would have too little left.
func (s *Spill) enoughFree(ctx context.Context, n int64) error {
	free, err := s.free(ctx)
	if err != nil {
		return s.failure(ctx, "free space", err, 0, s.returns.Load())
	}
	if free-n < s.cfg.MinFree {
		return s.tooFull(free, n)
	}
	return nil
}

// free is how many bytes the file system has left. The error is that of the system.
func (s *Spill) free(ctx context.Context) (int64, error) {
	var free int64
	_, err := s.calls.do(ctx, func() (err error) {
		free, err = s.cfg.Disk.Free()
		return err
	}, nil)
	if err != nil {
		return 0, err // free may still be written
	}
	return free, nil
}

// Free is how many bytes the file system has left, and how many our files take. Others
// leave us both together. It waits no longer than a call may take before it hangs. The
// error is a [*DiskError].
func (s *Spill) Free(ctx context.Context) (free, own int64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.calls.hangAfter, ErrDiskHangs)
	defer cancel()
	before := s.ownBytes()
	free, err = s.free(ctx)
	if err != nil {
		return 0, 0, &DiskError{Op: "free space", Err: err}
	}
	// What was given back, or taken, meanwhile counts as ours.
	return free, max(before, s.ownBytes()), nil
}

// ownBytes is how many bytes our files take on the disk.
func (s *Spill) ownBytes() int64 {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	return s.allocated
}

// took counts n bytes as allocated, or as given back if n is negative.
func (s *Spill) took(n int64) {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	s.allocated += n
}

// Probe proves that the disk takes a block. It waits as long as Free does. The error is
// a [*DiskError], or a [*QuotaError] if others have filled the disk. It is nil if our
// own files have, also if they have given space back since then.
func (s *Spill) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.calls.hangAfter, ErrDiskHangs)
	defer cancel()
	before := s.returns.Load()
	err := s.probing.do(ctx, s.calls, s.writeBlock)
	if err == nil {
		return nil
	}
	failed := &DiskError{Op: "probe", Err: err}
	full, quota := noSpace(err)
	if !full && !quota {
		return failed
	}
	free, own, err := s.Free(ctx)
	switch {
	case err != nil:
		return err
	case own >= spillBlock && (quota || free < spillBlock), s.returns.Load() != before:
		return nil
	case full && free < spillBlock:
		return &QuotaError{Quota: FreeSpace, Limit: s.cfg.MinFree, Free: free, Need: spillBlock}
	}
	return failed
}

// writeBlock does what an upload does with the disk.
func (s *Spill) writeBlock() error {
	f, err := s.cfg.Disk.Create()
	if err != nil {
		return err
	}
	err = f.Allocate(0, spillBlock)
	if err == nil {
		_, err = f.WriteAt(make([]byte, spillBlock), 0)
	}
	if err != nil {
		return errors.Join(err, f.Close()) // it may have no space to give back
	}
	return s.returning(f.Close)
}

// Clean removes the files of processes that are gone, and returns how many those were.
// It also compares what is counted for each open file with what the file system says.
// The error is a [*DiskError]: a file takes more than is counted for it, or the disk
// fails.
func (s *Spill) Clean(ctx context.Context) (removed int, err error) {
	if s.cfg.Quota == 0 {
		return 0, nil
	}
	cleaned := new(int)
	err = s.cleaning.do(ctx, s.calls, func() (err error) {
		*cleaned, err = s.cfg.Disk.Clean()
		return err
	})
	if err != nil {
		err = &DiskError{Op: "clean", Err: err}
		if errors.Is(err, ErrDiskHangs) || ctx.Err() != nil {
			return 0, err // the call may still be under way
		}
	}
	s.budget.mu.Lock()
	files := make([]*File, 0, len(s.files))
	for f := range s.files {
		files = append(files, f)
	}
	s.budget.mu.Unlock()
	for _, f := range files {
		err = errors.Join(err, f.check(ctx))
	}
	return *cleaned, err
}
