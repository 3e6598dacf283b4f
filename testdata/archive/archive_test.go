package archive

import (
	"archive/zip"
	"bytes"
	"compress/bzip2"
	"compress/zlib"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestWritersAreReadable: the standard library reads every writer's archive.
func TestWritersAreReadable(t *testing.T) {
	files := Samples(1)
	for _, w := range Writers {
		t.Run(w.Name, func(t *testing.T) {
			got := readAll(t, w.Write(files...))
			delete(got, "META-INF/")
			if len(got) != len(files) {
				t.Errorf("%d entries, want %d", len(got), len(files))
			}
			for _, f := range files {
				if data, ok := got[f.Name]; !ok || !bytes.Equal(data, f.Data) {
					t.Errorf("%s: present %v, %d bytes, want %d", f.Name, ok, len(data), len(f.Data))
				}
			}
		})
	}
}

// TestLayoutsAreReadable: the standard library reads every honest layout.
func TestLayoutsAreReadable(t *testing.T) {
	text := Symbols(1, 5000)
	layouts := map[string]Archive{
		"prefix":   {Prefix: Noise(1, 100), Entries: []Entry{{Name: "a", Data: text, Method: Deflate}}},
		"shifted":  {Prefix: Noise(1, 100), OffsetsAfterPrefix: true, Entries: []Entry{{Name: "a", Data: text, Method: Deflate}}},
		"gap":      {Entries: []Entry{{Name: "b"}, {Name: "a", Data: text, Gap: Noise(1, 10)}}},
		"zip64":    {Zip64: true, Entries: []Entry{{Name: "a", Data: text, Zip64Local: true, Zip64Central: true}}},
		"unlisted": {Entries: []Entry{{Name: "a", Data: []byte("old"), Unlisted: true}, {Name: "a", Data: text}}},
		"comments": {Entries: []Entry{{Name: "a", Data: text, Comment: "hm"}}, End: func(e *End) { e.Comment = []byte("hm") }},
	}
	for _, d := range []DescriptorLayout{NoDescriptor, Signed32, Unsigned32, Signed64, Unsigned64} {
		layouts[fmt.Sprint("descriptor ", d)] = Archive{Entries: []Entry{{Name: "a", Data: text, Method: Deflate, Descriptor: d}}}
	}
	for name, a := range layouts {
		t.Run(name, func(t *testing.T) {
			if got := readAll(t, a.Bytes())["a"]; !bytes.Equal(got, text) {
				t.Errorf("a has %d bytes, which differ from the %d that went in", len(got), len(text))
			}
		})
	}
}

// TestPatternsAreContent: a pattern makes the same archive as its content.
func TestPatternsAreContent(t *testing.T) {
	pattern := Pattern{Block: Noise(1, 1000), Times: 70, End: []byte("the end")}
	content, err := io.ReadAll(pattern.Reader())
	if err != nil || int64(len(content)) != pattern.Size() || !bytes.HasSuffix(content, []byte("the end")) {
		t.Fatalf("the content is %d bytes, error %v", len(content), err)
	}
	between := func(e Entry) []byte {
		e.Name, e.Descriptor = "b", Signed32
		return Archive{Zip64: true, Prefix: Noise(2, 10), OffsetsAfterPrefix: true, Entries: []Entry{{Name: "a", Data: content}, e, {Name: "c", Data: content}}}.Bytes()
	}
	for name, e := range map[string][2]Entry{
		"stored": {{Data: content}, {Large: &pattern}},
		"compressed": {
			{Data: content, Method: BZip2, Raw: content[:2000]},
			{Large: &pattern, Method: BZip2, LargeRaw: &Pattern{Block: content[:1000], Times: 2}},
		},
	} {
		if want, got := between(e[0]), between(e[1]); !bytes.Equal(got, want) {
			t.Errorf("%s: the archives differ, of %d and %d bytes", name, len(got), len(want))
		}
	}
}

// TestSpillLayoutsAreReadable: the standard library reads the archives that cannot be read
// forward. Their sizes are about right.
func TestSpillLayoutsAreReadable(t *testing.T) {
	for _, l := range SpillLayouts {
		for _, size := range []int64{10_000, 5 << 20} {
			t.Run(fmt.Sprintf("%s, %d", l.Name, size), func(t *testing.T) {
				a := l.Lay(Mixed(1, size))
				data := a.Bytes()
				if n := int64(len(data)); n < size*9/10 || n > size*11/10+10_000 {
					t.Errorf("the archive has %d bytes, want about %d", n, size)
				}
				got := readAll(t, data)
				if len(got) != len(a.Entries) {
					t.Errorf("%d entries, want %d", len(got), len(a.Entries))
				}
				for _, e := range a.Entries {
					if want, err := io.ReadAll(e.Large.Reader()); err != nil || !bytes.Equal(got[e.Name], want) {
						t.Errorf("%s has %d bytes, which differ from the %d that went in, error %v", e.Name, len(got[e.Name]), len(want), err)
					}
				}
			})
		}
	}
}

func readAll(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	z.RegisterDecompressor(BZip2, func(r io.Reader) io.ReadCloser { return io.NopCloser(bzip2.NewReader(r)) })
	z.RegisterDecompressor(Zstd, zstd.ZipDecompressor())
	all := make(map[string][]byte)
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		if all[f.Name], err = io.ReadAll(r); err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		r.Close()
	}
	return all
}

