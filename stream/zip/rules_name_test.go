package zip_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"spillway/stream"
	"spillway/testdata/archive"
	"spillway/testdata/ziptest"
)

// bzip2Compressed is bzip2Text as bzip2 -9 writes it.
const (
	bzip2Text       = "MODULE Linux x86_64 0A0B bzip2.so\nFILE 0 bzip2.c\n"
	bzip2Compressed = "\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x0f\xd3\x64\x86\x00\x00\x0e\xdf\x80\x00\x10\x40\x01\x55\x40\x37" +
		"\x26\x82\x00\x98\x21\xca\x50\x20\x00\x31\x40\x00\xd0\x00\x00\xd5\x34\x7a\x8f\x53\xd4\x3d\x40\x66\xa3\x4f" +
		"\x27\xb4\x5c\xe4\x7b\x3e\x81\x02\xd4\x2b\x70\x68\x29\x31\xcf\x93\x65\x26\x65\x20\xc9\x02\xaf\x20\x4f\x07" +
		"\x02\xc2\xee\x48\xa7\x0a\x12\x01\xfa\x6c\x90\xc0"
)

func checksum(b []byte) uint32 { return crc32.ChecksumIEEE(b) }

func lastIndex(b []byte, mark string) int  { return bytes.LastIndex(b, []byte(mark)) }
func indexFirst(b []byte, mark string) int { return bytes.Index(b, []byte(mark)) }

// zstdFrame is a frame (RFC 8878, section 3.1.1) of one raw block with the
// given window, 2^(10+exponent) bytes.
func zstdFrame(exponent byte, content string) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3}
	block := uint32(len(content))<<3 | 1 // raw, and the last
	b = append(b, byte(block), byte(block>>8), byte(block>>16))
	return append(b, content...)
}

// methodRules are about compression methods and their streams.
func methodRules() []rule {
	var rules []rule
	for _, name := range named {
		compressed := archive.Entry{Name: name, Data: []byte(bzip2Text), Method: archive.BZip2, Raw: []byte(bzip2Compressed)}
		rules = append(rules,
			rule{name: "method: bzip2, " + name, archive: archive.Build(compressed), files: []file{{name, bzip2Text}}},
			rule{
				name: "method: bzip2 and more, " + name, err: damaged(name, "damaged"),
				archive: archive.Build(with(compressed, func(e *archive.Entry) { e.Raw = []byte(bzip2Compressed + "more") })),
			},
			rule{
				name: "method: bzip2, cut off, " + name, err: damaged(name, "damaged"),
				archive: archive.Build(with(compressed, func(e *archive.Entry) { e.Raw = cutOff([]byte(bzip2Compressed)) })),
			},
			rule{
				name: "method: bzip2, another CRC-32, " + name, err: &stream.ChecksumError{Entry: name},
				archive: archive.Build(with(compressed, func(e *archive.Entry) {
					e.Local = func(h *archive.LocalHeader) { h.CRC32++ }
				})),
			},
			rule{
				name: "method: bzip2 with a descriptor and its size, " + name, files: []file{{name, bzip2Text}},
				archive: archive.Build(with(compressed, func(e *archive.Entry) {
					e.Descriptor = archive.Signed32
					e.Local = func(h *archive.LocalHeader) { h.Compressed = uint32(len(bzip2Compressed)) }
				})),
			},
			rule{
				name: "method: bzip2 with a descriptor, " + name, files: []file{{name, bzip2Text}},
				archive: archive.Build(with(compressed, func(e *archive.Entry) { e.Descriptor = archive.Signed32 })),
			},
			rule{
				name: "method: zstd with a descriptor, " + name, files: texts(name),
				archive: archive.Build(with(entry(name), func(e *archive.Entry) { e.Method, e.Descriptor = archive.Zstd, archive.Signed32 })),
			},
			rule{
				name: "method: zstd, a window of 8 MiB, " + name, files: []file{{name, "content"}},
				archive: archive.Build(archive.Entry{Name: name, Data: []byte("content"), Method: archive.Zstd, Raw: zstdFrame(13, "content")}),
			},
			rule{
				name: "method: zstd, a window over 8 MiB, " + name, err: damaged(name, "window"),
				archive: archive.Build(archive.Entry{Name: name, Data: []byte("content"), Method: archive.Zstd, Raw: zstdFrame(14, "content")}),
			},
			rule{
				name: "method: zstd, two frames, " + name, files: []file{{name, "content and more"}},
				archive: archive.Build(archive.Entry{
					Name: name, Data: []byte("content and more"), Method: archive.Zstd,
					Raw: append(zstdFrame(1, "content"), zstdFrame(1, " and more")...),
				}),
			},
		)
	}
	for _, method := range []uint16{1, 6, 9, 14, 20, 95, 98, 99, 0xffff} {
		rules = append(rules, rule{
			name: fmt.Sprintf("method: %d", method), err: damaged("a.sym", fmt.Sprintf("method %d ", method)),
			archive: archive.Build(with(entry("a.sym"), func(e *archive.Entry) { e.Method, e.Raw = method, e.Data })),
		})
	}
	return rules
}

