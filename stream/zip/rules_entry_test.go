package zip_test

import (
	"fmt"
	"slices"

	"spillway/stream"
	"spillway/stream/zip"
	"spillway/testdata/archive"
)

// localHeaderRules are about local headers, and whether the central directory agrees with them.
func localHeaderRules() []rule {
	a := entry("a.sym")
	withDescriptor := with(a, func(e *archive.Entry) { e.Descriptor = archive.Signed32 })
	local := func(e archive.Entry, change func(*archive.LocalHeader)) []byte {
		e.Local = change
		return archive.Build(e, entry("b.dll"))
	}
	central := func(e archive.Entry, change func(*archive.CentralHeader)) []byte {
		e.Central = change
		return archive.Build(e, entry("b.dll"))
	}
	files := texts("a.sym", "b.dll")
	kept := func(name string, data []byte) rule {
		return rule{name: "local header: " + name, archive: data, files: files}
	}
	broken := func(name string, data []byte, err error) rule {
		return rule{name: "local header: " + name, archive: data, err: err}
	}
	const disagree = "disagree on its "

	rules := []rule{
		kept("agrees with the central directory", archive.Build(a, entry("b.dll"))),
		kept("another version", local(a, func(h *archive.LocalHeader) { h.Version = 63 })),
		kept("another version in the central directory", central(a, func(h *archive.CentralHeader) { h.Needed, h.Made = 63, 0 })),
		kept("bits 1 and 2 in the local header only", local(a, func(h *archive.LocalHeader) { h.Flags |= 6 })),
		kept("bits 1 and 2 in the central directory only", central(a, func(h *archive.CentralHeader) { h.Flags |= 6 })),
		kept("another time", local(a, func(h *archive.LocalHeader) { h.Time, h.Date = 0, 0 })),
		kept("other extra fields", local(a, func(h *archive.LocalHeader) { h.Extra = archive.Extra(0x5455, []byte("\x01abcd")) })),
		kept("extra fields that are cut off", local(a, func(h *archive.LocalHeader) { h.Extra = []byte{0x55, 0x54, 9, 0, 1} })),
		kept("other attributes", central(a, func(h *archive.CentralHeader) { h.External, h.Internal = 0xffffffff, 1 })),
		kept("a comment in the central directory", archive.Build(with(a, func(e *archive.Entry) { e.Comment = "a comment" }), entry("b.dll"))),
		kept("zip64 in the local header only", archive.Build(with(a, func(e *archive.Entry) { e.Zip64Local = true }), entry("b.dll"))),
		kept("zip64 in the central directory only", archive.Build(with(a, func(e *archive.Entry) { e.Zip64Central = true }), entry("b.dll"))),
		kept("zip64 in both", archive.Build(with(a, func(e *archive.Entry) { e.Zip64Local, e.Zip64Central = true, true }), entry("b.dll"))),
		kept("zip64 and a descriptor", archive.Build(with(a, func(e *archive.Entry) { e.Zip64Local, e.Descriptor = true, archive.Signed64 }), entry("b.dll"))),
		kept("with a descriptor, sizes as well", archive.Build(with(withDescriptor, func(e *archive.Entry) { e.LocalSizes = true }), entry("b.dll"))),

		broken("another name", central(a, func(h *archive.CentralHeader) { h.Name = []byte("c.sym") }), damaged("c.sym", disagree+"name")),
		broken("another case of its name", central(a, func(h *archive.CentralHeader) { h.Name = []byte("A.sym") }), damaged("A.sym", disagree+"name")),
		broken("another length of its name", central(a, func(h *archive.CentralHeader) { h.Name = []byte("a.symbols") }), damaged("a.symbols", disagree+"name")),
		broken("a slash in the central directory only", central(a, func(h *archive.CentralHeader) { h.Name, h.Uncompressed = []byte("a.sym/"), 0 }), damaged("a.sym/", disagree+"name")),
		broken("another method", central(a, func(h *archive.CentralHeader) { h.Method = archive.Store }), damaged("a.sym", disagree+"compression method")),
		broken("bit 3 in the local header only", central(withDescriptor, func(h *archive.CentralHeader) { h.Flags = 0 }), damaged("a.sym", disagree+"flags")),
		broken("bit 3 in the central directory only", central(a, func(h *archive.CentralHeader) { h.Flags |= archive.FlagDescriptor }), damaged("a.sym", disagree+"flags")),
		broken("bit 11 in the local header only", local(a, func(h *archive.LocalHeader) { h.Flags |= archive.FlagUTF8 }), damaged("a.sym", disagree+"flags")),
		broken("bit 11 in the central directory only", central(a, func(h *archive.CentralHeader) { h.Flags |= archive.FlagUTF8 }), damaged("a.sym", disagree+"flags")),
		broken("encrypted in the central directory only", central(a, func(h *archive.CentralHeader) { h.Flags |= archive.FlagEncrypted }), damaged("a.sym", "encrypted")),
		broken("another CRC-32 in the central directory", central(a, func(h *archive.CentralHeader) { h.CRC32++ }), damaged("a.sym", disagree+"CRC-32")),
		broken("another compressed size in the central directory", central(a, func(h *archive.CentralHeader) { h.Compressed++ }), damaged("a.sym", disagree+"compressed size")),
		broken("another size in the central directory", central(a, func(h *archive.CentralHeader) { h.Uncompressed++ }), damaged("a.sym", disagree+"uncompressed size")),
		broken("another CRC-32 in the central directory than in the descriptor", central(withDescriptor, func(h *archive.CentralHeader) { h.CRC32++ }), damaged("a.sym", disagree+"CRC-32")),
		broken("another compressed size in the central directory than in the descriptor", central(withDescriptor, func(h *archive.CentralHeader) { h.Compressed++ }), damaged("a.sym", disagree+"compressed size")),
		broken("another size in the central directory than in the descriptor", central(withDescriptor, func(h *archive.CentralHeader) { h.Uncompressed++ }), damaged("a.sym", disagree+"uncompressed size")),

		broken("zip64 sizes missing in the extra field", local(a, func(h *archive.LocalHeader) { h.Uncompressed = archive.Sentinel }), damaged("a.sym", "zip64")),
		broken("zip64 sizes missing in the central directory's extra field", central(a, func(h *archive.CentralHeader) { h.Uncompressed = archive.Sentinel }), damaged("a.sym", "zip64")),
		broken("a zip64 extra field that is too short", central(a, func(h *archive.CentralHeader) {
			h.Compressed, h.Uncompressed = archive.Sentinel, archive.Sentinel
			h.Extra = archive.Zip64Extra(uint64(len(a.Data)))
		}), damaged("a.sym", "zip64")),
		broken("a zip64 size out of range", central(a, func(h *archive.CentralHeader) {
			h.Uncompressed, h.Extra = archive.Sentinel, archive.Zip64Extra(1<<63)
		}), damaged("a.sym", "zip64")),
		broken("another zip64 size in the central directory", central(a, func(h *archive.CentralHeader) {
			h.Uncompressed, h.Extra = archive.Sentinel, archive.Zip64Extra(uint64(len(a.Data))+1)
		}), damaged("a.sym", disagree+"uncompressed size")),
		broken("two zip64 extra fields", central(a, func(h *archive.CentralHeader) {
			size := archive.Zip64Extra(uint64(len(a.Data)))
			h.Uncompressed, h.Extra = archive.Sentinel, append(size, size...)
		}), damaged("a.sym", "two extra fields")),
		broken("extra fields of the central directory header that are cut off", central(a, func(h *archive.CentralHeader) { h.Extra = []byte{0x55, 0x54, 9, 0, 1} }),
			damaged("a.sym", "cut off")),
		kept("padding after the central directory header's extra fields", central(a, func(h *archive.CentralHeader) { h.Extra = append(archive.Extra(0x5455, nil), 0, 0, 0) })),
	}

	for bit := range 16 {
		flag := uint16(1) << bit
		if flag&(archive.FlagDescriptor|archive.FlagUTF8|6) == 0 {
			for way, prefix := range ways {
				e := with(a, func(e *archive.Entry) { e.Central = func(r *archive.CentralHeader) { r.Flags |= flag } })
				reason := fmt.Sprintf("flags %#x are", flag)
				if flag == archive.FlagEncrypted {
					reason = "encrypted"
				}
				rules = append(rules, broken(fmt.Sprintf("bit %d in the central directory only, %s", bit, way),
					archive.Archive{Prefix: prefix, Entries: []archive.Entry{e}}.Bytes(), damaged("a.sym", reason)))
			}
		}
		switch bit {
		case 1, 2:
			rules = append(rules, kept(fmt.Sprintf("bit %d", bit), archive.Build(
				with(a, func(e *archive.Entry) { e.Flags = flag }), entry("b.dll"))))
		case 3, 11: // descriptors and names
		default:
			reason := "flags"
			if bit == 0 {
				reason = "encrypted"
			}
			rules = append(rules, broken(fmt.Sprintf("bit %d", bit), archive.Build(
				with(a, func(e *archive.Entry) { e.Flags = flag }), entry("b.dll")), damaged("a.sym", reason)))
		}
	}
	return rules
}

