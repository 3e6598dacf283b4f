package stream

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

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
	md5      md5Sum
	head     []byte // of the entry

	concurrent bool // the MD5 of long entries is computed in another goroutine
}

func newVerifier() *verifier {
	return &verifier{
		inflater: inflate.New(),
		reader:   chunkReader{buf: make([]byte, chunkSize), other: make([]byte, chunkSize)},
		md5:      newMD5Sum(),
		head:     make([]byte, 0, symbolHead),
	}
}

var verifiers = sync.Pool{New: func() any { return newVerifier() }}

// count reads the entry's chunks to their end, writes them to out, and returns their
// facts. They must match the size and CRC-32 that h states. The MD5 is computed while
// needsMD5 is true. An error of the decoder is a [*decodeError].
func (v *verifier) count(h *Header, in chunks, turn *budget.Turn, total *expansion, out io.Writer, needsMD5 func() bool) (f Facts, err error) {
	v.crc = 0
	v.md5.reset(needsMD5)
	v.head = v.head[:0]
	if err := total.add(h.Name, 0, 0, entryWork); err != nil {
		return f, err
	}
	if f.Size, err = v.readAll(h, in, turn, total, out); err != nil {
		return f, err
	}
	f.CRC32 = v.crc
	if f.HasMD5 = v.md5.valid; f.HasMD5 {
		v.md5.sum.Sum(f.MD5[:0])
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

// readAll is the loop of count.
func (v *verifier) readAll(h *Header, in chunks, turn *budget.Turn, total *expansion, out io.Writer) (size int64, err error) {
	var (
		counted int64 // compressed bytes that total has
		worked  work  // by the tools, that total has
		each    = byteWork(h.Codec)
	)
	defer v.md5.wait()
	if err := turn.Begin(); err != nil {
		return 0, err
	}
	defer turn.End()
	for {
		if err := turn.Yield(); err != nil {
			return size, err
		}
		hashed := v.md5.check()
		chunk, err := in.Next()
		if errors.Is(err, io.EOF) {
			return size, nil
		}
		if err != nil {
			return size, &decodeError{err}
		}
		size += int64(len(chunk))
		if h.SizeStated && size > h.Size {
			return size, h.bad(fmt.Sprintf("it has more bytes than the %d that it states", h.Size))
		}
		consumed := v.input.n
		if ratioExceeded(size, consumed) {
			return size, &LimitError{What: RatioBound, Limit: maxRatio, Entry: h.Name}
		}
		spent := v.tools.work()
		if err := total.add(h.Name, int64(len(chunk)), consumed-counted, work(len(chunk))*each+spent-worked); err != nil {
			return size, err
		}
		counted, worked = consumed, spent
		if hashed {
			total.hashed.Add(int64(len(chunk)))
			v.md5.add(chunk, v.concurrent && !turn.Contended())
		}
		v.crc = crc32.Update(v.crc, crc32.IEEETable, chunk)
		if missing := cap(v.head) - len(v.head); missing > 0 {
			v.head = append(v.head, chunk[:min(missing, len(chunk))]...)
		}
		if _, err := out.Write(chunk); err != nil {
			return size, err
		}
	}
}

// decodeError is an error of a decoder: the entry is damaged, or its bytes could not be
// read.
type decodeError struct{ err error }

func (e *decodeError) Error() string { return "decoding: " + e.err.Error() }
func (e *decodeError) Unwrap() error { return e.err }
