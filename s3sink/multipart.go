package s3sink

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

const (
	// abortTimeout bounds the abort of one upload, with its repeats.
	abortTimeout = 30 * time.Second

	// abortRepeats is how often an abort is repeated while the store may still be
	// writing a part. abortPause is the first pause between repeats. Each pause is
	// twice as long as the one before.
	abortRepeats = 5
	abortPause   = 50 * time.Millisecond
)

// multipart is a multipart upload that the store has created.
type multipart struct {
	store    *store
	dest     *destination
	name     string // of the entry
	id       string
	checksum checksum // by which the store checks the bytes

	// written by addPart, which is never called concurrently
	last  int32  // number of the last part
	size  int64  // of all parts, in bytes
	crc32 uint32 // of all parts

	inFlight sync.WaitGroup // parts that are being sent

	mu        sync.Mutex // guards the fields below; never held during a request
	parts     []sentPart // in no order
	uncertain bool       // a request may still change what the store has
	aborted   bool
}

// beginMultipart creates a multipart upload. kind is the best checksum that the store takes.
func beginMultipart(ctx context.Context, s *store, dest *destination, name string, a attributes, kind checksum) (*multipart, error) {
	id, kind, err := s.create(ctx, dest.target(name), a, kind)
	if err != nil {
		return nil, err
	}
	return &multipart{store: s, dest: dest, name: name, id: id, checksum: kind}, nil
}

func (m *multipart) target() target { return m.dest.target(m.name) }

// addPart adds the n bytes of r at offset off as the next part. It returns a function
// that sends the part, which the caller calls once. The bytes must not change until send
// has returned. send waits for the answer even if its context ends: see finishSent. The
// error says that the bytes cannot be read.
func (m *multipart) addPart(r io.ReaderAt, off, n int64) (send func(context.Context) error, err error) {
	var sumOfPart uint32
	if err := sum(r, off, n, &sumOfPart, &m.crc32); err != nil {
		return nil, failure("UploadPart", m.target(), err)
	}
	m.last++
	number := m.last
	m.size += n
	m.inFlight.Add(1)
	return func(ctx context.Context) error {
		defer m.inFlight.Done()
		part, certain, err := m.sendPart(finishSent(ctx), number, newRequestBody(r, off, n), sumOfPart)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.uncertain = m.uncertain || !certain
		if err != nil {
			return err
		}
		m.parts = append(m.parts, part)
		return nil
	}, nil
}

// sendPart sends a part with that CRC-32.
func (m *multipart) sendPart(ctx context.Context, number int32, body *requestBody, crc32 uint32) (part sentPart, certain bool, err error) {
	sent := sums{kind: m.checksum, crc32: crc32}
	if err := sent.addMD5(body); err != nil {
		return sentPart{}, true, failure("UploadPart", m.target(), body.cut(err))
	}
	return m.store.uploadPart(ctx, m.target(), m.id, number, body, sent)
}

// complete makes the object visible, and returns what was written. All parts have been sent.
//
// The store may have applied an attempt whose answer was lost. Then it answers the next
// attempt that there is no such upload. Some stores answer without an ETag. If the object has the same length, and the same checksum
// or ETag, it was completed.
func (m *multipart) complete(ctx context.Context) (written, error) {
	m.mu.Lock()
	slices.SortFunc(m.parts, func(a, b sentPart) int { return int(a.number - b.number) })
	w := written{size: m.size, crc32: m.crc32, parts: m.parts} // complete: all have been sent
	m.uncertain = true                                         // until the request is known to have succeeded
	m.mu.Unlock()

	var err error
	w.etag, err = m.store.complete(ctx, m.target(), m.id, w, m.checksum)
	if errors.Is(err, errNoUpload) || errors.Is(err, errNoETag) {
		there, headErr := m.store.headChecked(ctx, m.target(), m.checksum)
		if headErr != nil {
			return w, headErr
		}
		if w.compare(there) == same {
			return w, nil
		}
	}
	return w, err
}

func (m *multipart) isAborted() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.aborted
}

// abort aborts the upload. No request for it is in flight. If the store may still be
// writing a part, which it could keep, abort repeats the request until the store knows of
// no such upload. It may be called more than once, by one goroutine at a time.
func (m *multipart) abort(ctx context.Context) error {
	m.mu.Lock()
	aborted, repeats := m.aborted, 0
	if m.uncertain {
		repeats = abortRepeats
	}
	m.mu.Unlock()
	if aborted {
		return nil
	}
	if err := m.sendAborts(ctx, repeats); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.aborted = true
	return nil
}

// sendAborts sends an abort, and repeats it until the store knows of no such upload, but
// at most that often.
func (m *multipart) sendAborts(ctx context.Context, repeats int) error {
	pause := abortPause
	for n := 0; ; n++ {
		err := m.store.abort(ctx, m.target(), m.id)
		switch {
		case errors.Is(err, errNoUpload):
			return nil
		case err != nil:
			return err
		case n == repeats:
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return failure("AbortMultipartUpload", m.target(), context.Cause(ctx))
		}
		pause *= 2
	}
}
