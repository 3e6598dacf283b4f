package stream

import (
	"crypto/md5"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"strconv"
	"sync"
	"time"

	"spillway/stream/budget"
	"spillway/stream/inflate"
)

// A verifier decodes and counts the bytes of one entry at a time.
type verifier struct {
	inflater *inflate.Reader
	input    peeker
	reads    reads
	taken    counted // the compressed bytes of the entry
	sums     sums
	head     []byte

	apart  bool          // long entries are summed beside their decoding
	worked time.Duration // by that, for the last entry
}

func newVerifier() *verifier {
	return &verifier{
		inflater: inflate.New(),
		input:    peeker{buf: make([]byte, inputSize)},
		reads:    reads{buf: make([]byte, readSize), other: make([]byte, readSize)},
		sums:     sums{md5: md5.New()},
		head:     make([]byte, 0, symbolHead),
	}
}

var verifiers = sync.Pool{New: func() any { return newVerifier() }}

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

// summer adds runs to sums in a goroutine of its own, while the next one is
// decoded. A run has been added once the next one has been taken.
type summer struct {
	runs  chan []byte
	ended chan struct{}
	took  time.Duration // by adding; valid once ended is closed
}

func newSummer(s *sums) *summer {
	a := &summer{runs: make(chan []byte), ended: make(chan struct{})}
	go func() {
		defer close(a.ended)
		for run := range a.runs {
			begun := time.Now()
			s.add(run)
			a.took += time.Since(begun)
		}
	}()
	return a
}

// end waits until all has been added, and says how long adding took.
func (a *summer) end() time.Duration {
	close(a.runs)
	<-a.ended
	return a.took
}

// equipment is what an entry is decoded with, beside a verifier.
type equipment struct {
	tools tools        // none if it needs none
	turn  *budget.Turn // of the goroutine that decodes
}

// count takes uncompressed to its end, writes it to out and returns what it
// counted. A size and a CRC-32 that h states must be what is counted. A failure
// to decode is a *decodeError.
func (v *verifier) count(h *Header, uncompressed runs, with equipment, total *expansion, out io.Writer) (f Facts, err error) {
	v.sums.reset()
	v.head = v.head[:0]
	if err := total.add(h.Name, 0, 0, entryWork); err != nil {
		return f, err
	}
	if f.Size, err = v.expand(h, uncompressed, with, total, out); err != nil {
		return f, err
	}
	f.CRC32 = v.sums.crc
	v.sums.md5.Sum(f.MD5[:0])
	f.Symbol = parseSymbol(v.head, f.Size == int64(len(v.head)))
	if h.SizeStated && f.Size != h.Size {
		return f, h.bad("it has " + strconv.FormatInt(f.Size, 10) + " bytes where " + strconv.FormatInt(h.Size, 10) + " are stated")
	}
	if h.CRCStated && f.CRC32 != h.CRC32 {
		return f, &ChecksumError{Entry: h.Name}
	}
	return f, nil
}

// expand is the loop of count, which sums in a goroutine of its own if v is
// apart, but for a first run, which is not worth one.
func (v *verifier) expand(h *Header, uncompressed runs, with equipment, total *expansion, out io.Writer) (size int64, err error) {
	var (
		beside *summer
		taken  int64 // compressed bytes that are counted
		worked work  // likewise, by the tools
		each   = byteWork(h.Codec)
	)
	v.worked = 0
	alone := func() { // from here on
		if beside != nil {
			v.worked += beside.end()
			beside = nil
		}
	}
	defer alone()
	if err := with.turn.Begin(); err != nil {
		return 0, err
	}
	defer with.turn.End()
	for {
		if err := with.turn.Yield(); err != nil {
			return size, err
		}
		run, err := uncompressed.Next()
		if errors.Is(err, io.EOF) {
			return size, nil
		}
		if err != nil {
			return size, &decodeError{err}
		}
		first := size == 0
		size += int64(len(run))
		if h.SizeStated && size > h.Size {
			return size, h.bad("it has more bytes than the " + strconv.FormatInt(h.Size, 10) + " that it states")
		}
		compressed := v.consumed(h.Codec)
		if tooFar(size, compressed) {
			return size, &LimitError{What: RatioBound, Limit: maxRatio, Entry: h.Name}
		}
		spent := with.tools.work()
		if err := total.add(h.Name, int64(len(run)), compressed-taken, work(len(run))*each+spent-worked); err != nil {
			return size, err
		}
		taken, worked = compressed, spent
		switch {
		case first || !v.apart || with.turn.Contended():
			alone()
			v.sums.add(run)
		case beside == nil:
			beside = newSummer(&v.sums)
			fallthrough
		default:
			beside.runs <- run
		}
		if room := cap(v.head) - len(v.head); room > 0 {
			v.head = append(v.head, run[:min(room, len(run))]...)
		}
		if _, err := out.Write(run); err != nil {
			return size, err
		}
	}
}

// decodeError is a failure to read an entry's uncompressed bytes: damage, or a
// failure of what they are decoded from.
type decodeError struct{ err error }

func (e *decodeError) Error() string { return "decoding: " + e.err.Error() }
func (e *decodeError) Unwrap() error { return e.err }
