package zip_test

import (
	"encoding/binary"

	"spillway/stream"
	"spillway/testdata/archive"
)

// ways are prefixes that make the reader go forward, or by the central directory.
var ways = map[string][]byte{"forward": nil, "spilled": {0}}

// droppedDescriptorRules are about local headers that state sizes or a CRC-32 although a
// descriptor is announced, and about entries whose descriptor an update has dropped.
func droppedDescriptorRules() []rule {
	var rules []rule
	for way, prefix := range ways {
		for _, method := range []uint16{archive.Store, archive.Deflate} {
			for _, name := range named {
				a := with(entry(name), func(e *archive.Entry) { e.Method = method })
				sum, size := checksum(a.Data), uint32(len(a.Data))
				compressed := uint32(len(archive.Compress(method, a.Data)))
				add := func(what string, err error, layout archive.DescriptorLayout, change func(h *archive.LocalHeader), others ...archive.Entry) {
					e := with(a, func(e *archive.Entry) {
						e.Descriptor = layout
						e.Local = func(h *archive.LocalHeader) {
							h.CRC32, h.Compressed, h.Uncompressed = sum, compressed, size
							change(h)
						}
					})
					if others == nil {
						others = []archive.Entry{entry("b.dll")}
					}
					r := rule{
						name: "hint: " + name + ", " + map[uint16]string{archive.Store: "stored", archive.Deflate: "deflated"}[method] + ", " + way + ": " + what,
						err:  err, archive: archive.Archive{Prefix: prefix, Entries: append([]archive.Entry{e}, others...)}.Bytes(),
					}
					if err == nil {
						r.files = texts(name, "b.dll")
						r.unreadable = layout == archive.MissingDescriptor // archive/zip insists on one
					}
					rules = append(rules, r)
				}
				as := func(*archive.LocalHeader) {}
				const missing = archive.MissingDescriptor

				add("all true", nil, archive.Signed32, as)
				add("sizes true", nil, archive.Signed32, func(h *archive.LocalHeader) { h.CRC32 = 0 })
				add("another CRC-32", damaged(name, "states the CRC-32"), archive.Signed32, func(h *archive.LocalHeader) { h.CRC32++ })
				add("another CRC-32 alone", damaged(name, "states the CRC-32"), archive.Signed32, func(h *archive.LocalHeader) {
					h.CRC32 = 1
					if method == archive.Deflate {
						h.Compressed, h.Uncompressed = 0, 0
					}
				})
				add("another size", damaged(name, "states the uncompressed size"), archive.Signed32, func(h *archive.LocalHeader) { h.Uncompressed-- })
				if method == archive.Deflate {
					add("another compressed size", damaged(name, ""), archive.Signed32, func(h *archive.LocalHeader) { h.Compressed++ })
					add("another compressed size alone", damaged(name, ""), archive.Signed32, func(h *archive.LocalHeader) {
						h.CRC32, h.Compressed, h.Uncompressed = 0, h.Compressed-1, 0
					})
					// Info-ZIP to a pipe, of a file that has grown since.
					add("a smaller size alone", nil, archive.Signed32, func(h *archive.LocalHeader) {
						h.CRC32, h.Compressed, h.Uncompressed = 0, 0, 10
					})
				}

				add("descriptor dropped", nil, missing, as)
				add("descriptor dropped, sizes alone", damaged(name, "descriptor"), missing, func(h *archive.LocalHeader) { h.CRC32 = 0 })
				add("descriptor dropped, no sizes", damaged(name, ""), missing, func(h *archive.LocalHeader) {
					h.Uncompressed = 0
					if method == archive.Deflate {
						h.Compressed = 0
					}
				})
				add("descriptor dropped, another size", damaged(name, ""), missing, func(h *archive.LocalHeader) { h.Uncompressed++ })
				add("descriptor dropped, a byte after it", damaged(name, "descriptor"), missing, as,
					with(entry("b.dll"), func(e *archive.Entry) { e.Gap = []byte{0} }))
				add("descriptor dropped, another CRC-32", &stream.ChecksumError{Entry: name}, missing, func(h *archive.LocalHeader) { h.CRC32++ })
			}
		}
		rules = append(rules, ambiguousDescriptor(way, prefix))
	}
	return rules
}

// ambiguousDescriptor is an entry without a descriptor after which the local header of the
// next one is also a descriptor without a signature, and after that a header follows.
func ambiguousDescriptor(way string, prefix []byte) rule {
	const size = 2 << 16 // as a version of 0 and flags of 2, and as a method of 0 and a time of 2
	data := withChecksum(make([]byte, size), archive.LocalSignature)
	sizes := func(h *archive.LocalHeader) { h.CRC32, h.Compressed, h.Uncompressed = checksum(data), size, size }
	return rule{
		name: "hint: descriptor dropped, and one in the next header, " + way, err: damaged("a.dll", "at once"),
		archive: archive.Archive{Prefix: prefix, Entries: []archive.Entry{
			{Name: "a.dll", Data: data, Descriptor: archive.MissingDescriptor, Local: sizes},
			{Name: "b.dll", Flags: 2, Local: func(h *archive.LocalHeader) { h.Version, h.Time = 0, 2 }},
		}}.Bytes(),
	}
}

// withChecksum returns data with its last four bytes changed so that its CRC-32 is sum.
func withChecksum(data []byte, sum uint32) []byte {
	// The CRC-32 is affine in each bit: eliminate (Gauss).
	last := data[len(data)-4:]
	base := checksum(data)
	type column struct{ effect, bits uint32 }
	var basis [32]column
	for bit := range 32 {
		last[bit/8] ^= 1 << (bit % 8)
		c := column{checksum(data) ^ base, 1 << bit}
		last[bit/8] ^= 1 << (bit % 8)
		for i := 31; i >= 0 && c.effect != 0; i-- {
			if c.effect>>i&1 == 0 {
				continue
			}
			if basis[i].effect == 0 {
				basis[i] = c
				break
			}
			c = column{c.effect ^ basis[i].effect, c.bits ^ basis[i].bits}
		}
	}
	var flip uint32
	for left, i := sum^base, 31; i >= 0; i-- {
		if left>>i&1 == 1 {
			left, flip = left^basis[i].effect, flip^basis[i].bits
		}
	}
	binary.LittleEndian.PutUint32(last, binary.LittleEndian.Uint32(last)^flip)
	return data
}
