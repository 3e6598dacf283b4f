package archive

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"strings"
	"time"
)

// File is a file, or a directory if its name ends in a slash, that a writer
// puts into an archive.
type File struct {
	Name string
	Data []byte
}

// A Writer lays files out as a real program does.
type Writer struct {
	Name  string
	Write func(...File) []byte
}

// Writers write the same bytes as real programs, as far as readers see. All of these archives
// can be read forward.
var Writers = []Writer{
	{"PythonZipfile", PythonZipfile},
	{"PythonPipe", PythonPipe},
	{"PythonForceZip64", PythonForceZip64},
	{"InfoZip", InfoZip},
	{"InfoZipPipe", InfoZipPipe},
	{"SevenZip", SevenZip},
	{"Bsdtar", Bsdtar},
	{"BsdtarZip64", BsdtarZip64},
	{"CommonsCompressZip64", CommonsCompressZip64},
	{"GoWriter", GoWriter},
	{"JavaJar", JavaJar},
	{"RustStreaming", RustStreaming},
}

// Samples returns files of all kinds in symbol archives: symbols, one file of them empty, a
// file that does not compress, a build-symbols.txt, and a directory.
func Samples(seed uint64) []File {
	name := SymbolsName(seed)
	folder := name[:strings.LastIndexByte(name, '/')+1]
	return []File{
		{Name: folder},
		{Name: name, Data: Symbols(seed, 200_000)},
		{Name: folder + moduleName(seed) + ".dbg.gz", Data: Noise(seed, 50_000)},
		{Name: SymbolsName(seed + 1), Data: Symbols(seed+1, 3_000)},
		{Name: SymbolsName(seed + 2)},
		{Name: "build-symbols.txt", Data: []byte("lib.so\n")},
	}
}

// build lays out one entry for each file.
func build(files []File, entry func(File) Entry) []byte {
	var a Archive
	for _, f := range files {
		a.Entries = append(a.Entries, entry(f))
	}
	return a.Bytes()
}

func (f File) directory() bool { return strings.HasSuffix(f.Name, "/") }

// smallest is the method that makes the file smaller, stored if none does.
func (f File) smallest() uint16 {
	if len(Compress(Deflate, f.Data)) < len(f.Data) {
		return Deflate
	}
	return Store
}

// PythonZipfile writes as Python's zipfile.write does into a file: sizes and
// CRC in the local header, everything deflated, empty files too.
func PythonZipfile(files ...File) []byte {
	return build(files, func(f File) Entry {
		if f.directory() {
			return Entry{Name: f.Name}
		}
		return Entry{Name: f.Name, Data: f.Data, Method: Deflate}
	})
}

// PythonPipe writes as Python's zipfile.write does where it cannot seek: data
// descriptors, no sizes in the local header.
func PythonPipe(files ...File) []byte {
	return build(files, func(f File) Entry {
		if f.directory() {
			return Entry{Name: f.Name}
		}
		return Entry{Name: f.Name, Data: f.Data, Method: Deflate, Descriptor: Signed32}
	})
}

// PythonForceZip64 writes as ZipFile.open(name, "w", force_zip64=True) does:
// zip64 sizes in the local header, plain ones in the central directory.
func PythonForceZip64(files ...File) []byte {
	return build(files, func(f File) Entry {
		if f.directory() {
			return Entry{Name: f.Name}
		}
		return Entry{Name: f.Name, Data: f.Data, Method: Deflate, Zip64Local: true}
	})
}

// unixExtras are the extra fields of Info-ZIP and bsdtar: timestamps (0x5455), of which the
// two headers have different numbers, and user and group (0x7875).
func unixExtras(stamps int) []byte {
	times := []byte{byte(1<<stamps - 1)}
	for range stamps {
		times = binary.LittleEndian.AppendUint32(times, 0x6b046b51)
	}
	return append(Extra(0x5455, times), Extra(0x7875, []byte{1, 4, 0, 0, 0, 0, 4, 0, 0, 0, 0})...)
}

// InfoZip writes as Info-ZIP 3.0 does into a file: empty files and those that
// do not compress are stored.
func InfoZip(files ...File) []byte {
	return build(files, func(f File) Entry {
		return Entry{Name: f.Name, Data: f.Data, Method: f.smallest(), LocalExtra: unixExtras(2), CentralExtra: unixExtras(1)}
	})
}

