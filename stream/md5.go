package stream

import (
	"crypto/md5"
	"hash"
	"time"
)

// md5Sum is the MD5 of an entry's uncompressed bytes, for the store only. It is computed as
// long as the store needs it.
type md5Sum struct {
	sum    hash.Hash
	needed func() bool
	valid  bool // it was needed so far
	begun  bool // some bytes have been added

	worker *md5Worker    // nil if there is none
	worked time.Duration // by workers, for this entry
}

func newMD5Sum() md5Sum { return md5Sum{sum: md5.New()} }

// reset begins a new entry.
func (m *md5Sum) reset(needed func() bool) {
	m.sum.Reset()
	m.needed, m.valid, m.begun, m.worked = needed, true, false, 0
}

// check asks whether the sum is needed.
func (m *md5Sum) check() (needed bool) {
	if m.valid && !m.needed() {
		m.wait()
		m.valid = false
	}
	return m.valid
}

// add adds a chunk, which stays valid until the next but one is added or wait is called.
// If beside is set, another goroutine may add it, unless it is the first.
func (m *md5Sum) add(chunk []byte, beside bool) {
	switch {
	case !beside || !m.begun:
		m.wait()
		m.sum.Write(chunk)
		m.begun = true
		return
	case m.worker == nil:
		m.worker = newMD5Worker(m.sum)
	}
	m.worker.chunks <- chunk
}

// wait waits until all chunks are hashed.
func (m *md5Sum) wait() {
	if m.worker != nil {
		m.worked += m.worker.end()
		m.worker = nil
	}
}

// md5Worker hashes chunks in a goroutine of its own while the next one is decoded. It is
// done with a chunk once it has taken the next one.
type md5Worker struct {
	chunks chan []byte
	ended  chan struct{}
	took   time.Duration // spent on hashing; valid once ended is closed
}

func newMD5Worker(sum hash.Hash) *md5Worker {
	w := &md5Worker{chunks: make(chan []byte), ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		for chunk := range w.chunks {
			begun := time.Now()
			sum.Write(chunk)
			w.took += time.Since(begun)
		}
	}()
	return w
}

// end waits until all chunks are hashed, and returns the time spent on hashing.
func (w *md5Worker) end() time.Duration {
	close(w.chunks)
	<-w.ended
	return w.took
}
