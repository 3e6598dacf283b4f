package budget

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// A File is bytes of one upload on the disk. They are appended, read from anywhere,
// and given back in blocks once nobody needs them.
//
// Any call of the disk can hang, so none is made with mu held. After a call was given
// up, the file makes no other call, except the one that closes it once all calls have
// ended. Its space stays counted until then.
type File struct {
	spill *Spill
	share *Share
	disk  DiskFile

	allocated int64 // up to this offset, including what was given back since; of the goroutine that appends

	mu       sync.Mutex // guards all below; taken before Budget.mu
	counted  int64      // against the quotas, including spillOverhead
	taken    int64      // allocated, and not given back
	size     int64      // up to this offset there is data
	passed   int64      // only bodies need what is before this offset
	bodies   []uint16   // how many bodies have bytes in each block
	given    []bool     // whether each block was given back
	users    int        // bodies
	closed   bool       // by whoever created it
	failed   error      // of a call that was to give space back
	calls    int        // under way, including those that were given up
	hung     error      // of a call that was given up
	ending   bool       // it is being closed, or is closed
	detached bool       // what is counted no longer counts for the share
}

// call makes a call that needs n bytes of the disk. The caller does not hold f.mu.
// The error is a [*QuotaError], a [*DiskError], or the context's cause.
func (f *File) call(ctx context.Context, op string, n int64, call func(DiskFile) error) error {
	f.mu.Lock()
	if f.hung != nil {
		defer f.mu.Unlock()
		return f.hung
	}
	f.calls++
	f.mu.Unlock()
	before := f.spill.returns.Load()
	ended, err := f.spill.calls.do(ctx, func() error { return call(f.disk) }, f.callEnded)
	if err != nil {
		err = f.spill.failure(ctx, op, err, n, before)
	}
	if ended {
		f.callEnded()
		return err
	}
	f.mu.Lock()
	f.hung = &DiskError{Op: op, Err: ErrDiskHangs}
	f.mu.Unlock()
	f.end() // its users may all have left meanwhile
	return err
}

// punchRange gives n bytes of the disk back.
func (f *File) punchRange(ctx context.Context, off, n int64) error {
	return f.call(ctx, "punch", 0, func(disk DiskFile) error {
		return f.spill.returning(func() error { return disk.Punch(off, n) })
	})
}

func (f *File) callEnded() {
	f.mu.Lock()
	f.calls--
	f.mu.Unlock()
	f.end()
}

// claim counts space for n bytes in all, if there is room now.
func (f *File) claim(ctx context.Context, n int64) error {
	more, counted := f.missing(n)
	if more <= 0 {
		return nil
	}
	if err := f.spill.take(ctx, f.share, more, counted); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counted += more
	return nil
}

// claimInTurn is claim that waits for its turn. It is the first claim of a file.
func (f *File) claimInTurn(ctx context.Context, n int64) error {
	more, counted := f.missing(n)
	if err := f.spill.takeInTurn(ctx, f.share, more, counted); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counted += more
	return nil
}

// missing is how much more has to be counted for n bytes in all, in whole blocks, and
// how much is counted. Nothing has been given back yet.
func (f *File) missing(n int64) (more, counted int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return blocks(n)*spillBlock + spillOverhead - f.counted, f.counted
}

func blocks(n int64) int64 { return (n + spillBlock - 1) / spillBlock }

// Write appends p. It claims the space that is missing without waiting: uploads that
// waited for more of the disk while they have some could wait in a circle. The error
// is a [*QuotaError], a [*DiskError], or the context's cause.
func (f *File) Write(ctx context.Context, p []byte) error {
	f.mu.Lock()
	at := f.size
	f.mu.Unlock()
	end := at + int64(len(p))
	if err := f.claim(ctx, end); err != nil {
		return err
	}
	for f.allocated < end {
		if err := f.allocate(ctx); err != nil {
			return err
		}
	}
	for chunk := range slices.Chunk(p, diskChunk) {
		buf := diskBuffers.Get().(*[diskChunk]byte)
		n := copy(buf[:], chunk)
		err := f.call(ctx, "write", 0, func(disk DiskFile) error {
			_, err := disk.WriteAt(buf[:n], at)
			return err
		})
		if err != nil {
			return err // the call may still have buf
		}
		diskBuffers.Put(buf)
		at += int64(n)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size = end
	return nil
}

// allocate allocates the next step of the space that is counted.
func (f *File) allocate(ctx context.Context) error {
	f.mu.Lock()
	step := min(spillStep, f.counted-spillOverhead-f.allocated)
	f.mu.Unlock()
	if err := f.spill.enoughFree(ctx, step); err != nil {
		return err
	}
	// Counted before it is allocated, and until it is given back: so free space and
	// ours together are never more than the disk has.
	f.took(step)
	at := f.allocated
	err := f.call(ctx, "allocate", step, func(disk DiskFile) error { return disk.Allocate(at, step) })
	if err != nil {
		return err // part of it may be allocated all the same
	}
	f.allocated += step
	return nil
}

// took counts n bytes as allocated, or, if n is negative, as given back.
func (f *File) took(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken += n
	f.spill.took(n)
}

// Size is how many bytes have been written.
func (f *File) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

// ReadAt reads what was written and not given back, under the upload's context.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	return f.Read(f.share.ctx, p, off)
}

