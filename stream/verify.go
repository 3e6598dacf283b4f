package stream

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"crypto/md5"
	"hash"
	"hash/crc32"
	"io"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

const (
	runSize     = 64 << 10 // expanded bytes handed on at a time
	packedSize  = 32 << 10 // compressed bytes read at a time
	maxWindow   = 8 << 20  // of a zstd stream, in bytes
	bzip2Memory = 4 << 20  // bzip2 level 9: 900,000 symbols of 4 bytes, and tables
	zstdMemory  = 9 << 20  // the window, blocks and tables
)

// A verifier inflates and counts the bytes of one entry at a time.
type verifier struct {
	flate  io.ReadCloser
	packed *bufio.Reader
	run    []byte
	spare  []byte // the other run, while one is being summed
	sums   sums
	head   []byte

	apart  bool          // long entries are summed beside their decoding
	worked time.Duration // by that, for the last entry
}

// sums are what is counted of the bytes of an entry.
type sums struct {
	md5 hash.Hash // the store's metadata has it; nothing trusts it
	crc uint32
}

func (s *sums) reset() {
	s.crc = 0
	s.md5.Reset()
}

func (s *sums) add(b []byte) {
	s.crc = crc32.Update(s.crc, crc32.IEEETable, b)
	s.md5.Write(b)
}

// summer adds runs to sums in a goroutine of its own, while the next run is
// decoded into another buffer.
type summer struct {
	runs chan []byte   // to add
	free chan []byte   // buffers of runs that have been added
	took time.Duration // by adding; valid once free is closed
}

// apart begins it; free is a buffer for the run after the first.
func (s *sums) apart(free []byte) *summer {
	a := &summer{runs: make(chan []byte), free: make(chan []byte, 2)}
	a.free <- free
	go func() {
		defer close(a.free)
		for run := range a.runs {
			begun := time.Now()
			s.add(run)
			a.took += time.Since(begun)
			a.free <- run[:cap(run)]
		}
	}()
	return a
}

// add leaves it to the goroutine to add a run, and returns the buffer for the
// next one.
func (a *summer) add(run []byte) (next []byte) {
	a.runs <- run
	return <-a.free
}

// end waits until all has been added, and says how long adding took.
func (a *summer) end() time.Duration {
	close(a.runs)
	for range a.free {
	}
	return a.took
}

func newVerifier() *verifier {
	return &verifier{
		flate:  flate.NewReader(bytes.NewReader(nil)),
		packed: bufio.NewReaderSize(nil, packedSize),
		run:    make([]byte, runSize),
		spare:  make([]byte, runSize),
		sums:   sums{md5: md5.New()},
		head:   make([]byte, 0, symbolHead),
	}
}

var verifiers = sync.Pool{New: func() any { return newVerifier() }}

// expansion counts the expanded bytes of a whole archive against its limit.
type expansion struct {
	mu    sync.Mutex
	bytes int64
	limit int64
}

func (x *expansion) add(n int64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.bytes += n
	if x.bytes > x.limit {
		return &LimitError{What: "expanded bytes", Limit: x.limit}
	}
	return nil
}

func (x *expansion) count() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.bytes
}

// inflate returns a reader of what the raw deflate stream (RFC 1951) that r
// starts with expands to. It takes no byte of r behind the stream's end.
func (v *verifier) inflate(r flate.Reader) io.Reader {
	_ = v.flate.(flate.Resetter).Reset(r, nil) // it never fails without a dictionary
	return v.flate
}

// decoder returns a reader of what the packed bytes in r expand to, and what
// ends it.
func (v *verifier) decoder(method uint16, r io.Reader) (io.Reader, func(), error) {
	switch method {
	case methodDeflate:
		v.packed.Reset(r)
		return v.inflate(v.packed), func() {}, nil
	case methodBzip2:
		return bzip2.NewReader(r), func() {}, nil
	case methodZstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(math.MaxInt64))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return r, func() {}, nil
}

// surplus is how many bytes behind its end a decoder has read.
func (v *verifier) surplus(method uint16) int {
	if method == methodDeflate {
		return v.packed.Buffered()
	}
	return 0
}

// decoderMemory is what a decoder takes beyond the floor, in bytes.
func decoderMemory(method uint16) int64 {
	switch method {
	case methodBzip2:
		return bzip2Memory
	case methodZstd:
		return zstdMemory
	}
	return 0
}

// count reads expanded to its end, writes it to out and returns what it
// counted. Where h states the size and the CRC-32 they must be what is counted.
// A failure to decode is a *decodeError.
func (v *verifier) count(h *header, expanded io.Reader, total *expansion, out io.Writer) (f Facts, err error) {
	v.sums.reset()
	v.head = v.head[:0]
	if f.Size, err = v.expand(h, expanded, total, out); err != nil {
		return f, err
	}
	f.CRC32 = v.sums.crc
	v.sums.md5.Sum(f.MD5[:0])
	f.Symbol = parseSymbol(v.head, f.Size == int64(len(v.head)))
	if !h.stated {
		return f, nil
	}
	if f.Size != h.size {
		return f, h.bad("it has " + strconv.FormatInt(f.Size, 10) + " bytes where " + strconv.FormatInt(h.size, 10) + " are stated")
	}
	if f.CRC32 != h.crc {
		return f, &ChecksumError{Entry: h.name}
	}
	return f, nil
}

// expand is the loop of count, which sums in a goroutine of its own if v is
// apart, but for a first run, which is not worth one.
func (v *verifier) expand(h *header, expanded io.Reader, total *expansion, out io.Writer) (size int64, err error) {
	var beside *summer
	v.worked = 0
	defer func() {
		if beside != nil {
			v.worked = beside.end()
		}
	}()
	run := v.run
	for {
		n, err := expanded.Read(run)
		b := run[:n]
		size += int64(n)
		if h.stated && size > h.size {
			return size, h.bad("it has more bytes than the " + strconv.FormatInt(h.size, 10) + " that it states")
		}
		if err := total.add(int64(n)); err != nil {
			return size, err
		}
		if beside != nil {
			run = beside.add(b)
		} else {
			v.sums.add(b)
		}
		if room := cap(v.head) - len(v.head); room > 0 {
			v.head = append(v.head, b[:min(room, n)]...)
		}
		if _, err := out.Write(b); err != nil {
			return size, err
		}
		switch {
		case err == io.EOF:
			return size, nil
		case err != nil:
			return size, &decodeError{err}
		case v.apart && beside == nil:
			beside = v.sums.apart(v.spare)
		}
	}
}

// decodeError is a failure to read an entry's expanded bytes: damage, or a
// failure of what they are decoded from.
type decodeError struct{ err error }

func (e *decodeError) Error() string { return "decoding: " + e.err.Error() }
func (e *decodeError) Unwrap() error { return e.err }
