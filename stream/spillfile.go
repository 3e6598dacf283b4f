package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// spillFile is bytes of one upload on the disk. They are appended, read from
// anywhere, and given back in blocks as nobody needs them any more.
type spillFile struct {
	spill *Spill
	share *Share
	disk  DiskFile

	mu        sync.Mutex // guards what follows; taken before Spill.mu
	counted   int64      // against the quotas, spillOverhead included
	allocated int64      // up to this offset, whatever has been given back since
	size      int64      // up to this offset there is data
	passed    int64      // before this offset only bodies need anything
	bodies    []uint16   // for each block, how many bodies have bytes in it
	given     []bool     // for each block, whether it has been given back
	users     int        // bodies
	closed    bool       // by whoever created it
	failed    error      // to give space back
}

// claim counts the space of n bytes in all, if it is there now.
func (f *spillFile) claim(n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	more := f.missing(n)
	if more <= 0 {
		return nil
	}
	if err := f.spill.take(f.share, more, f.counted); err != nil {
		return err
	}
	f.counted += more
	return nil
}

// claimOrWait counts the space of n bytes in all, waiting for its turn. It is
// the first claim of a file.
func (f *spillFile) claimOrWait(ctx context.Context, n int64) error {
	f.mu.Lock()
	more, counted := f.missing(n), f.counted
	f.mu.Unlock()
	if err := f.spill.takeOrWait(ctx, f.share, more, counted); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counted += more
	return nil
}

// missing is how much more has to be counted for n bytes in all, in whole
// blocks. Nothing has been given back yet.
func (f *spillFile) missing(n int64) int64 {
	return blocks(n)*spillBlock + spillOverhead - f.counted
}

func blocks(n int64) int64 { return (n + spillBlock - 1) / spillBlock }

// write appends p. What has not been claimed is claimed now, without waiting:
// who waited with space in hand could keep others waiting in a circle. The
// error is a [*QuotaError] or a [*DiskError].
func (f *spillFile) write(p []byte) error {
	f.mu.Lock()
	end := f.size + int64(len(p))
	f.mu.Unlock()
	if err := f.claim(end); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.allocated < end {
		step := min(spillStep, f.counted-spillOverhead-f.allocated)
		if err := f.spill.enoughFree(step); err != nil {
			return err
		}
		if err := f.disk.Allocate(f.allocated, step); err != nil {
			return f.broken("allocate", err)
		}
		f.allocated += step
	}
	if _, err := f.disk.WriteAt(p, f.size); err != nil {
		return f.broken("write", err)
	}
	f.size = end
	return nil
}

// ReadAt reads what has been written and not been given back.
func (f *spillFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.disk.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		err = f.broken("read", err)
	}
	return n, err
}

// complete says that nothing will be appended: what was claimed beyond is given
// back.
func (f *spillFile) complete() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := blocks(f.size)
	f.bodies, f.given = make([]uint16, n), make([]bool, n)
	used := n * spillBlock
	if over := f.allocated - used; over > 0 {
		if err := f.disk.Punch(used, over); err != nil {
			return f.broken("punch", err)
		}
	}
	if over := f.counted - spillOverhead - used; over > 0 {
		f.counted -= over
		f.spill.giveBack(f.share, over)
	}
	return nil
}

// pass says that from here on only bodies need what is before offset off. The
// file is complete.
func (f *spillFile) pass(off int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	from := f.passed / spillBlock
	f.passed = max(f.passed, min(off, f.size))
	return f.punch(from, f.passedBlocks())
}

// passedBlocks is how many blocks are passed as a whole.
func (f *spillFile) passedBlocks() int64 {
	if f.passed == f.size {
		return int64(len(f.given))
	}
	return f.passed / spillBlock
}

// punch gives the blocks [from, to) back of which no body has bytes. The
// caller holds f.mu.
func (f *spillFile) punch(from, to int64) error {
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
		n := (end - from) * spillBlock
		if err := f.disk.Punch(from*spillBlock, n); err != nil {
			f.failed = f.broken("punch", err)
			return f.failed
		}
		f.counted -= n
		f.spill.giveBack(f.share, n)
		from = end
	}
	return nil
}

// close gives up the creator's use of the file. It ends with the last of its
// bodies.
func (f *spillFile) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.end()
}

// end closes the file if nobody uses it. The caller holds f.mu.
func (f *spillFile) end() {
	if !f.closed || f.users > 0 || f.disk == nil {
		return
	}
	_ = f.disk.Close() // the space is the system's again whatever it says
	f.disk = nil
	f.spill.mu.Lock()
	delete(f.spill.files, f)
	f.spill.mu.Unlock()
	f.spill.giveBack(f.share, f.counted)
	f.counted = 0
}

// check compares what is counted with what the file system says.
func (f *spillFile) check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.disk == nil {
		return nil
	}
	allocated, err := f.disk.Allocated()
	switch {
	case err != nil:
		return f.broken("stat", err)
	case f.failed != nil:
		return f.failed
	case allocated > f.counted:
		return f.broken("quota", fmt.Errorf("a file takes %d bytes where %d are counted", allocated, f.counted))
	}
	return nil
}

// broken tells of the disk's failure at an operation, and returns it.
func (f *spillFile) broken(op string, err error) error {
	return f.spill.trouble(&DiskError{Op: op, Err: err})
}

// body returns the n bytes at offset off, between head and tail, as a body
// that lies on the disk. The file is complete.
func (f *spillFile) body(head []byte, off, n int64, tail []byte) *spilledBody {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users++
	for i := off / spillBlock; i < blocks(off+n); i++ {
		f.bodies[i]++
	}
	return &spilledBody{file: f, head: head, off: off, n: n, tail: tail}
}

// spilledBody is a [Body] in a spill file.
type spilledBody struct {
	file       *spillFile
	head, tail []byte
	off, n     int64
	once       sync.Once
}

// ReadAt implements [Body].
func (b *spilledBody) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("stream: reading a body at offset %d", off)
	}
	if off < int64(len(b.head)) {
		n = copy(p, b.head[off:])
	}
	if at := off + int64(n) - int64(len(b.head)); n < len(p) && at < b.n {
		want := p[n:min(int64(len(p)), int64(n)+b.n-at)]
		got, err := b.file.ReadAt(want, b.off+at)
		if n += got; got < len(want) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	if at := off + int64(n) - int64(len(b.head)) - b.n; n < len(p) && at < int64(len(b.tail)) {
		n += copy(p[n:], b.tail[at:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Size implements [Body].
func (b *spilledBody) Size() int64 { return int64(len(b.head)) + b.n + int64(len(b.tail)) }

// Memory implements [Body].
func (b *spilledBody) Memory() int64 { return 0 }

// Held implements [Body].
func (b *spilledBody) Held() bool { return true }

// Release implements [Body].
func (b *spilledBody) Release() {
	b.once.Do(func() {
		f := b.file
		f.mu.Lock()
		defer f.mu.Unlock()
		from, to := b.off/spillBlock, blocks(b.off+b.n)
		for i := from; i < to; i++ {
			f.bodies[i]--
		}
		f.users--
		if f.closed && f.users == 0 {
			f.end()
			return
		}
		// What cannot be given back now is when the file ends, and the next
		// cleaning says so.
		_ = f.punch(from, min(to, f.passedBlocks()))
	})
}