// Read is ReadAt under ctx.
func (f *File) Read(ctx context.Context, p []byte, off int64) (n int, err error) {
	for n < len(p) {
		want := min(len(p)-n, diskChunk)
		buf := diskBuffers.Get().(*[diskChunk]byte)
		var (
			got int
			end bool
		)
		at := off + int64(n)
		err := f.call(ctx, "read", 0, func(disk DiskFile) (err error) {
			got, err = disk.ReadAt(buf[:want], at)
			if end = errors.Is(err, io.EOF); end {
				return nil
			}
			return err
		})
		if err != nil {
			return n, err // the call may still have buf
		}
		n += copy(p[n:], buf[:got])
		diskBuffers.Put(buf)
		if end {
			return n, io.EOF
		}
	}
	return n, nil
}

// Complete says that nothing will be appended. Space beyond the end is given back.
func (f *File) Complete(ctx context.Context) error {
	f.mu.Lock()
	n := blocks(f.size)
	f.bodies, f.given = make([]uint16, n), make([]bool, n)
	f.mu.Unlock()
	used := n * spillBlock
	if over := f.allocated - used; over > 0 {
		if err := f.punchRange(ctx, used, over); err != nil {
			return err
		}
		f.took(-over)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if over := f.counted - spillOverhead - used; over > 0 {
		f.giveBack(over)
	}
	return nil
}

// Pass says that only bodies need what is before offset off. The file is complete.
func (f *File) Pass(ctx context.Context, off int64) error {
	f.mu.Lock()
	from := f.passed / spillBlock
	f.passed = max(f.passed, min(off, f.size))
	unused := f.unused(from, f.passedBlocks())
	f.mu.Unlock()
	return f.punch(ctx, unused)
}

// passedBlocks is how many blocks are passed from start to end. The caller holds f.mu.
func (f *File) passedBlocks() int64 {
	if f.passed == f.size {
		return int64(len(f.given))
	}
	return f.passed / spillBlock
}

// A run is consecutive blocks of a file.
type run struct{ from, to int64 }

// unused are the runs of blocks in [from, to) that no body needs and that were not
// given back. The caller gives them back. It holds f.mu.
func (f *File) unused(from, to int64) (runs []run) {
	for from < to {
		if f.given[from] || f.bodies[from] > 0 {
			from++
			continue
		}
		end := from
		for end < to && !f.given[end] && f.bodies[end] == 0 {
			f.given[end] = true
			end++
		}
		runs = append(runs, run{from, end})
		from = end
	}
	return runs
}

// punch gives runs of blocks back to the file system. If that fails, they are given
// back when the file ends. The caller does not hold f.mu.
func (f *File) punch(ctx context.Context, runs []run) error {
	for _, r := range runs {
		n := (r.to - r.from) * spillBlock
		err := f.punchRange(ctx, r.from*spillBlock, n)
		if err != nil {
			if _, ok := errors.AsType[*DiskError](err); ok {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.failed = err
			}
			return err
		}
		f.took(-n)
		f.mu.Lock()
		f.giveBack(n)
		f.mu.Unlock()
	}
	return nil
}

// giveBack no longer counts n bytes. The caller holds f.mu.
func (f *File) giveBack(n int64) {
	f.counted -= n
	f.spill.giveBack(f.share, n, f.detached)
}

// Close ends the creator's use of the file. The file ends with the last of its bodies.
func (f *File) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.end()
}

// end closes the file once nobody uses it and no call is under way. It waits until the
// file is closed, unless the disk hangs. Then the space no longer counts for the
// upload, which can end. For all uploads together it counts until the file is closed.
// The caller does not hold f.mu.
func (f *File) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed || f.users > 0 || f.ending {
		return
	}
	if f.calls > 0 {
		f.detach() // the last of the calls calls end again
		return
	}
	f.ending = true
	wait := f.spill.calls.hangAfter
	if hanging, _ := f.spill.calls.hanging(); hanging > 0 || f.hung != nil {
		wait = 0
	}
	// The system takes the space back whatever Close returns.
	ended := f.spill.calls.always(func() error { return f.spill.returning(f.disk.Close) }, f.forget)
	f.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
	f.mu.Lock()
	f.detach()
}

// detach has the space no longer count for the upload. The caller holds f.mu.
func (f *File) detach() {
	if !f.detached && f.counted > 0 {
		f.detached = true
		f.spill.detach(f.share, f.counted)
	}
}

// forget is called when the file is closed.
func (f *File) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spill.took(-f.taken)
	f.taken = 0
	f.spill.forget(f)
	f.giveBack(f.counted)
}

// check compares what is counted with what the file system says, unless that changes
// meanwhile.
func (f *File) check(ctx context.Context) error {
	var allocated int64
	f.mu.Lock()
	counted := f.counted
	if f.closed && f.users == 0 {
		defer f.mu.Unlock()
		return f.hung // it is being closed
	}
	f.mu.Unlock()
	err := f.call(ctx, "stat", 0, func(disk DiskFile) (err error) {
		allocated, err = disk.Allocated()
		return err
	})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed != nil {
		return f.failed
	}
	if allocated > counted && counted == f.counted {
		return &DiskError{Op: "quota", Err: fmt.Errorf("a file takes %d bytes where %d are counted", allocated, counted)}
	}
	return nil
}
