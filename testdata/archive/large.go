package archive

import (
	"bytes"
	"compress/flate"
	"hash/crc32"
	"io"
)

// Pattern is content made of a block that repeats, and an end. It takes little memory,
// however large it is.
type Pattern struct {
	Block []byte
	Times int
	End   []byte
}

// Size is in bytes.
func (p Pattern) Size() int64 { return int64(len(p.Block))*int64(p.Times) + int64(len(p.End)) }

// Reader yields the content.
func (p Pattern) Reader() io.Reader {
	return io.MultiReader(&repeated{block: p.Block, left: p.Times}, bytes.NewReader(p.End))
}

// CRC32 returns the CRC-32 (IEEE) of the content.
func (p Pattern) CRC32() uint32 {
	var sum uint32
	for range p.Times {
		sum = crc32.Update(sum, crc32.IEEETable, p.Block)
	}
	return crc32.Update(sum, crc32.IEEETable, p.End)
}

// repeated yields a block several times.
type repeated struct {
	block []byte
	left  int
	at    int // in block
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left == 0 || len(r.block) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.block[r.at:])
	if r.at += n; r.at == len(r.block) {
		r.at = 0
		r.left--
	}
	return n, nil
}

// sparseBuffer is an archive that is being laid out: bytes, and patterns between them.
type sparseBuffer struct {
	bytes.Buffer
	placed []placed
}

// placed is a pattern in a sparseBuffer.
type placed struct {
	Pattern
	at int // comes after that many bytes of the buffer
}

func (l *sparseBuffer) place(p Pattern) { l.placed = append(l.placed, placed{p, l.Len()}) }

// offset returns the length so far.
func (l *sparseBuffer) offset() int {
	n := l.Len()
	for _, p := range l.placed {
		n += int(p.Size())
	}
	return n
}

func (l *sparseBuffer) reader() io.Reader {
	var parts []io.Reader
	from := 0
	for _, p := range l.placed {
		parts = append(parts, bytes.NewReader(l.Bytes()[from:p.at]), p.Reader())
		from = p.at
	}
	return io.MultiReader(append(parts, bytes.NewReader(l.Bytes()[from:]))...)
}

// Deflated returns p as a deflate stream. It compresses the repeated block only once.
func Deflated(p Pattern) Pattern {
	return Pattern{Block: flushed(p.Block), Times: p.Times, End: append(flushed(p.End), emptyDeflate...)}
}

// flushed returns deflate blocks that end at a byte boundary and refer to no bytes before
// them.
func flushed(data []byte) []byte {
	if len(data) == 0 {
		return nil
	}
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		panic(err) // writing to a bytes.Buffer does not fail
	}
	return out.Bytes()
}