// entryEndRules are about entries whose local header states their sizes.
func entryEndRules() []rule {
	var rules []rule
	for _, name := range named {
		for _, method := range []uint16{archive.Store, archive.Deflate, archive.Zstd} {
			a := with(entry(name), func(e *archive.Entry) { e.Method = method })
			raw := archive.Compress(method, a.Data)
			add := func(what string, e archive.Entry, err error) {
				r := rule{name: fmt.Sprintf("end of an entry: %s, method %d: %s", name, method, what), archive: archive.Build(e), err: err}
				if err == nil {
					r.files = texts(name)
				}
				rules = append(rules, r)
			}
			claim := func(e archive.Entry, crc, compressed, uncompressed uint32) archive.Entry {
				e.Local = func(h *archive.LocalHeader) {
					h.CRC32, h.Compressed, h.Uncompressed = h.CRC32+crc, h.Compressed+compressed, h.Uncompressed+uncompressed
				}
				e.Central = func(h *archive.CentralHeader) {
					h.CRC32, h.Compressed, h.Uncompressed = h.CRC32+crc, h.Compressed+compressed, h.Uncompressed+uncompressed
				}
				return e
			}
			const less = ^uint32(0) // -1

			add("what it states", a, nil)
			add("another CRC-32", claim(a, 1, 0, 0), &stream.ChecksumError{Entry: name})
			if method == archive.Store {
				add("a byte more than it has, compressed", claim(a, 0, 1, 0), damaged(name, "differ"))
				add("a byte more than it has, uncompressed", claim(a, 0, 0, 1), damaged(name, "differ"))
				continue
			}
			add("a byte less than it has, uncompressed", claim(a, 0, 0, less), damaged(name, "more bytes"))
			add("a byte more than it has, uncompressed", claim(a, 0, 0, 1), damaged(name, "but states"))
			add("a byte less than it has, compressed", claim(a, 0, less, 0), damaged(name, "damaged"))
			trailing := damaged(name, "is shorter than")
			if method == archive.Zstd {
				trailing = damaged(name, "damaged")
			}
			add("a byte after its end", with(a, func(e *archive.Entry) { e.Raw = append(slices.Clip(raw), 0) }), trailing)
			add("cut off", with(a, func(e *archive.Entry) { e.Raw = raw[:len(raw)-1] }), damaged(name, "damaged"))
			add("no bytes", with(a, func(e *archive.Entry) { e.Raw = []byte{} }), damaged(name, ""))
			add("noise", with(a, func(e *archive.Entry) { e.Raw = []byte("\xff\xff\xff\xff\xff") }), damaged(name, "damaged"))
		}
	}
	return append(rules,
		rule{
			name: "end of an entry: empty, stored", archive: archive.Build(archive.Entry{Name: "a.sym"}, archive.Entry{Name: "a.dll"}),
			files: []file{{"a.sym", ""}, {"a.dll", ""}},
		},
		rule{
			name: "end of an entry: empty, deflated", archive: archive.Build(
				archive.Entry{Name: "a.sym", Method: archive.Deflate}, archive.Entry{Name: "a.dll", Method: archive.Deflate}),
			files: []file{{"a.sym", ""}, {"a.dll", ""}},
		},
		rule{
			name: "end of an entry: a directory", archive: archive.Build(archive.Entry{Name: "a/"}, entry("a/a.sym")),
			files: texts("a/a.sym"),
		},
		rule{
			name: "end of an entry: a directory, deflated", archive: archive.Build(archive.Entry{Name: "a/", Method: archive.Deflate}, entry("a/a.sym")),
			files: texts("a/a.sym"),
		},
		rule{ // zipstream-ng for Python
			name: "end of an entry: a directory, deflated to nothing", archive: archive.Build(noBytes("a/"), entry("a/a.sym")),
			files: texts("a/a.sym"),
		},
		rule{
			name: "end of an entry: a directory, deflated to nothing, spilled", archive: archive.Archive{
				Prefix: []byte{0}, Entries: []archive.Entry{noBytes("a/"), entry("a/a.sym")},
			}.Bytes(),
			files: texts("a/a.sym"),
		},
		rule{
			name: "end of an entry: a directory, deflated to nothing, with a CRC-32", archive: archive.Build(with(noBytes("a/"), func(e *archive.Entry) {
				e.Local = func(h *archive.LocalHeader) { h.CRC32 = 1 }
				e.Central = func(h *archive.CentralHeader) { h.CRC32 = 1 }
			})),
			err: &stream.ChecksumError{Entry: "a/"},
		},
		rule{
			name: "end of an entry: a file, deflated to nothing", archive: archive.Build(noBytes("a.sym")),
			err: damaged("a.sym", ""),
		},
		rule{
			name: "end of an entry: a directory with content, stored", archive: archive.Build(archive.Entry{Name: "a/", Data: []byte("x")}),
			err: damaged("a/", "directory"),
		},
		rule{
			name: "end of an entry: a directory with content, deflated", archive: archive.Build(archive.Entry{Name: "a/", Data: []byte("x"), Method: archive.Deflate}),
			err: damaged("a/", "directory"),
		},
		rule{
			name: "end of an entry: a directory with content, stated as empty", archive: archive.Build(archive.Entry{
				Name: "a/", Data: []byte("x"), Method: archive.Deflate,
				Local:   func(h *archive.LocalHeader) { h.Uncompressed = 0 },
				Central: func(h *archive.CentralHeader) { h.Uncompressed = 0 },
			}),
			err: damaged("a/", "more bytes"),
		},
		rule{
			name: "end of an entry: a directory with content and a descriptor", archive: archive.Build(archive.Entry{
				Name: "a/", Data: []byte("x"), Method: archive.Deflate, Descriptor: archive.Signed32,
			}),
			err: damaged("a/", "directory"),
		},
		rule{
			name: "end of an entry: a directory with content and a descriptor, unlisted", archive: archive.Build(archive.Entry{
				Name: "a/", Data: []byte("x"), Method: archive.Deflate, Descriptor: archive.Signed32, Unlisted: true,
			}),
			err: damaged("a/", "directory"),
		},
		rule{
			name: "end of an entry: a directory with content and a descriptor, spilled", archive: archive.Archive{Prefix: []byte{0}, Entries: []archive.Entry{{
				Name: "a/", Data: []byte("x"), Method: archive.Deflate, Descriptor: archive.Signed32,
			}}}.Bytes(),
			err: damaged("a/", "directory"),
		},
	)
}

