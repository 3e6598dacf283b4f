package inflate

// fast decodes symbols while the input suffices to fill the bit buffer, and the chunk is
// not full. It leaves the end of the block, codes longer than a table is wide, and errors
// in the codes to careful.
//
// It is one long function, so that its variables stay in registers: cut into smaller ones it
// was 3 % slower. Comparing at and from with constants proves to the compiler that no index
// is out of bounds, except in the loops of long matches.
func (r *Reader) fast() {
	in, bits, nbits := r.in[r.pos:], r.bits, r.nbits
	if len(in) < 8 {
		return
	}
	out, at, low := r.out, uint(r.at), uint(r.low)
	codes := r.codes
	tooFar := false

	// Each turn begins with 56 bits or more, and with the entry that they lead to. It
	// takes 48 bits at most, so the next entry is found before more bits are loaded. The
	// higher bits of nbits may be anything: so an entry is subtracted as it is.
	in, bits, nbits = load(in, bits, nbits)
	e := codes.lit[bits&(1<<litBits-1)]
	for len(in) >= 8 && at < windowSize+chunkSize {
		saved := bits
		bits >>= e & takeMask
		nbits -= uint(e)
		le.PutUint16(out[at:], uint16(e>>valueShift)) // two bytes, of which count are kept
		at += uint(e >> countShift & 3)
		if int16(e) < 0 { // isLiterals
			e = codes.lit[bits&(1<<litBits-1)]
			saved = bits
			bits >>= e & takeMask
			nbits -= uint(e)
			le.PutUint16(out[at:], uint16(e>>valueShift))
			at += uint(e >> countShift & 3)
			if int16(e) < 0 {
				e = codes.lit[bits&(1<<litBits-1)]
				in, bits, nbits = load(in, bits, nbits)
				continue
			}
		}
		if e&isSpecial != 0 {
			bits, nbits = saved, nbits+uint(e)
			break
		}
		length := uint(e>>lengthShift) + minMatch + extra(e, saved)

		d := codes.dist[bits&(1<<distBits-1)]
		if d&isSpecial != 0 {
			bits, nbits = saved, nbits+uint(e)
			at -= uint(e >> countShift & 3)
			break
		}
		saved = bits
		bits >>= d & takeMask
		nbits -= uint(d)
		distance := uint(d>>valueShift) + extra(d, saved)
		from := at - distance
		if from < low || from > windowSize+chunkSize+4 || at > windowSize+chunkSize+4 { // only the first may be
			tooFar = true
			break
		}

		// The processor goes on to the next symbol while it still copies this match.
		e = codes.lit[bits&(1<<litBits-1)]
		in, bits, nbits = load(in, bits, nbits)
		end := at + length
		if distance < 8 {
			eight := le.Uint64(out[from:]) & (1<<(distance*8&63) - 1) * periods[distance]
			step := uint(steps[distance] & 15)
			le.PutUint64(out[at:], eight)
			at += step
			le.PutUint64(out[at:], eight)
			for at += step; at < end; at += step {
				le.PutUint64(out[at:at+8:at+8], eight)
			}
			at = end
			continue
		}
		le.PutUint64(out[at:], le.Uint64(out[from:]))
		le.PutUint64(out[at+8:], le.Uint64(out[from+8:]))
		if length > 16 {
			for at += 16; at < end; at += 16 {
				from += 16
				dst, src := out[at:at+16:at+16], out[from:from+16:from+16]
				le.PutUint64(dst, le.Uint64(src))
				le.PutUint64(dst[8:], le.Uint64(src[8:]))
			}
		}
		at = end
	}

	if tooFar {
		r.err = errDistance
	}
	r.pos, r.at = len(r.in)-len(in), int(at)
	r.bits, r.nbits = bits, nbits&63
	r.giveBack()
}

// periods repeat the first bytes of eight, by multiplication, and steps are how many
// bytes are then whole periods.
var (
	periods = [8]uint64{
		1: 0x0101010101010101,
		2: 0x0001000100010001,
		3: 0x0001000001000001,
		4: 1<<32 | 1,
		5: 1<<40 | 1,
		6: 1<<48 | 1,
		7: 1<<56 | 1,
	}
	steps = [8]uint8{1: 8, 2: 8, 3: 6, 4: 8, 5: 5, 6: 6, 7: 7}
)

// load fills the bit buffer to 56 bits or more. The bits above may be set too: they are
// those that the next load brings again.
func load(in []byte, bits uint64, nbits uint) ([]byte, uint64, uint) {
	return in[^nbits>>3&7:], bits | le.Uint64(in)<<(nbits&63), nbits | 56
}

// extra returns the extra bits of an entry that has been taken from bits.
func extra(e uint32, bits uint64) uint {
	return uint(bits & (1<<(e&takeMask) - 1) >> (e >> codeShift & codeMask))
}

// careful decodes one symbol, with its match if it has one. It consumes no byte beyond it.
func (r *Reader) careful() {
	r.refill()
	defer r.giveBack()
	e, ok := r.symbol(r.codes.lit[:], litBits, r.codes.lengths[:])
	switch {
	case !ok:
		return
	case e&isLiterals != 0:
		r.out[r.at] = byte(e >> valueShift)
		r.at++
		return
	case e&isEnd == isEnd:
		r.state = atBlock
		return
	}
	more, ok := r.takeExtra(e)
	if !ok {
		return
	}
	length := int(e>>lengthShift) + minMatch + more
	if e, ok = r.symbol(r.codes.dist[:], distBits, nil); !ok {
		return
	}
	if more, ok = r.takeExtra(e); !ok {
		return
	}
	distance := int(e>>valueShift) + more
	if r.at-distance < r.low {
		r.err = errDistance
		return
	}
	for range length {
		r.out[r.at] = r.out[r.at-distance]
		r.at++
	}
}

// symbol decodes a symbol and takes its code. Of an entry of two, it returns the first,
// a literal. That has its length in lengths.
func (r *Reader) symbol(table []uint32, width uint, lengths []uint8) (e uint32, ok bool) {
	for {
		e = table[r.bits&(1<<width-1)]
		n := uint(0)
		if e&isLink == isLink && r.nbits > width {
			e = table[uint64(e>>valueShift&linkMask)+r.bits>>width&(1<<(e>>codeShift&codeMask)-1)]
			n = width
		}
		n += uint(e >> codeShift & codeMask)
		if isPair(e) {
			s := byte(e >> valueShift)
			e, n = literal(s), uint(lengths[s])
		}
		switch {
		case e&(isLink|isEnd) == isSpecial:
			if r.nbits >= maxCode {
				r.err = errSymbol
				return 0, false
			}
		case e&isLink != isLink && n <= r.nbits:
			r.take(n)
			return e, true
		}
		if !r.need(r.nbits + 1) {
			return 0, false
		}
	}
}

// takeExtra takes the extra bits of an entry.
func (r *Reader) takeExtra(e uint32) (v int, ok bool) {
	n := uint(e&takeMask - e>>codeShift&codeMask)
	if !r.need(n) {
		return 0, false
	}
	return int(r.take(n)), true
}
