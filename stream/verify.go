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
	md5    hash.Hash
	head   []byte
}

func newVerifier() *verifier {
	return &verifier{
		flate:  flate.NewReader(bytes.NewReader(nil)),
		packed: bufio.NewReaderSize(nil, packedSize),
		run:    make([]byte, runSize),
		md5:    md5.New(), // the store's metadata has it; nothing trusts it
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
func (v *verifier) count(h *header, expanded io.Reader, total *expansion, out io.Writer) (Facts, error) {
	var f Facts
	v.md5.Reset()
	v.head = v.head[:0]
	for {
		n, err := expanded.Read(v.run)
		b := v.run[:n]
		f.Size += int64(n)
		if h.stated && f.Size > h.size {
			return f, h.bad("it has more bytes than the " + strconv.FormatInt(h.size, 10) + " that it states")
		}
		if err := total.add(int64(n)); err != nil {
			return f, err
		}
		f.CRC32 = crc32.Update(f.CRC32, crc32.IEEETable, b)
		v.md5.Write(b)
		if room := cap(v.head) - len(v.head); room > 0 {
			v.head = append(v.head, b[:min(room, n)]...)
		}
		if _, err := out.Write(b); err != nil {
			return f, err
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return f, &decodeError{err}
		}
	}
	v.md5.Sum(f.MD5[:0])
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

// decodeError is a failure to read an entry's expanded bytes: damage, or a
// failure of what they are decoded from.
type decodeError struct{ err error }

func (e *decodeError) Error() string { return "decoding: " + e.err.Error() }
func (e *decodeError) Unwrap() error { return e.err }
