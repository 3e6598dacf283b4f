package stream

import (
	"math"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"spillway/stream/budget"
	"spillway/stream/bzip2"
)

// maxWindow is the largest window of a zstd stream, in bytes.
const maxWindow = 8 << 20

// zstdTool decodes zstd. Its memory is the largest window with a block before and after
// it, and buffers for a block and its sequences. It has no goroutines.
var zstdTool = &budget.Tool{
	Memory: 10 << 20,
	New: func() any {
		// Cannot fail: there is no stream yet, and the options are valid.
		d, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(math.MaxInt64))
		return d
	},
	Reset: func(d any) { _ = d.(*zstd.Decoder).Reset(nil) }, // fails only if closed
}

// bzip2Tool decodes bzip2.
var bzip2Tool = &budget.Tool{
	Memory: 4 << 20,
	New:    func() any { return bzip2.New() },
	Reset:  func(d any) { d.(*bzip2.Reader).Reset(nil) },
}

// gzipTool compresses entries that do not come deflated.
var gzipTool = &budget.Tool{
	Memory: 5 << 18,
	New: func() any {
		d := &gzipCompressor{}
		d.fw, _ = flate.NewWriter(&d.frame, gzipLevel) // cannot fail: the level is valid
		return d
	},
	Reset: func(d any) { d.(*gzipCompressor).frame = gzipFrame{} },
}

// tools are the tools of one entry.
type tools struct{ *budget.Tools }

func (t tools) zstd() *zstd.Decoder   { return t.Get(zstdTool).(*zstd.Decoder) }
func (t tools) bzip2() *bzip2.Reader  { return t.Get(bzip2Tool).(*bzip2.Reader) }
func (t tools) gzip() *gzipCompressor { return t.Get(gzipTool).(*gzipCompressor) }