// noBytes is a deflated entry without a deflate stream.
func noBytes(name string) archive.Entry {
	return archive.Entry{Name: name, Method: archive.Deflate, Raw: []byte{}}
}

// descriptorRules are about entries with data descriptors.
func descriptorRules() []rule {
	layouts := []struct {
		name   string
		layout archive.DescriptorLayout
	}{
		{"signed, 32 bit", archive.Signed32},
		{"unsigned, 32 bit", archive.Unsigned32},
		{"signed, 64 bit", archive.Signed64},
		{"unsigned, 64 bit", archive.Unsigned64},
	}
	var rules []rule
	add := func(name string, err error, files []file, data []byte) {
		rules = append(rules, rule{name: "descriptor: " + name, archive: data, files: files, err: err})
	}
	empty := func(names ...string) (files []file) {
		for _, name := range names {
			files = append(files, file{name, ""})
		}
		return files
	}
	for _, l := range layouts {
		layout, d := l.name, l.layout
		for _, name := range named {
			label := layout + ", " + name + ": "
			a := with(entry(name), func(e *archive.Entry) { e.Descriptor = d })
			stored := with(a, func(e *archive.Entry) { e.Method, e.LocalSizes = archive.Store, true })
			edit := func(e archive.Entry, change func(*archive.DataDescriptor)) []byte {
				e.DataDescriptor = change
				return archive.Build(e, entry("b.dll"))
			}

			add(label+"before an entry", nil, texts(name, "b.dll"), archive.Build(a, entry("b.dll")))
			add(label+"before the directory", nil, texts("b.dll", name), archive.Build(entry("b.dll"), a))
			add(label+"before the end", nil, nil, archive.Build(with(a, func(e *archive.Entry) { e.Unlisted = true })))
			add(label+"before the zip64 end", nil, nil, archive.Archive{
				Entries: []archive.Entry{with(a, func(e *archive.Entry) { e.Unlisted = true })}, Zip64: true,
			}.Bytes())
			add(label+"another CRC-32", &stream.ChecksumError{Entry: name}, nil, edit(a, func(f *archive.DataDescriptor) { f.CRC32++ }))
			add(label+"another compressed size", damaged(name, "descriptor"), nil, edit(a, func(f *archive.DataDescriptor) { f.Compressed++ }))
			add(label+"another size", damaged(name, "descriptor"), nil, edit(a, func(f *archive.DataDescriptor) { f.Uncompressed++ }))
			add(label+"bytes after it", damaged(name, "descriptor"), nil,
				archive.Build(a, with(entry("b.dll"), func(e *archive.Entry) { e.Gap = []byte("gap!") })))
			add(label+"damaged deflate stream", damaged(name, "damaged"), nil,
				archive.Build(with(a, func(e *archive.Entry) { e.Raw = []byte("\xff\xff\xff") })))
			add(label+"a byte between the deflate stream and it", damaged(name, "descriptor"), nil, archive.Build(
				with(a, func(e *archive.Entry) { e.Raw = append(archive.Compress(archive.Deflate, e.Data), 0) })))

			add(label+"empty, deflated", nil, append(empty(name), texts("b.dll")...), archive.Build(
				archive.Entry{Name: name, Method: archive.Deflate, Descriptor: d}, entry("b.dll")))
			add(label+"empty, stored", nil, append(empty(name), texts("b.dll")...), archive.Build(
				archive.Entry{Name: name, Descriptor: d}, entry("b.dll")))
			add(label+"stored with a size", nil, texts(name, "b.dll"), archive.Build(stored, entry("b.dll")))
			add(label+"stored, another CRC-32", &stream.ChecksumError{Entry: name}, nil, edit(stored, func(f *archive.DataDescriptor) { f.CRC32++ }))
			add(label+"stored, another size", damaged(name, "descriptor"), nil, edit(stored, func(f *archive.DataDescriptor) { f.Compressed++ }))
			add(label+"stored with a size, a byte too small", damaged(name, "descriptor"), nil, archive.Build(with(stored, func(e *archive.Entry) {
				e.Local = func(h *archive.LocalHeader) { h.Compressed--; h.Uncompressed-- }
			}), entry("b.dll")))
			add(label+"stored without a size", nil, texts(name, "b.dll"), archive.Build(
				with(stored, func(e *archive.Entry) { e.LocalSizes = false }), entry("b.dll")))
		}
		add(layout+": a directory", nil, texts("a/a.sym"), archive.Build(archive.Entry{Name: "a/", Descriptor: d}, entry("a/a.sym")))
		add(layout+": a directory, deflated", nil, texts("a/a.sym"), archive.Build(
			archive.Entry{Name: "a/", Method: archive.Deflate, Descriptor: d}, entry("a/a.sym")))
	}
	missing := with(entry("a.sym"), func(e *archive.Entry) { e.Descriptor = archive.MissingDescriptor })
	add("missing", damaged("a.sym", "descriptor"), nil, archive.Build(missing, entry("b.dll")))
	add("missing, stored with a size", damaged("a.sym", "descriptor"), nil, archive.Build(
		with(missing, func(e *archive.Entry) { e.Method, e.LocalSizes = archive.Store, true }), entry("b.dll")))
	add("missing, of an empty file", damaged("a.sym", "descriptor"), nil, archive.Build(
		archive.Entry{Name: "a.sym", Descriptor: archive.MissingDescriptor}, entry("b.dll")))
	add("missing, of a directory", nil, texts("a/a.sym"), archive.Build(
		archive.Entry{Name: "a/", Descriptor: archive.MissingDescriptor}, entry("a/a.sym")))
	add("missing, of a directory at the end", nil, texts("a/a.sym"), archive.Build(
		entry("a/a.sym"), archive.Entry{Name: "a/", Descriptor: archive.MissingDescriptor}))
	add("stored without a size, the archive cut off", zip.ErrNotZip, nil, cutOff(archive.Build(
		with(entry("a.sym"), func(e *archive.Entry) { e.Method, e.Descriptor = archive.Store, archive.Signed32 }))))
	return rules
}

// cutOff cuts off an archive's last byte.
func cutOff(data []byte) []byte { return data[:len(data)-1] }
