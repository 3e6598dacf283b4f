package stream

import (
	"io"
	"sync"
	"time"
)

// A Buffer is room for at most one part, in memory out of the budget. One
// goroutine at a time owns it: it fills it, says that it is full, and from then
// on it is a [Body]. While it is filling and others wait for memory, what is in
// it can move to the disk.
type Buffer struct {
	share  *Share
	room   int64
	leased bool

	filling time.Time // since when it has been filling, or zero; guarded by Memory.mu

	mu   sync.Mutex // guards what follows, until full; taken before Memory.mu
	data []byte     // nil once released or moved
	file *spillFile // where the data is instead; nil if it is in memory
	size int
	full bool // it does not change or move any more
}

// Write appends as much of p as there is room for, and says how much that was.
// It fails with a [*DiskError] where the data has moved to a disk that does.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p = p[:min(len(p), int(b.room)-b.size)]
	if b.file != nil {
		if err := b.file.write(b.share.disk, p); err != nil {
			return 0, err
		}
	} else {
		b.data = append(b.data, p...)
	}
	b.size += len(p)
	return len(p), nil
}

// append is Write to a buffer in memory. It reports false where Write may have to
// wait for the disk.
func (b *Buffer) append(p []byte) (n int, ok bool) {
	if !b.mu.TryLock() {
		return 0, false
	}
	defer b.mu.Unlock()
	if b.file != nil {
		return 0, false
	}
	p = p[:min(len(p), int(b.room)-b.size)]
	b.data = append(b.data, p...)
	b.size += len(p)
	return len(p), true
}

// left is how many bytes there is room for.
func (b *Buffer) left() int { return int(b.room) - b.size }

// Full says that nothing will be added to b: from here on only the store keeps
// others waiting for it.
func (b *Buffer) Full() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.full = true
	b.share.m.mu.Lock()
	defer b.share.m.mu.Unlock()
	b.filling = time.Time{}
	if !b.leased {
		delete(b.share.buffers, b)
	}
}

// toDisk moves b, which is filling, and gives its memory back. The error is
// that of the disk or its quotas, and b is as it was.
func (b *Buffer) toDisk() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full || b.data == nil {
		return nil
	}
	ctx := b.share.disk
	file, err := b.share.m.spill.create(ctx, b.share)
	if err != nil {
		return err
	}
	// All that it will ever need, so that later writes find their room.
	err = file.claim(ctx, b.room)
	if err == nil {
		err = file.write(ctx, b.data)
	}
	if err != nil {
		file.close()
		return err
	}
	b.file = file
	b.giveBack()
	return nil
}

// ReadAt implements [Body].
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

// Size implements [Body].
func (b *Buffer) Size() int64 { return int64(b.size) }

// Memory implements [Body].
func (b *Buffer) Memory() int64 {
	if b.file != nil {
		return 0
	}
	return b.room
}

// Held implements [Body]. A leased buffer may not be kept: it goes to the store
// at once.
func (b *Buffer) Held() bool { return !b.leased }

// Release implements [Body]. It may also be called on nil.
func (b *Buffer) Release() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.full = true
	if b.file != nil {
		b.file.close()
	}
	if b.data != nil {
		b.giveBack()
	}
}

// giveBack gives the memory back. The caller holds b.mu.
func (b *Buffer) giveBack() {
	m := b.share.m
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(b.share.buffers, b)
	if b.leased {
		b.share.leased -= b.room
		b.share.leases--
		if cap(b.data) == m.partSize {
			m.idleParts = append(m.idleParts, b.data[:0])
		}
	} else {
		b.share.held -= b.room
	}
	b.data = nil
	m.giveBack(b.room)
}
