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
	// abortTimeout bounds the abort of one upload, its repetitions included.
	abortTimeout = 30 * time.Second

	// abortRepeats is how often an abort is repeated while a part may be on its
	// way, and abortPause how long the first pause before it is; each pause is
	// twice as long as the one before it.
	abortRepeats = 5
	abortPause   = 50 * time.Millisecond
)

// multipart is a multipart upload that has begun.
type multipart struct {
	store       *store
	target      target
	id          string
	checksWhole bool

	// written by next only, whose calls come in turn
	last  int32  // number of the last part
	size  int64  // of all parts, in bytes
	crc32 uint32 // of all parts

	inFlight sync.WaitGroup // sends

	mu      sync.Mutex // guards what follows; never held over a request
	parts   []sentPart // in no order
	unclear bool       // a request may still change what the store has
	gone    bool       // aborted
}

func beginMultipart(ctx context.Context, s *store, t target, a attributes) (*multipart, error) {
	id, checksWhole, err := s.create(ctx, t, a)
	if err != nil {
		return nil, err
	}
	return &multipart{store: s, target: t, id: id, checksWhole: checksWhole}, nil
}

// next counts the n bytes of r at the offset off as the next part and returns
// the function that sends it, by a lasting request, which is called once. They must not change until
// that has returned. The error says that they cannot be read.
func (m *multipart) next(r io.ReaderAt, off, n int64) (send func(context.Context) error, err error) {
	var sumOfPart uint32
	if err := sum(r, off, n, &sumOfPart, &m.crc32); err != nil {
		return nil, failure("UploadPart", m.target, err)
	}
	m.last++
	number := m.last
	m.size += n
	m.inFlight.Add(1)
	return func(ctx context.Context) error {
		defer m.inFlight.Done()
		part, clear, err := m.store.uploadPart(lasting(ctx), m.target, m.id, number, newBody(r, off, n), sumOfPart)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.unclear = m.unclear || !clear
		if err != nil {
			return err
		}
		m.parts = append(m.parts, part)
		return nil
	}, nil
}

// complete makes the object visible. All parts have been sent.
//
// An attempt may have been applied though its answer was lost; the next one is
// then told that there is no such upload. The object has landed if what is
// there has the same length and checksum.
func (m *multipart) complete(ctx context.Context) error {
	m.mu.Lock()
	slices.SortFunc(m.parts, func(a, b sentPart) int { return int(a.number - b.number) })
	parts := m.parts // no part is added any more
	m.unclear = true // until it is known what came of the request
	m.mu.Unlock()

	err := m.store.complete(ctx, m.target, m.id, parts, m.checksWhole, m.crc32, m.size)
	if errors.Is(err, errNoUpload) {
		there, headErr := m.store.headChecked(ctx, m.target)
		if headErr != nil {
			return headErr
		}
		if there.found && there.length == m.size && there.crc32 == encodeCRC32(m.crc32) {
			return nil
		}
	}
	return err
}

// open reports whether the upload has not been aborted.
func (m *multipart) open() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.gone
}

// abort gives the upload up. The requests for it have ended here; while one of
// them may still be at work in the store, which could keep its part, the abort
// is repeated until the store knows of no such upload. It may be called more
// than once, by one goroutine at a time.
func (m *multipart) abort(ctx context.Context) error {
	m.mu.Lock()
	gone, repeats := m.gone, 0
	if m.unclear {
		repeats = abortRepeats
	}
	m.mu.Unlock()
	if gone {
		return nil
	}
	if err := m.sendAborts(ctx, repeats); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = true
	return nil
}

// sendAborts sends an abort and then up to that many repeats, until the store knows
// of no such upload.
func (m *multipart) sendAborts(ctx context.Context, repeats int) error {
	pause := abortPause
	for n := 0; ; n++ {
		err := m.store.abort(ctx, m.target, m.id)
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
			return failure("AbortMultipartUpload", m.target, context.Cause(ctx))
		}
		pause *= 2
	}
}