func TestSymbolsCompressLikeSymbols(t *testing.T) {
	const size = 8 << 20
	text := Symbols(3, size)
	if len(text) != size {
		t.Fatalf("%d bytes, want %d", len(text), size)
	}
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if ratio := float64(size) / float64(out.Len()); ratio < 4.4 || ratio > 4.7 {
		t.Errorf("compresses %.2f times, want 4.4 to 4.7", ratio)
	}
	module := strings.Split(SymbolsName(3), "/")
	want := fmt.Sprintf("MODULE Linux x86_64 %s %s\nINFO CODE_ID ", module[1], module[0])
	if !bytes.HasPrefix(text, []byte(want)) {
		t.Errorf("begins with %q, want %q", text[:100], want)
	}
}

// TestSymbolsAreRepeatable: the same seed makes the same text, and another seed another.
func TestSymbolsAreRepeatable(t *testing.T) {
	want := Symbols(3, 100_000)
	got, err := io.ReadAll(SymbolsReader(3, 100_000))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("SymbolsReader differs from Symbols (error %v)", err)
	}
	if bytes.Equal(Symbols(4, 100_000), want) || bytes.Equal(Noise(1, 100), Noise(2, 100)) {
		t.Error("two seeds made the same text")
	}
}

// TestShapes: an archive has its size, is the same each time, and has sizes in the local
// headers.
func TestShapes(t *testing.T) {
	cache := t.TempDir()
	s, err := Prepare(t.Context(), cache, "small", t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	if s.Files != 144 || s.Bytes < 2_900_000 || s.Bytes > 3_300_000 {
		t.Errorf("small has %d files and %d bytes", s.Files, s.Bytes)
	}
	made, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	if made[6]&8 != 0 { // APPNOTE section 4.4.4, bit 3
		t.Error("the sizes are in data descriptors")
	}
	again, err := Prepare(t.Context(), t.TempDir(), "small", t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(again.Path)
	if err != nil || !bytes.Equal(made, other) {
		t.Errorf("the second archive differs, error %v", err)
	}
	z, err := zip.NewReader(bytes.NewReader(made), int64(len(made)))
	if err != nil {
		t.Fatal(err)
	}
	var compressed, uncompressed uint64
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil { // checks the CRC-32
			t.Errorf("%s: %v", f.Name, err)
		}
		if f.Method == zip.Deflate {
			compressed += f.CompressedSize64
			uncompressed += f.UncompressedSize64
		}
	}
	if ratio := float64(uncompressed) / float64(compressed); ratio < 3.5 || ratio > 5 {
		t.Errorf("the compression ratio is %.2f, want 3.5 to 5", ratio)
	}
	if _, err := Prepare(t.Context(), cache, "none", t.Logf); err == nil {
		t.Error("an unknown archive was made")
	}
}

// TestSplit: the pieces of an archive have its entries, and each ends once it has reached the
// limit.
func TestSplit(t *testing.T) {
	s, err := Prepare(t.Context(), t.TempDir(), "small", t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	const limit = 1 << 20
	paths, err := Split(s, t.TempDir(), limit)
	if err != nil || len(paths) != 3 {
		t.Fatalf("%d pieces, error %v", len(paths), err)
	}
	files := 0
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if size := len(data); i < len(paths)-1 && (size < limit || size > limit+64<<10) {
			t.Errorf("piece %d has %d bytes", i, size)
		}
		files += len(readAll(t, data))
	}
	if files != s.Files {
		t.Errorf("the pieces have %d entries, want %d", files, s.Files)
	}
}
