package stream

// work is an estimate of processor time, in picoseconds on a processor of 2026. It is
// counted and not measured, so an archive has the same work on every machine, however
// busy.
type work int64

// The costs of decoding, measured and rounded up.
const (
	nanosecond  work = 1_000
	microsecond      = 1_000 * nanosecond

	entryWork = 50 * microsecond // an entry, however small

	summedByte     = 1_600 // a byte of output: CRC-32, MD5 and copying
	inflatedByte   = 1_600 // a byte of output of a decoder
	zstdByte       = 1_400
	bzip2Byte      = 1_200
	bzip2Symbol    = 20 * nanosecond
	bzip2Block     = 5 * microsecond
	gzipInputByte  = 1_200 // a byte of a compressor's input or output
	gzipOutputByte = 38 * nanosecond
)

const (
	// The work of an archive may be freeWork, and workPerByte more for each byte of
	// the archive that has been received.
	freeWork    = 16_000 * microsecond
	workPerByte = 3 * microsecond

	// workPerMB is workPerByte in milliseconds for each million bytes.
	workPerMB = int64(workPerByte * 1_000_000 / (1_000 * microsecond))
)

// byteWork returns the work of one uncompressed byte of an entry.
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

// work returns the work of the tools for their entry so far, beside [byteWork].
func (t tools) work() (w work) {
	if t.Tools == nil {
		return 0
	}
	if t.Get(bzip2Tool) != nil {
		symbols, blocks := t.bzip2().Work()
		w += work(symbols)*bzip2Symbol + work(blocks)*bzip2Block
	}
	if t.Get(gzipTool) != nil {
		d := t.gzip()
		w += work(d.in)*gzipInputByte + work(d.frame.n)*gzipOutputByte
	}
	return w
}
