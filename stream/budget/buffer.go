package budget

import (
	"context"
	"io"
	"sync"
	"time"
)

// A Buffer is room for at most one part, in memory out of the budget. One goroutine
// at a time owns it: it fills it, and calls Full. From then on its bytes do not
// change, and any number of goroutines may read them. While it is being filled and
// others wait for memory, its bytes may move to the disk.
type Buffer struct {
	share  *Share
	room   int64 // bytes
	leased bool

	filling time.Time // since when it is being filled, or zero; guarded by Budget.mu
	sent    bool      // only the verifier still has it; guarded by Budget.mu

	mu   sync.Mutex // guards all below until Full; taken before Budget.mu
	data []byte     // nil once released or moved
	file *File      // where the data is instead; nil if it is in memory
	size int
	full bool // it does not change or move any more
}

// Lease waits for a buffer of n bytes, at most a part: what is small and has to go
// to the store at once should not take the room of a part. It is empty. The error
// is a [*NoRoomError] or the context's cause.
func (s *Share) Lease(ctx context.Context, n int) (*Buffer, error) {
	b := s.budget
	defer s.account.During(s.waitsOn())()
	if err := b.acquire(ctx, parts, s, int64(n)); err != nil {
		return nil, err
	}
	var data []byte
	if n == b.partSize {
		b.mu.Lock()
		data = b.idle.part()
		b.mu.Unlock()
	}
	if data == nil {
		data = make([]byte, n)
	}
	return s.buffer(data[:0], n, true), nil
}

// Hold returns an empty buffer of n bytes, at most a part, that may be kept until
// the upload ends. It returns false if there is no room that nobody waits for.
func (s *Share) Hold(n int) (*Buffer, bool) {
	if !s.hold(int64(n)) {
		return nil, false
	}
	return s.buffer(make([]byte, 0, n), n, false), true
}

// hold counts n bytes as held. It returns false if there is no room that nobody
// waits for.
func (s *Share) hold(n int64) bool {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	// Two parts stay free, so that leases go on.
	if n > 0 && (b.memoryWanted() || s.held+n > maxHeld || n > b.free[parts]-2*int64(b.partSize)) {
		return false
	}
	b.free[parts] -= n
	s.held += n
	s.note()
	b.trim()
	return true
}

// buffer is a new buffer, whose room has been counted.
func (s *Share) buffer(data []byte, room int, leased bool) *Buffer {
	buffer := &Buffer{share: s, data: data, room: int64(room), leased: leased, filling: time.Now()}
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	s.buffers[buffer] = struct{}{}
	return buffer
}

// Write appends as much of p as there is room for, and returns how much that was. It
// fails with a [*DiskError] if the data has moved to a disk that fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.file == nil {
		return b.add(p), nil
	}
	p = p[:min(len(p), b.Left())]
	if err := b.file.Write(b.share.ctx, p); err != nil {
		return 0, err
	}
	b.size += len(p)
	return len(p), nil
}

// Append is Write to a buffer in memory. It returns false if Write might have to
// wait for the disk.
func (b *Buffer) Append(p []byte) (n int, ok bool) {
	if !b.mu.TryLock() {
		return 0, false
	}
	defer b.mu.Unlock()
	if b.file != nil {
		return 0, false
	}
	return b.add(p), true
}

// add appends to a buffer in memory. The caller holds b.mu.
func (b *Buffer) add(p []byte) int {
	p = p[:min(len(p), b.Left())]
	b.data = append(b.data, p...)
	b.size += len(p)
	return len(p)
}

// Left is how many bytes there is room for.
func (b *Buffer) Left() int { return int(b.room) - b.size }

// Full says that nothing will be added. A leased buffer is on its way to the store
// from here on.
func (b *Buffer) Full() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.full = true
	budget := b.share.budget
	budget.mu.Lock()
	defer budget.mu.Unlock()
	b.filling = time.Time{}
	if !b.leased {
		delete(b.share.buffers, b)
	}
}

// Sent says that the store is done with a full buffer, while its bytes are still being
// verified.
func (b *Buffer) Sent() {
	budget := b.share.budget
	budget.mu.Lock()
	defer budget.mu.Unlock()
	b.sent = true
}

// toDisk moves the buffer, if it is being filled, and gives its memory back. After
// an error, of the disk or its quotas, the buffer is as it was.
func (b *Buffer) toDisk() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full || b.data == nil {
		return nil
	}
	ctx := b.share.ctx
	file, err := b.share.newFile(ctx)
	if err != nil {
		return err
	}
	// All that it will ever need, so that later writes find their room.
	err = file.claim(ctx, b.room)
	if err == nil {
		err = file.Write(ctx, b.data)
	}
	if err != nil {
		file.Close()
		return err
	}
	b.file = file
	b.giveBack()
	return nil
}

// ReadAt implements [io.ReaderAt]. The buffer is full.
func (b *Buffer) ReadAt(p []byte, off int64) (int, error) {
	if b.file != nil {
		return io.NewSectionReader(b.file, 0, int64(b.size)).ReadAt(p, off)
	}
	if off >= int64(len(b.data)) {
		return 0, io.EOF
	}
	n := copy(p, b.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Size is how many bytes there are.
func (b *Buffer) Size() int64 { return int64(b.size) }

// Memory is what the buffer takes of the budget, in bytes: none if it is on disk.
func (b *Buffer) Memory() int64 {
	if b.file != nil {
		return 0
	}
	return b.room
}

// Bytes are the bytes of a buffer in memory, valid until it is released; nil if they
// are on disk.
func (b *Buffer) Bytes() []byte { return b.data }

// Held reports whether the buffer may be kept until the upload ends. A leased one goes to
// the store at once. So does one that has moved to the disk: an upload that kept disk
// space while it waits for a ticket could wait in a circle with one that has a ticket and
// waits for the disk. The buffer is full.
func (b *Buffer) Held() bool { return !b.leased && b.file == nil }

// Release gives the buffer up. It may be called more than once, and on nil.
func (b *Buffer) Release() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.full = true
	if b.file != nil {
		b.file.Close()
	}
	if b.data != nil {
		b.giveBack()
	}
}

// giveBack gives the memory back. The caller holds b.mu.
func (b *Buffer) giveBack() {
	s, budget := b.share, b.share.budget
	budget.mu.Lock()
	defer budget.mu.Unlock()
	delete(s.buffers, b)
	if b.leased {
		s.leases--
		s.leased -= b.room
	} else {
		s.held -= b.room
	}
	if b.leased && cap(b.data) == budget.partSize {
		budget.idle.parts = append(budget.idle.parts, b.data[:0])
	}
	b.data = nil
	budget.giveBack(parts, b.room)
}
