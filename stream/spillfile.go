package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// spillFile is bytes of one upload on the disk. They are appended, read from
// anywhere, and given back in blocks as nobody needs them any more.
//
// Each of its calls can hang, so none is made with mu held. After one that was
// given up no other is made, but the one that closes the file once all have
// ended. Until then its space stays counted.
type spillFile struct {
	spill *Spill
	share *Share
	disk  DiskFile

	allocated int64 // up to this offset, whatever has been given back since; of the goroutine that appends

	mu       sync.Mutex // guards what follows; taken before Spill.mu
	counted  int64      // against the quotas, spillOverhead included
	taken    int64      // allocated and not given back
	size     int64      // up to this offset there is data
	passed   int64      // before this offset only bodies need anything
	bodies   []uint16   // for each block, how many bodies have bytes in it
	given    []bool     // for each block, whether it has been given back
	users    int        // bodies
	closed   bool       // by whoever created it
	failed   error      // to give space back
	calls    int        // under way, those that were given up included
	hung     error      // of a call that was given up
	ending   bool       // it is being closed, or has been
	detached bool       // what is counted is not the share's any more
}

// call makes a call on the file, which needs n bytes of the disk. The caller
// does not hold f.mu. The error is a [*QuotaError], a [*DiskError], or the cause
// of ctx's end.
func (f *spillFile) call(ctx context.Context, op string, n int64, call func(DiskFile) error) error {
	f.mu.Lock()
	if f.hung != nil {
		defer f.mu.Unlock()
		return f.hung
	}
	f.calls++
	f.mu.Unlock()
	ended, err := f.spill.calls.do(ctx, func() error { return call(f.disk) }, f.callEnded)
	if err != nil {
		err = f.spill.failure(ctx, op, err, n)
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

func (f *spillFile) callEnded() {
	f.mu.Lock()
	f.calls--
	f.mu.Unlock()
	f.end()
}

// claim counts the space of n bytes in all, if it is there now.
func (f *spillFile) claim(ctx context.Context, n int64) error {
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

// claimOrWait counts the space of n bytes in all, waiting for its turn. It is
// the first claim of a file.
func (f *spillFile) claimOrWait(ctx context.Context, n int64) error {
	more, counted := f.missing(n)
	if err := f.spill.takeOrWait(ctx, f.share, more, counted); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counted += more
	return nil
}

// missing is how much more has to be counted for n bytes in all, in whole
// blocks, and how much is. Nothing has been given back yet.
func (f *spillFile) missing(n int64) (more, counted int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return blocks(n)*spillBlock + spillOverhead - f.counted, f.counted
}

func blocks(n int64) int64 { return (n + spillBlock - 1) / spillBlock }

// write appends p. What has not been claimed is claimed now, without waiting:
// who waited with space in hand could keep others waiting in a circle. The
// error is a [*QuotaError], a [*DiskError], or the cause of ctx's end.
func (f *spillFile) write(ctx context.Context, p []byte) error {
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

// allocate allocates the next step of what is counted.
func (f *spillFile) allocate(ctx context.Context) error {
	f.mu.Lock()
	step := min(spillStep, f.counted-spillOverhead-f.allocated)
	f.mu.Unlock()
	if err := f.spill.enoughFree(ctx, step); err != nil {
		return err
	}
	// Taken before it is, and until it is given back: so the disk never has less
	// than free space and ours together.
	f.took(step)
	at := f.allocated
	err := f.call(ctx, "allocate", step, func(disk DiskFile) error { return disk.Allocate(at, step) })
	if err != nil {
		return err // a part may be allocated all the same
	}
	f.allocated += step
	return nil
}

// took counts n bytes as allocated, or as given back if n is negative.
func (f *spillFile) took(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken += n
	f.spill.took(n)
}

// ReadAt reads what has been written and not been given back.
func (f *spillFile) ReadAt(p []byte, off int64) (int, error) {
	return f.readAt(f.share.disk, p, off)
}

func (f *spillFile) readAt(ctx context.Context, p []byte, off int64) (n int, err error) {
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

// complete says that nothing will be appended: what was claimed beyond is given
// back.
func (f *spillFile) complete(ctx context.Context) error {
	f.mu.Lock()
	n := blocks(f.size)
	f.bodies, f.given = make([]uint16, n), make([]bool, n)
	f.mu.Unlock()
	used := n * spillBlock
	if over := f.allocated - used; over > 0 {
		if err := f.call(ctx, "punch", 0, func(disk DiskFile) error { return disk.Punch(used, over) }); err != nil {
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

// pass says that from here on only bodies need what is before offset off. The
// file is complete.
func (f *spillFile) pass(ctx context.Context, off int64) error {
	f.mu.Lock()
	from := f.passed / spillBlock
	f.passed = max(f.passed, min(off, f.size))
	unused := f.unused(from, f.passedBlocks())
	f.mu.Unlock()
	return f.punch(ctx, unused)
}

// passedBlocks is how many blocks are passed as a whole. The caller holds f.mu.
func (f *spillFile) passedBlocks() int64 {
	if f.passed == f.size {
		return int64(len(f.given))
	}
	return f.passed / spillBlock
}

// run is blocks of a file that follow one another.
type run struct{ from, to int64 }

// unused are the runs of blocks in [from, to) of which no body has bytes and
// that have not been given back. They are for the caller to give back, who holds
// f.mu.
func (f *spillFile) unused(from, to int64) (runs []run) {
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

// punch gives runs of blocks back. What cannot be given back is when the file
// ends. The caller does not hold f.mu.
func (f *spillFile) punch(ctx context.Context, runs []run) error {
	for _, r := range runs {
		n := (r.to - r.from) * spillBlock
		err := f.call(ctx, "punch", 0, func(disk DiskFile) error { return disk.Punch(r.from*spillBlock, n) })
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

// giveBack stops counting n bytes. The caller holds f.mu.
func (f *spillFile) giveBack(n int64) {
	f.counted -= n
	f.spill.giveBack(f.share, n, f.detached)
}

// close gives up the creator's use of the file. It ends with the last of its
// bodies.
func (f *spillFile) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.end()
}

// end closes the file once nobody uses it and no call is under way. It waits
// until the file is closed, unless the disk hangs. Where it does not wait, what is
// counted for the file is taken off the upload, which may end then, and stays
// counted until the file is closed. The caller does not hold f.mu.
func (f *spillFile) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed || f.users > 0 || f.ending {
		return
	}
	if f.calls > 0 {
		f.detach() // the last of the calls comes here again
		return
	}
	f.ending = true
	wait := f.spill.calls.hangAfter
	if hanging, _ := f.spill.calls.hanging(); hanging > 0 || f.hung != nil {
		wait = 0
	}
	// The space is the system's again whatever Close says.
	ended := f.spill.calls.always(f.disk.Close, f.forget)
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

// detach takes what is counted for the file off its upload, which may end then.
// The caller holds f.mu.
func (f *spillFile) detach() {
	if !f.detached && f.counted > 0 {
		f.detached = true
		f.spill.detach(f.share, f.counted)
	}
}

// forget is the end of a file that has been closed.
func (f *spillFile) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spill.took(-f.taken)
	f.taken = 0
	f.spill.drop(f)
	f.giveBack(f.counted)
}

// check compares what is counted with what the file system says, unless the file
// is in use at the very moment.
func (f *spillFile) check(ctx context.Context) error {
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