// unicodePath is a Unicode path extra field (APPNOTE 4.6.9).
func unicodePath(raw, name string) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{1}, checksum([]byte(raw)))
	return archive.Extra(0x7075, append(b, name...))
}

// nameRules are about names that readers decode differently.
func nameRules() []rule {
	var rules []rule
	kept := func(name string, e archive.Entry) {
		rules = append(rules, rule{name: "name: " + name, archive: archive.Build(e), files: []file{{e.Name, string(e.Data)}}})
	}
	broken := func(name string, err error, e archive.Entry) {
		rules = append(rules, rule{name: "name: " + name, archive: archive.Build(e), err: err})
	}
	marked := func(name string) archive.Entry {
		return with(entry(name), func(e *archive.Entry) { e.Flags = archive.FlagUTF8 })
	}
	long := strings.Repeat("n", 1024)

	kept("ASCII", entry("xul.pdb/44E4EC8C2F41492B9369D6B9A059577C2/xul.sym"))
	kept("ASCII, marked as UTF-8", marked("a.sym"))
	kept("UTF-8", marked("é.sym"))
	broken("UTF-8 that is not marked", damaged("é.sym", "not marked"), entry("é.sym"))
	broken("Latin-1", damaged("\xe9.sym", "not marked"), entry("\xe9.sym"))
	broken("Latin-1, marked as UTF-8", damaged("\xe9.sym", "UTF-8"), marked("\xe9.sym"))
	broken("an overlong form, marked as UTF-8", damaged("a\xc0\xafb.sym", "UTF-8"), marked("a\xc0\xafb.sym"))
	broken("a surrogate, marked as UTF-8", damaged("\xed\xa0\x80.sym", "UTF-8"), marked("\xed\xa0\x80.sym"))
	broken("a NUL", damaged("a.sym\x00.exe", "NUL"), entry("a.sym\x00.exe"))
	broken("a NUL in a directory's", damaged("a\x00/", "NUL"), archive.Entry{Name: "a\x00/"})
	for _, directory := range []string{"\xe9/", "é/"} {
		for _, flags := range []uint16{0, archive.FlagUTF8} {
			for way, prefix := range ways {
				rules = append(rules, rule{
					name: fmt.Sprintf("name: a directory's %q, flags %#x, %s", directory, flags, way), files: texts("a.sym"),
					archive: archive.Archive{Prefix: prefix, Entries: []archive.Entry{{Name: directory, Flags: flags}, entry("a.sym")}}.Bytes(),
				})
			}
		}
	}
	kept("of 1,024 bytes", entry(long))
	broken("of 1,025 bytes", damaged("", "1025"), entry(long+"n"))
	broken("of 65,535 bytes", damaged("", "65535"), entry(strings.Repeat("n", 65535)))
	broken("of 1,025 bytes, a directory's", damaged("", "1025"), archive.Entry{Name: long + "/"})
	broken("of 1,025 bytes, in the central directory only", damaged("", "1025"), with(entry("a.sym"), func(e *archive.Entry) {
		e.Central = func(r *archive.CentralHeader) { r.Name = []byte(long + "n") }
	}))
	kept("the same in Unicode", with(entry("a.sym"), func(e *archive.Entry) {
		e.LocalExtra, e.CentralExtra = unicodePath("a.sym", "a.sym"), unicodePath("a.sym", "a.sym")
	}))
	broken("another in Unicode", damaged("a.sym", "Unicode path"), with(entry("a.sym"), func(e *archive.Entry) {
		e.LocalExtra = unicodePath("a.sym", "b.sym")
	}))
	broken("another in Unicode, in the central directory only", damaged("a.sym", "Unicode path"), with(entry("a.sym"), func(e *archive.Entry) {
		e.CentralExtra = unicodePath("a.sym", "b.sym")
	}))
	broken("another in Unicode that is cut off", damaged("a.sym", "Unicode path"), with(entry("a.sym"), func(e *archive.Entry) {
		e.CentralExtra = archive.Extra(0x7075, []byte{1, 0})
	}))
	broken("two in Unicode", damaged("a.sym", "two extra fields"), with(entry("a.sym"), func(e *archive.Entry) {
		e.CentralExtra = append(unicodePath("a.sym", "a.sym"), unicodePath("a.sym", "a.sym")...)
	}))

	// The caller checks every name but a directory's, listed or not.
	refused := errors.New("no name for a symbol")
	picky := &stream.Rules{MaxEntries: 10, MaxUncompressed: 1 << 20, Form: func(name string) (stream.Form, error) {
		if name != "a.sym" {
			return stream.AsIs, refused
		}
		return stream.Gzip, nil
	}}
	bad := entry("../b.dll")
	return append(rules,
		rule{name: "name: all accepted by the caller", limits: picky, archive: archive.Build(entry("a.sym"), archive.Entry{Name: "../"}), files: texts("a.sym")},
		rule{name: "name: one that the caller refuses", limits: picky, archive: archive.Build(entry("a.sym"), bad), err: refused},
		rule{name: "name: an empty one that the caller refuses", limits: picky, archive: archive.Build(entry("")), err: refused},
		rule{
			name: "name: one that the caller refuses, not listed", limits: picky, err: refused,
			archive: archive.Build(entry("a.sym"), with(bad, func(e *archive.Entry) { e.Unlisted = true })),
		},
	)
}

