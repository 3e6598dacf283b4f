package zip_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"spillway/stream"
	"spillway/stream/zip"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/nightly"
	"spillway/testdata/ziptest"
)

const (
	gzipFrame  = 10 + 8  // bytes around the deflate stream of a gzip member
	blockBytes = 65535   // of content in a stored block of deflate (RFC 1951, section 3.2.4)
	blockFrame = 1 + 2*2 // bytes around it
)

// TestBodies reads entries whose bodies have the length of one or two parts, or a byte less or
// more, in every way that a body is filled.
func TestBodies(t *testing.T) {
	lengths := nightly.Pick(
		[]int{0, 1, part - 1, part, part + 1, 2 * part},
		[]int{0, 1, part - 11, part - 10, part - 1, part, part + 1, 2*part - 1, 2 * part, 2*part + 1},
	)
	ways := []struct {
		name       string
		entry      string
		method     uint16
		descriptor bool
	}{
		{"deflated, framed", "a.sym", archive.Deflate, false},
		{"deflated with a descriptor, framed", "a.sym", archive.Deflate, true},
		{"stored, compressed", "a.sym", archive.Store, false},
		{"stored with a descriptor, compressed", "a.sym", archive.Store, true},
		{"stored", "a.dll", archive.Store, false},
		{"stored with a descriptor", "a.dll", archive.Store, true},
		{"deflated, inflated", "a.dll", archive.Deflate, false},
		{"deflated with a descriptor, inflated", "a.dll", archive.Deflate, true},
	}
	m := budgettest.New(t)
	for _, way := range ways {
		for _, length := range lengths {
			t.Run(fmt.Sprintf("%s/%d", way.name, length), func(t *testing.T) {
				e := archive.Entry{Name: way.entry, Method: way.method}
				framed := way.method == archive.Deflate && way.entry == "a.sym"
				if framed {
					e.Data, e.Raw = ziptest.StoredBlocks(max(length, gzipFrame+blockFrame) - gzipFrame)
				} else {
					e.Data = archive.Noise(7, length)
					if way.method == archive.Deflate {
						_, e.Raw = ziptest.StoredBlocks(length + blockFrame*max(1, (length+blockBytes-1)/blockBytes))
					}
				}
				if way.descriptor {
					e.Descriptor, e.LocalSizes = archive.Signed32, true
				}
				s, _, err := ziptest.Reading{Data: archive.Build(e, entry("b.dll")), Budget: m}.Do(t)
				if err != nil {
					t.Fatal(err)
				}
				ziptest.CheckSame(t, ziptest.Contents(t, s), map[string][]byte{way.entry: e.Data, "b.dll": []byte(text("b.dll"))})

				body := s.Kept()[0].Body
				switch {
				case framed:
					deflated := body[10 : len(body)-8]
					if !slices.Equal(deflated, e.Raw) {
						t.Error("the deflate stream was changed")
					}
				case way.entry == "a.dll" && len(body) != length:
					t.Errorf("the body has %d bytes, want %d", len(body), length)
				}
				if s.Kept()[0].Stated == way.descriptor {
					t.Errorf("sizes stated %t, with a descriptor %t", s.Kept()[0].Stated, way.descriptor)
				}
				if held := len(body) <= part; held != s.Kept()[0].Held {
					t.Errorf("a body of %d bytes: held %t, want %t", len(body), !held, held)
				}
			})
		}
	}
}

// TestUnwantedParts has a store that wants no more parts.
func TestUnwantedParts(t *testing.T) {
	for _, e := range ziptest.BigEntries() {
		for after := range 2 {
			t.Run(fmt.Sprintf("%s after %d", e.Name, after), func(t *testing.T) {
				m := budgettest.New(t)
				s := ziptest.NewStore(t, m)
				s.OnPart = func(_ context.Context, o *ziptest.Object) (bool, error) { return o.Parts < after, nil }
				s, _, err := ziptest.Reading{Data: archive.Build(e), Budget: m, Store: s}.Do(t)
				if err != nil {
					t.Fatal(err)
				}
				o := s.Kept()[0]
				if !o.Unwanted || o.Parts != after || o.Facts.Size != int64(len(e.Data)) {
					t.Errorf("%d parts, unwanted %t, %+v", o.Parts, o.Unwanted, o.Facts)
				}
			})
		}
		t.Run(e.Name+", and damaged", func(t *testing.T) {
			m := budgettest.New(t)
			s := ziptest.NewStore(t, m)
			s.OnPart = func(context.Context, *ziptest.Object) (bool, error) { return false, nil }
			e.Central = func(r *archive.CentralHeader) { r.CRC32++ }
			e.Local = func(h *archive.LocalHeader) { h.CRC32++ }
			e.DataDescriptor = func(f *archive.DataDescriptor) { f.CRC32++ }
			_, _, err := ziptest.Reading{Data: archive.Build(e), Budget: m, Store: s}.Do(t)
			ziptest.CheckError(t, err, &stream.ChecksumError{Entry: e.Name})
		})
	}
}

