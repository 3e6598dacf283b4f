package stream

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A Share is one upload's part of the budget. Whoever admitted it closes it.
type Share struct {
	m      *Memory
	cancel context.CancelCauseFunc
	wanted chan struct{}

	// guarded by m.mu
	leases int // part buffers
	leased int64
	held   int64
	peak   int64 // highest leased + held
	parts  map[*Buffer]struct{}
}

// Lease waits for a part buffer. It is empty, of [Memory.PartSize], and being
// filled until [Buffer.Full] or [Buffer.Release] is called. The error is a
// [*NoRoomError] or the context's cause.
func (s *Share) Lease(ctx context.Context) (*Buffer, error) {
	m := s.m
	w := &waiter{share: s, n: int64(m.partSize), part: true, ready: make(chan struct{})}
	m.mu.Lock()
	m.leasing = append(m.leasing, w)
	m.serve()
	m.mu.Unlock()
	if err := m.await(ctx, w, "memory for a part"); err != nil {
		return nil, err
	}
	if w.data == nil {
		w.data = make([]byte, m.partSize)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b := &Buffer{share: s, data: w.data[:0], room: w.n, leased: true, filling: time.Now()}
	s.parts[b] = struct{}{}
	return b, nil
}

// Hold returns an empty buffer of n bytes, at most a part, that may be kept
// until the upload ends, if there is room that nobody waits for.
func (s *Share) Hold(n int) (*Buffer, bool) {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	room := int64(n)
	// Two parts stay free of held bytes, so that leases go on.
	if room > 0 && (len(m.leasing) > 0 || s.held+room > maxHeld || room > m.free-2*int64(m.partSize)) {
		return nil, false
	}
	m.free -= room
	s.held += room
	s.peak = max(s.peak, s.leased+s.held)
	m.trim()
	return &Buffer{share: s, data: make([]byte, 0, n), room: room}, true
}

// Reserve waits for n bytes for something other than a part buffer: a decoder,
// an entry table. They are free again after release, which may be called more
// than once. All reservations together leave room for two parts, so that those
// who have one can go on. An upload must not have a part buffer to fill when it
// calls Reserve. The error is a [*NoRoomError] or the context's cause.
func (s *Share) Reserve(ctx context.Context, n int64) (release func(), err error) {
	m := s.m
	w := &waiter{share: s, n: n, ready: make(chan struct{})}
	m.mu.Lock()
	m.reserving = append(m.reserving, w)
	m.serve()
	m.mu.Unlock()
	if err := m.await(ctx, w, "memory for a decoder or a long entry table"); err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.heavy += n
		m.free += n
		s.leased -= n
		m.serve()
	}), nil
}

// Wanted receives when another call waits for room and the upload should give
// up buffers that it holds, as long as [Share.Waited] is true.
func (s *Share) Wanted() <-chan struct{} { return s.wanted }

// Waited reports whether a call waits for leased room.
func (s *Share) Waited() bool {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return len(s.m.leasing) > 0
}

// Peak is the most that the upload had in leases and held buffers at once, in
// bytes.
func (s *Share) Peak() int64 {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return s.peak
}

// Close gives the floor back. All buffers and reservations have been released
// before: that they were is what keeps the budget whole, so Close panics where
// one was not.
func (s *Share) Close() {
	m := s.m
	s.cancel(context.Canceled)
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, open := m.shares[s]; !open {
		return
	}
	if s.leased != 0 || s.held != 0 {
		panic(fmt.Sprintf("stream: share closed with %d bytes leased and %d held", s.leased, s.held))
	}
	delete(m.shares, s)
	m.floors++
	m.serve()
}

// A Buffer is room for at most one part, out of the budget. One goroutine at a
// time owns it, and releases it.
type Buffer struct {
	share  *Share
	data   []byte
	room   int64
	leased bool

	filling time.Time // since when it has been filling, or zero; guarded by Memory.mu
}

// Write appends as much of p as there is room for and returns how much that
// was. There is no error.
func (b *Buffer) Write(p []byte) (int, error) {
	n := copy(b.data[len(b.data):cap(b.data)], p)
	b.data = b.data[:len(b.data)+n]
	return n, nil
}

// Free is the room that is left, for reading into; [Buffer.Filled] says how
// much of it has become data.
func (b *Buffer) Free() []byte { return b.data[len(b.data):cap(b.data)] }

// Filled makes the first n bytes of Free data.
func (b *Buffer) Filled(n int) { b.data = b.data[:len(b.data)+n] }

// Bytes is the data. It is valid until Release.
func (b *Buffer) Bytes() []byte { return b.data }

// Held reports whether b may be kept until the upload is published. A leased
// buffer may not: it goes to the store at once.
func (b *Buffer) Held() bool { return !b.leased }

// Full says that the client has nothing to add to b: from here on only the
// store keeps others waiting for it.
func (b *Buffer) Full() {
	b.share.m.mu.Lock()
	defer b.share.m.mu.Unlock()
	b.filling = time.Time{}
}

// Release gives the room back. The data must not be touched any more. It may
// be called more than once, and on nil.
func (b *Buffer) Release() {
	if b == nil || b.data == nil {
		return
	}
	m := b.share.m
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free += b.room
	if b.leased {
		delete(b.share.parts, b)
		b.share.leased -= b.room
		b.share.leases--
		m.idle = append(m.idle, b.data[:0])
	} else {
		b.share.held -= b.room
	}
	b.data = nil
	m.serve()
}
