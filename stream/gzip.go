package stream

import (
	"encoding/binary"
	"io"

	"github.com/klauspost/compress/flate"
)

const (
	gzipHeaderLen  = 10
	gzipTrailerLen = 8

	// gzipLevel is the level of entries that we compress.
	gzipLevel = 6
)

// gzipHeader begins a gzip member (RFC 1952, section 2.3) of unknown time and
// system.
var gzipHeader = [gzipHeaderLen]byte{0x1f, 0x8b, 8, 9: 0xff}

// gzipTrailer ends a gzip member of that uncompressed content.
func gzipTrailer(crc uint32, size int64) (b [gzipTrailerLen]byte) {
	binary.LittleEndian.PutUint32(b[:], crc)
	binary.LittleEndian.PutUint32(b[4:], uint32(size))
	return b
}

// A gzipMember is a gzip member that is being written.
type gzipMember interface {
	end(counted Facts) error
}

// gzipFrame puts the deflate stream that is written to it into a gzip member.
type gzipFrame struct {
	w io.Writer
	n int64 // bytes of the member so far
}

func (g *gzipFrame) Write(p []byte) (int, error) {
	if g.n == 0 {
		g.n = gzipHeaderLen
		if _, err := g.w.Write(gzipHeader[:]); err != nil {
			return 0, err
		}
	}
	g.n += int64(len(p))
	return g.w.Write(p)
}

func (g *gzipFrame) end(f Facts) error {
	trailer := gzipTrailer(f.CRC32, f.Size)
	_, err := g.Write(trailer[:])
	return err
}

// gzipCompressor compresses what is written to it into a gzip member.
type gzipCompressor struct {
	frame gzipFrame
	fw    *flate.Writer
	in    int64 // uncompressed bytes so far
}

// reset begins a new member, written to w.
func (g *gzipCompressor) reset(w io.Writer) {
	g.frame, g.in = gzipFrame{w: w}, 0
	g.fw.Reset(&g.frame)
}

func (g *gzipCompressor) Write(p []byte) (int, error) {
	g.in += int64(len(p))
	return g.fw.Write(p)
}

func (g *gzipCompressor) end(f Facts) error {
	if err := g.fw.Close(); err != nil {
		return err
	}
	return g.frame.end(f)
}