func TestStoreFails(t *testing.T) {
	boom := &stream.StoreError{Op: "UploadPart", Key: "a.sym", Err: errors.New("boom")}
	for _, e := range append(ziptest.BigEntries(), entry("small.sym"), entry("small.dll"), archive.Entry{Name: "empty.sym"}) {
		data := archive.Build(entry("before.sym"), e, entry("after.sym"), entry("after.dll"))
		fail := func(t *testing.T, prepare func(*ziptest.Store)) {
			t.Helper()
			m := budgettest.New(t)
			s := ziptest.NewStore(t, m)
			prepare(s)
			s, _, err := ziptest.Reading{Data: data, Budget: m, Store: s}.Do(t)
			if !errors.Is(err, boom) {
				t.Errorf("the error is %v", err)
			}
			if kept := s.Kept(); len(kept) > 0 {
				t.Errorf("%q is kept", kept[0].Name)
			}
		}
		if len(e.Data) > part {
			for n := range 2 {
				t.Run(fmt.Sprintf("%s, part %d", e.Name, n), func(t *testing.T) {
					fail(t, func(s *ziptest.Store) {
						s.OnPart = func(_ context.Context, o *ziptest.Object) (bool, error) {
							if o.Name == e.Name && o.Parts == n {
								return false, boom
							}
							return true, nil
						}
					})
				})
			}
		}
		t.Run(e.Name+", commit", func(t *testing.T) {
			fail(t, func(s *ziptest.Store) {
				s.OnCommit = func(_ context.Context, o *ziptest.Object) error {
					if o.Name == e.Name {
						return boom
					}
					return nil
				}
			})
		})
	}
}

