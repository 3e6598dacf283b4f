package stream

import (
	"crypto/md5"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"sync"
	"time"

	"spillway/stream/budget"
	"spillway/stream/inflate"
)

// A verifier decodes and checks one entry at a time.
type verifier struct {
	inflater *inflate.Reader
	input    input
	reader   chunkReader
	tools    tools // of the entry; none if it needs none
	crc      uint32
	md5      hash.Hash // for the store only
	head     []byte    // of the entry

	concurrent bool          // the MD5 of long entries is computed in another goroutine
	worked     time.Duration // by that goroutine, for the last entry
}

func newVerifier() *verifier {
	return &verifier{
		inflater: inflate.New(),
		reader:   chunkReader{buf: make([]byte, chunkSize), other: make([]byte, chunkSize)},
		md5:      md5.New(),
		head:     make([]byte, 0, symbolHead),
	}
}

var verifiers = sync.Pool{New: func() any { return newVerifier() }}

// hashWorker hashes chunks in a goroutine of its own while the next one is decoded. It
// is done with a chunk once it has taken the next one.
type hashWorker struct {
	chunks chan []byte
	ended  chan struct{}
	took   time.Duration // spent on hashing; valid once ended is closed
}

func newHashWorker(h hash.Hash) *hashWorker {
	w := &hashWorker{chunks: make(chan []byte), ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		for chunk := range w.chunks {
			begun := time.Now()
			h.Write(chunk)
			w.took += time.Since(begun)
		}
	}()
	return w
}

// end waits until all chunks are hashed, and returns the time spent on hashing.
func (w *hashWorker) end() time.Duration {
	close(w.chunks)
	<-w.ended
	return w.took
}

// count reads the entry's chunks to their end, writes them to out, and returns their
// facts. They must match the size and CRC-32 that h states. The MD5 is computed while
// needsMD5 is true. An error of the decoder is a [*decodeError].
func (v *verifier) count(h *Header, in chunks, turn *budget.Turn, total *expansion, out io.Writer, needsMD5 func() bool) (f Facts, err error) {
	v.crc = 0
	v.md5.Reset()
	v.head = v.head[:0]
	if err := total.add(h.Name, 0, 0, entryWork); err != nil {
		return f, err
	}
	if f.Size, f.HasMD5, err = v.readAll(h, in, turn, total, out, needsMD5); err != nil {
		return f, err
	}
	f.CRC32 = v.crc
	if f.HasMD5 {
		v.md5.Sum(f.MD5[:0])
	}
	f.Symbol = parseSymbol(v.head, f.Size == int64(len(v.head)))
	if h.SizeStated && f.Size != h.Size {
		return f, h.bad(fmt.Sprintf("it has %d bytes, but states %d", f.Size, h.Size))
	}
	if h.CRCStated && f.CRC32 != h.CRC32 {
		return f, &ChecksumError{Entry: h.Name}
	}
	return f, nil
}

// readAll is the loop of count. If v is concurrent, another goroutine computes the MD5 of
// all chunks but the first.
func (v *verifier) readAll(h *Header, in chunks, turn *budget.Turn, total *expansion, out io.Writer, needsMD5 func() bool) (size int64, hashed bool, err error) {
	var (
		hasher  *hashWorker
		counted int64 // compressed bytes that total has
		worked  work  // by the tools, that total has
		each    = byteWork(h.Codec)
	)
	v.worked = 0
	stopHasher := func() {
		if hasher != nil {
			v.worked += hasher.end()
			hasher = nil
		}
	}
	defer stopHasher()
	if err := turn.Begin(); err != nil {
		return 0, false, err
	}
	defer turn.End()
	for hashed = true; ; {
		if err := turn.Yield(); err != nil {
			return size, false, err
		}
		if hashed && !needsMD5() {
			stopHasher()
			hashed = false
		}
		chunk, err := in.Next()
		if errors.Is(err, io.EOF) {
			return size, hashed, nil
		}
		if err != nil {
			return size, false, &decodeError{err}
		}
		first := size == 0
		size += int64(len(chunk))
		if h.SizeStated && size > h.Size {
			return size, false, h.bad(fmt.Sprintf("it has more bytes than the %d that it states", h.Size))
		}
		consumed := v.input.n
		if ratioExceeded(size, consumed) {
			return size, false, &LimitError{What: RatioBound, Limit: maxRatio, Entry: h.Name}
		}
		spent := v.tools.work()
		if err := total.add(h.Name, int64(len(chunk)), consumed-counted, work(len(chunk))*each+spent-worked); err != nil {
			return size, false, err
		}
		counted, worked = consumed, spent
		if hashed {
			total.hashed.Add(int64(len(chunk)))
		}
		switch {
		case !hashed:
		case first || !v.concurrent || turn.Contended():
			stopHasher()
			v.md5.Write(chunk)
		case hasher == nil:
			hasher = newHashWorker(v.md5)
			fallthrough
		default:
			hasher.chunks <- chunk
		}
		v.crc = crc32.Update(v.crc, crc32.IEEETable, chunk)
		if missing := cap(v.head) - len(v.head); missing > 0 {
			v.head = append(v.head, chunk[:min(missing, len(chunk))]...)
		}
		if _, err := out.Write(chunk); err != nil {
			return size, false, err
		}
	}
}

// decodeError is an error of a decoder: the entry is damaged, or its bytes could not be
// read.
type decodeError struct{ err error }

func (e *decodeError) Error() string { return "decoding: " + e.err.Error() }
func (e *decodeError) Unwrap() error { return e.err }
