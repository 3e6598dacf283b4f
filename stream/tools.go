package stream

import (
	"context"
	"math"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"spillway/stream/bzip2"
)

const (
	// bzip2Memory and zstdMemory are what a decoder may take, in bytes. zstd's
	// takes its window with a block before and behind it, and buffers for a block
	// and its sequences.
	bzip2Memory = 4 << 20
	zstdMemory  = 10 << 20
	maxWindow   = 8 << 20 // of a zstd stream, in bytes

	// deflaterMemory is what a deflater takes, in bytes.
	deflaterMemory = 5 << 18
)

// toolKind is a kind of what some entries need and takes much memory.
type toolKind int

const (
	zstdTool     toolKind = iota // *zstd.Decoder
	bzip2Tool                    // *bzip2.Reader
	deflaterTool                 // *deflater
	toolKinds    int      = iota
)

// toolMemory is what a tool of each kind takes, in bytes.
var toolMemory = [toolKinds]int64{zstdTool: zstdMemory, bzip2Tool: bzip2Memory, deflaterTool: deflaterMemory}

// newTool makes a tool.
func newTool(k toolKind) any {
	switch k {
	case zstdTool:
		// With a concurrency of 1 it has no goroutines. A decoder without a stream
		// and with options that are in their ranges cannot fail.
		d, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(math.MaxInt64))
		return d
	case bzip2Tool:
		return bzip2.New()
	}
	d := &deflater{}
	d.fw, _ = flate.NewWriter(&d.frame, gzipLevel) // only a level that does not exist is an error
	return d
}

// tools are what one entry is decoded and compressed with. Their memory is
// reserved from when they are taken to when they are released.
type tools struct {
	share  *Share
	wanted []toolKind
	taken  [toolKinds]any
	free   func() // gives the reservation back
}

// takeTools waits for room for tools, as [Share.Reserve] does, and returns them.
// Whoever takes them releases them.
func (s *Share) takeTools(ctx context.Context, wanted ...toolKind) (*tools, error) {
	t := &tools{share: s, wanted: wanted, free: func() {}}
	if len(wanted) == 0 {
		return t, nil
	}
	n := int64(0)
	for _, k := range wanted {
		n += toolMemory[k]
	}
	var err error
	if t.free, err = s.reserve(ctx, n, t); err != nil {
		return nil, err
	}
	for _, k := range wanted {
		if t.taken[k] == nil {
			t.taken[k] = newTool(k)
		}
	}
	return t, nil
}

func (t *tools) zstd() *zstd.Decoder  { return t.taken[zstdTool].(*zstd.Decoder) }
func (t *tools) bzip2() *bzip2.Reader { return t.taken[bzip2Tool].(*bzip2.Reader) }
func (t *tools) deflater() *deflater  { return t.taken[deflaterTool].(*deflater) }

// keep leaves the tools, which have worked well, to those who come later. What has
// failed is not used again. The caller still releases t.
func (t *tools) keep() {
	if t.taken[zstdTool] != nil {
		_ = t.zstd().Reset(nil) // it has not been closed
	}
	if t.taken[bzip2Tool] != nil {
		t.bzip2().Reset(nil)
	}
	if t.taken[deflaterTool] != nil {
		t.deflater().frame = framed{}
	}
	m := t.share.m
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, tool := range t.taken {
		if tool != nil {
			m.idleTools[k] = append(m.idleTools[k], tool)
			t.taken[k] = nil
		}
	}
}

// release gives the memory back.
func (t *tools) release() {
	t.taken = [toolKinds]any{}
	t.free()
}

// reuse gives t those tools that nobody uses. The caller holds m.mu.
func (m *Memory) reuse(t *tools) {
	for _, k := range t.wanted {
		t.taken[k] = m.popTool(k)
	}
}

// popTool returns a tool that nobody uses, nil if there is none. The caller holds
// m.mu.
func (m *Memory) popTool(k toolKind) any {
	idle := m.idleTools[k]
	n := len(idle)
	if n == 0 {
		return nil
	}
	tool := idle[n-1]
	idle[n-1] = nil // so that it can be collected once its user drops it
	m.idleTools[k] = idle[:n-1]
	return tool
}

// Idle is what part buffers and decoders take that nobody uses, in bytes. They are
// kept for the next upload, and dropped when somebody takes their room.
func (m *Memory) Idle() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.idle()
}

// idle is Idle. The caller holds m.mu.
func (m *Memory) idle() int64 {
	n := int64(len(m.idleParts)) * int64(m.partSize)
	for k, tools := range m.idleTools {
		n += int64(len(tools)) * toolMemory[k]
	}
	return n
}

// trim drops idle buffers and tools that are in the way of what is in use. The
// caller holds m.mu.
func (m *Memory) trim() {
	for m.idle() > m.free {
		m.dropIdle()
	}
}

// dropIdle drops one idle tool, or else a buffer. The caller holds m.mu.
func (m *Memory) dropIdle() {
	for k := range m.idleTools {
		if m.popTool(toolKind(k)) != nil {
			return
		}
	}
	m.popIdle()
}