// TestCommitsComeBeforeReadReturns has a slow store.
func TestCommitsComeBeforeReadReturns(t *testing.T) {
	var entries []archive.Entry
	for i := range 100 {
		entries = append(entries, entry(fmt.Sprintf("%d.sym", i)), entry(fmt.Sprintf("%d.dll", i)))
	}
	data := archive.Build(entries...)
	m := budgettest.New(t)
	s := ziptest.NewStore(t, m)
	begun, last := make(chan struct{}, len(entries)), make(chan struct{})
	s.OnCommit = func(ctx context.Context, o *ziptest.Object) error {
		begun <- struct{}{}
		select {
		case <-last:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	go func() {
		for range 10 { // several at once
			<-begun
		}
		close(last)
	}()
	s, _, err := ziptest.Reading{Data: data, Budget: m, Store: s}.Do(t)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(ziptest.Contents(t, s)); n != len(entries) {
		t.Errorf("%d entries, want %d", n, len(entries))
	}
}

// TestLongEntryTable reads an archive whose entry table is larger than the floor.
func TestLongEntryTable(t *testing.T) {
	var entries []archive.Entry
	want := make(map[string][]byte)
	for i := range 3000 {
		name := fmt.Sprintf("%0200d.dll", i)
		entries = append(entries, archive.Entry{Name: name})
		want[name] = nil
	}
	m := budgettest.New(t)
	rules := &stream.Rules{Form: ziptest.FormByName, MaxEntries: len(entries), MaxUncompressed: 1}
	s := ziptest.NewStore(t, m)
	var grown atomic.Bool
	s.OnCommit = func(context.Context, *ziptest.Object) error {
		if m.Usage().Leased > 0 {
			grown.Store(true)
		}
		return nil
	}
	_, _, err := ziptest.Reading{Data: archive.Build(entries...), Budget: m, Store: s, Rules: rules}.Do(t)
	if err != nil {
		t.Fatal(err)
	}
	ziptest.CheckSame(t, ziptest.Contents(t, s), want)
	if !grown.Load() {
		t.Error("the table was not counted")
	}
}

func TestSymbolFacts(t *testing.T) {
	const module = "MODULE windows x86_64 44E4EC8C2F41492B9369D6B9A059577C2 xul.pdb"
	tests := []struct {
		name, content string
		want          stream.Symbol
	}{
		{"all lines", module + "\nINFO CODE_ID 5F2A xul.dll\nINFO GENERATOR mozilla/dump_syms 2.3.4\nFILE 0 a.c\n", stream.Symbol{
			OS: "windows", Arch: "x86_64", DebugID: "44E4EC8C2F41492B9369D6B9A059577C2", DebugFile: "xul.pdb",
			CodeID: "5F2A", CodeFile: "xul.dll", Generator: "mozilla/dump_syms 2.3.4",
		}},
		{"lines that end with CRLF", module + "\r\nINFO CODE_ID 5F2A xul.dll\r\nINFO GENERATOR g\r\nFILE 0 a.c\r\n", stream.Symbol{
			OS: "windows", Arch: "x86_64", DebugID: "44E4EC8C2F41492B9369D6B9A059577C2", DebugFile: "xul.pdb",
			CodeID: "5F2A", CodeFile: "xul.dll", Generator: "g",
		}},
		{"no newline at the end", "MODULE Linux arm64 0A lib.so\nINFO CODE_ID 0B", stream.Symbol{
			OS: "Linux", Arch: "arm64", DebugID: "0A", DebugFile: "lib.so", CodeID: "0B",
		}},
		{"a file name with spaces", "MODULE mac x86_64 0A Google Chrome\nINFO CODE_ID 0B Google Chrome\n", stream.Symbol{
			OS: "mac", Arch: "x86_64", DebugID: "0A", DebugFile: "Google Chrome", CodeID: "0B", CodeFile: "Google Chrome",
		}},
		{"fields that are missing", "MODULE Linux x86_64\nINFO CODE_ID\n", stream.Symbol{OS: "Linux", Arch: "x86_64"}},
		{"other INFO lines between", "MODULE Linux x86 0A a\nINFO URL https://example.com\nINFO GENERATOR g\n", stream.Symbol{
			OS: "Linux", Arch: "x86", DebugID: "0A", DebugFile: "a", Generator: "g",
		}},
		{"INFO after other records", "MODULE Linux x86 0A a\nFILE 0 a.c\nINFO GENERATOR g\n", stream.Symbol{
			OS: "Linux", Arch: "x86", DebugID: "0A", DebugFile: "a",
		}},
		{"no MODULE at the start", "\nMODULE Linux x86 0A a\n", stream.Symbol{}},
		{"INFO without MODULE", "INFO GENERATOR g\n", stream.Symbol{}},
		{"a second MODULE", "MODULE Linux x86 0A a\nMODULE Linux x86 0B b\n", stream.Symbol{OS: "Linux", Arch: "x86", DebugID: "0A", DebugFile: "a"}},
		{"a line without end", "MODULE Linux x86 0A " + strings.Repeat("a", 1<<20), stream.Symbol{}},
		{"a second line without end", "MODULE Linux x86 0A a\nINFO GENERATOR " + strings.Repeat("g", 1<<20), stream.Symbol{
			OS: "Linux", Arch: "x86", DebugID: "0A", DebugFile: "a",
		}},
		{"nothing", "", stream.Symbol{}},
		{"not text", "\x7fELF\x02\x01\x01\x00", stream.Symbol{}},
	}
	for _, tt := range tests {
		for _, method := range []uint16{archive.Store, archive.Deflate} {
			for _, descriptor := range []archive.DescriptorLayout{archive.NoDescriptor, archive.Signed32} {
				t.Run(fmt.Sprintf("%s/%d/%d", tt.name, method, descriptor), func(t *testing.T) {
					s, _, err := ziptest.Reading{Data: archive.Build(archive.Entry{
						Name: "a.sym", Data: []byte(tt.content), Method: method, Descriptor: descriptor, LocalSizes: true,
					})}.Do(t)
					if err != nil {
						t.Fatal(err)
					}
					if got := s.Kept()[0].Facts.Symbol; got != tt.want {
						t.Errorf("the symbol facts are %+v, want %+v", got, tt.want)
					}
				})
			}
		}
	}
}

func TestReport(t *testing.T) {
	data := archive.Build(archive.Entry{Name: "d/"}, entry("a.sym"), entry("z-symbols.txt"),
		archive.Entry{Name: "big.dll", Data: make([]byte, 5000), Method: archive.Deflate}, entry("a-symbols.txt"))
	_, got, err := ziptest.Reading{Data: data}.Do(t)
	if err != nil {
		t.Fatal(err)
	}
	ignored := func(name string) stream.IgnoredFile {
		return stream.IgnoredFile{Name: name, Size: int64(len(text(name))), CRC32: crc32.ChecksumIEEE([]byte(text(name)))}
	}
	want := stream.Report{
		Bytes: int64(len(data)), Entries: 4, Uncompressed: int64(5000 + len(text("a.sym")+text("z-symbols.txt")+text("a-symbols.txt"))),
		Hashed:       int64(5000 + len(text("a.sym"))), // ignored entries need no MD5
		IgnoredCount: 2, Ignored: []stream.IgnoredFile{ignored("z-symbols.txt"), ignored("a-symbols.txt")}, Biggest: "big.dll", BiggestSize: 5000, At: "a-symbols.txt",
		Kinds: map[string]stream.Kind{
			"sym": {Files: 1, Bytes: int64(len(text("a.sym")))},
			"dll": {Files: 1, Bytes: 5000},
			"txt": {Files: 2, Bytes: int64(len(text("z-symbols.txt") + text("a-symbols.txt")))},
		},
	}
	if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", want) {
		t.Errorf("the report is %+v, want %+v", *got, want)
	}

	// The archive is cut off.
	_, got, err = ziptest.Reading{Data: data[:len(data)/2]}.Do(t)
	if !errors.Is(err, zip.ErrNotZip) || got.Entries == 0 || got.Bytes > int64(len(data)/2) || got.At == "" {
		t.Errorf("%+v: %v", *got, err)
	}
}
