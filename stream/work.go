package stream

// work is an estimate of processor time, in picoseconds on a processor of 2026. It
// is counted and not measured, so that an archive has the same work wherever and
// whenever it is read.
type work int64

// What decoding costs, as measured and rounded up.
const (
	nanosecond  work = 1_000
	microsecond      = 1_000 * nanosecond

	entryWork = 50 * microsecond // an entry, however small

	summedByte   = 1_600 // a byte of output: CRC-32, MD5 and copying
	inflatedByte = 1_600 // a byte of output of each decoder
	zstdByte     = 1_400
	bzip2Byte    = 1_200
	bzip2Symbol  = 20 * nanosecond
	bzip2Block   = 5 * microsecond
	gzipInByte   = 1_200 // of a deflater's input and output
	gzipOutByte  = 38 * nanosecond
)

const (
	// freeWork and workPerByte are what the work of an archive may be: so much
	// for any, and so much for each byte of it that has been received.
	freeWork    = 16_000 * microsecond
	workPerByte = 3 * microsecond

	// workPerMB is workPerByte in milliseconds of processor time for each million
	// bytes.
	workPerMB = int64(workPerByte * 1_000_000 / (1_000 * microsecond))
)

// byteWork is what a byte of an entry's output costs.
func byteWork(c Codec) work {
	switch c {
	case Deflate:
		return summedByte + inflatedByte
	case Zstd:
		return summedByte + zstdByte
	case BZip2:
		return summedByte + bzip2Byte
	}
	return summedByte
}

// work is what t has worked for its entry so far, beside what [byteWork] counts.
func (t tools) work() (w work) {
	if t.Tools == nil {
		return 0
	}
	if t.Get(bzip2Tool) != nil {
		symbols, blocks := t.bzip2().Work()
		w += work(symbols)*bzip2Symbol + work(blocks)*bzip2Block
	}
	if t.Get(deflaterTool) != nil {
		d := t.deflater()
		w += work(d.in)*gzipInByte + work(d.frame.n)*gzipOutByte
	}
	return w
}