// InfoZipPipe writes as Info-ZIP 3.0 does to a pipe: data descriptors with
// signatures, the uncompressed size in the local header, and empty files stored
// with a descriptor of zeros.
func InfoZipPipe(files ...File) []byte {
	return build(files, func(f File) Entry {
		e := Entry{Name: f.Name, Data: f.Data, LocalExtra: unixExtras(2), CentralExtra: unixExtras(1)}
		if f.directory() {
			return e
		}
		if len(f.Data) > 0 {
			e.Method = Deflate
		}
		e.Descriptor, e.LocalSizes = Signed32, true
		return e
	})
}

// SevenZip writes as 7-Zip does: NTFS times in the central directory only, files that do not
// compress stored.
func SevenZip(files ...File) []byte {
	ntfs := Extra(0x000a, append([]byte{0, 0, 0, 0, 1, 0, 24, 0}, make([]byte, 24)...))
	return build(files, func(f File) Entry {
		return Entry{Name: f.Name, Data: f.Data, Method: f.smallest(), CentralExtra: ntfs}
	})
}

// Bsdtar writes as bsdtar --format zip does: data descriptors with signatures,
// the uncompressed size in the local header, everything deflated, empty files too.
func Bsdtar(files ...File) []byte {
	return build(files, func(f File) Entry {
		e := Entry{Name: f.Name, Data: f.Data, LocalExtra: unixExtras(3), CentralExtra: unixExtras(3)}
		if f.directory() {
			return e
		}
		e.Method, e.Descriptor, e.LocalSizes = Deflate, Signed32, true
		return e
	})
}

// BsdtarZip64 writes as bsdtar --options zip:zip64 does: the uncompressed size in a zip64 extra
// field of the local header, after the other fields, and the compressed size only in the data
// descriptor, which has 64-bit sizes.
func BsdtarZip64(files ...File) []byte {
	a := Archive{Zip64: true}
	for _, f := range files {
		e := Entry{Name: f.Name, Data: f.Data, LocalExtra: unixExtras(3), CentralExtra: unixExtras(3)}
		if !f.directory() {
			e.Method, e.Descriptor = Deflate, Signed64
			e.Local = func(h *LocalHeader) {
				h.Compressed, h.Uncompressed = Sentinel, Sentinel
				h.Extra = append(h.Extra, Zip64Extra(uint64(len(f.Data)), 0)...)
			}
		}
		a.Entries = append(a.Entries, e)
	}
	return a.Bytes()
}

// CommonsCompressZip64 writes as Apache Commons Compress does to a pipe with Zip64Mode.Always:
// folders deflated, with descriptors as well, and in the zip64 extra field of the central
// directory header also the number of the disk, for which nothing asks.
func CommonsCompressZip64(files ...File) []byte {
	a := Archive{Zip64: true}
	for _, f := range files {
		a.Entries = append(a.Entries, Entry{
			Name: f.Name, Data: f.Data, Method: Deflate, Flags: FlagUTF8, Descriptor: Signed64, Zip64Local: true, Zip64Central: true,
			Central: func(h *CentralHeader) { h.Extra = Extra(0x0001, append(h.Extra[4:], 0, 0, 0, 0)) },
		})
	}
	return a.Bytes()
}

// GoWriter writes with the standard library's archive/zip.
func GoWriter(files ...File) []byte {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.Name, Method: zip.Deflate, Modified: time.Date(2026, 7, 1, 12, 30, 0, 0, time.UTC)}
		w, err := z.CreateHeader(h)
		if err == nil && !f.directory() {
			_, err = w.Write(f.Data)
		}
		if err != nil {
			panic(err) // a bytes.Buffer takes all
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// JavaJar writes as the JDK's jar does: first a META-INF/ that is deflated and
// has a data descriptor, then the files, with descriptors and bit 11; empty
// ones and directories are stored without.
func JavaJar(files ...File) []byte {
	cafe := Extra(0xcafe, nil)
	entries := []Entry{{
		Name: "META-INF/", Method: Deflate, Flags: FlagUTF8, Descriptor: Signed32, LocalExtra: cafe, CentralExtra: cafe,
	}}
	for _, f := range files {
		e := Entry{Name: f.Name, Data: f.Data, Flags: FlagUTF8}
		if len(f.Data) > 0 {
			e.Method, e.Descriptor = Deflate, Signed32
		}
		entries = append(entries, e)
	}
	return Build(entries...)
}

// RustStreaming writes as the zip crate's streaming writer does: data
// descriptors with signatures, but for directories, which have bit 3 set and
// no descriptor.
func RustStreaming(files ...File) []byte {
	return build(files, func(f File) Entry {
		if f.directory() {
			return Entry{Name: f.Name, Descriptor: MissingDescriptor}
		}
		return Entry{Name: f.Name, Data: f.Data, Method: Deflate, Descriptor: Signed32}
	})
}