// limitRules are about the limits that the caller sets.
func limitRules() []rule {
	limits := func(entries int, uncompressed int64) *stream.Rules {
		return &stream.Rules{Form: ziptest.FormByName, MaxEntries: entries, MaxUncompressed: uncompressed}
	}
	entries := []archive.Entry{{Name: "d/"}, entry("a.sym"), entry("b.dll"), with(entry("c.dll"), func(e *archive.Entry) { e.Unlisted = true })}
	var size int64
	for _, e := range entries {
		size += int64(len(e.Data))
	}
	three := archive.Build(entries...)
	rules := []rule{
		{name: "limit: as many entries as allowed", archive: three, limits: limits(4, size), files: texts("a.sym", "b.dll")},
		{name: "limit: an entry more than allowed", archive: three, limits: limits(3, size), err: &stream.LimitError{What: stream.EntriesBound, Limit: 3}},
	}
	bomb := make([]byte, 8<<20)
	for _, name := range named {
		for _, method := range []uint16{archive.Store, archive.Deflate, archive.Zstd} {
			for _, d := range []archive.DescriptorLayout{archive.NoDescriptor, archive.Signed32} {
				if d != archive.NoDescriptor && method == archive.Zstd {
					continue // needs its size
				}
				e := with(entry(name), func(e *archive.Entry) { e.Method, e.Descriptor, e.LocalSizes = method, d, true })
				data, size := archive.Build(e), int64(len(e.Data))
				label := fmt.Sprintf("%s, method %d, descriptor %t", name, method, d != archive.NoDescriptor)
				rules = append(rules,
					rule{name: "limit: as many bytes as allowed, " + label, archive: data, limits: limits(1, size), files: texts(name)},
					rule{
						name: "limit: a byte more than allowed, " + label, archive: data, limits: limits(1, size-1),
						err: &stream.LimitError{What: stream.UncompressedBound, Limit: size - 1},
					})
			}
		}
		rules = append(rules,
			rule{
				name: "limit: a bomb, " + name, limits: limits(1, 1<<20), err: &stream.LimitError{What: stream.UncompressedBound, Limit: 1 << 20},
				archive: archive.Build(archive.Entry{Name: name, Data: bomb, Method: archive.Deflate}),
			},
			rule{
				name: "limit: a bomb with a descriptor, " + name, limits: limits(1, 1<<20), err: &stream.LimitError{What: stream.UncompressedBound, Limit: 1 << 20},
				archive: archive.Build(archive.Entry{Name: name, Data: bomb, Method: archive.Deflate, Descriptor: archive.Signed32}),
			},
			rule{
				name: "limit: a bomb that states a small size, " + name, limits: limits(1, 1<<20), err: damaged(name, "more bytes"),
				archive: archive.Build(archive.Entry{
					Name: name, Data: bomb, Method: archive.Deflate,
					Local: func(h *archive.LocalHeader) { h.Uncompressed = 100 }, Central: func(r *archive.CentralHeader) { r.Uncompressed = 100 },
				}),
			})
	}
	return rules
}
