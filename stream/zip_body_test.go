package stream_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"spillway/stream"
	"spillway/testdata/archive"
)

const (
	gzipFrame  = 10 + 8  // bytes around the deflate stream of a gzip member
	blockBytes = 65535   // of content in a stored block of deflate (RFC 1951, section 3.2.4)
	blockFrame = 1 + 2*2 // bytes around it
)

// storedBlocks returns content and a deflate stream of n bytes of it, all in
// stored blocks.
func storedBlocks(n int) (content, raw []byte) {
	blocks := max(1, (n+blockFrame+blockBytes-1)/(blockFrame+blockBytes))
	content = archive.Noise(7, n-blocks*blockFrame)
	left := content
	for i := range blocks {
		size := min(len(left), blockBytes)
		final := byte(0)
		if i == blocks-1 {
			final = 1
		}
		raw = append(raw, final)
		raw = binary.LittleEndian.AppendUint16(raw, uint16(size))
		raw = binary.LittleEndian.AppendUint16(raw, ^uint16(size))
		raw = append(raw, left[:size]...)
		left = left[size:]
	}
	return content, raw
}

// TestBodies reads entries whose bodies are as long as some parts, or a byte
// less or more, on every way that a body is made.
func TestBodies(t *testing.T) {
	lengths := []int{0, 1, part - 11, part - 10, part - 1, part, part + 1, 2*part - 1, 2 * part, 2*part + 1}
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
	m := newMemory(t)
	for _, way := range ways {
		for _, length := range lengths {
			t.Run(fmt.Sprintf("%s/%d", way.name, length), func(t *testing.T) {
				e := archive.Entry{Name: way.entry, Method: way.method}
				framed := way.method == archive.Deflate && way.entry == "a.sym"
				if framed {
					e.Data, e.Raw = storedBlocks(max(length, gzipFrame+blockFrame) - gzipFrame)
				} else {
					e.Data = archive.Noise(7, length)
					if way.method == archive.Deflate {
						_, e.Raw = storedBlocks(length + blockFrame*max(1, (length+blockBytes-1)/blockBytes))
					}
				}
				if way.descriptor {
					e.Descriptor, e.LocalSizes = archive.Signed32, true
				}
				s, _, err := reading{data: archive.Build(e, entry("b.dll")), memory: m}.do(t)
				if err != nil {
					t.Fatal(err)
				}
				checkSame(t, contents(t, s), map[string][]byte{way.entry: e.Data, "b.dll": []byte(text("b.dll"))})

				body := s.kept()[0].body
				switch {
				case framed:
					deflated := body[10 : len(body)-8]
					if !slices.Equal(deflated, e.Raw) {
						t.Error("the deflate stream was changed")
					}
				case way.entry == "a.dll" && len(body) != length:
					t.Errorf("the body has %d bytes", len(body))
				}
				if s.kept()[0].Stated == way.descriptor {
					t.Errorf("stated %t with descriptor %t", s.kept()[0].Stated, way.descriptor)
				}
				if whole := len(body) <= part; whole != s.kept()[0].held {
					t.Errorf("of %d bytes, held %t although there was room", len(body), !whole)
				}
			})
		}
	}
}

// bigEntries are entries of two parts and a rest, one of each way that parts are
// made.
func bigEntries() []archive.Entry {
	content, raw := storedBlocks(2*part + part/2)
	return []archive.Entry{
		{Name: "framed.sym", Data: content, Raw: raw, Method: archive.Deflate},
		{Name: "compressed.sym", Data: content},
		{Name: "stored.dll", Data: content},
		{Name: "inflated.dll", Data: content, Raw: raw, Method: archive.Deflate},
		{Name: "described.sym", Data: content, Raw: raw, Method: archive.Deflate, Descriptor: archive.Signed32},
	}
}

func TestPartsThatAreNotWanted(t *testing.T) {
	for _, e := range bigEntries() {
		for after := range 2 {
			t.Run(fmt.Sprintf("%s after %d", e.Name, after), func(t *testing.T) {
				m := newMemory(t)
				s := newStore(t, m)
				s.onPart = func(_ context.Context, o *object) (bool, error) { return o.parts < after, nil }
				s, _, err := reading{data: archive.Build(e), memory: m, store: s}.do(t)
				if err != nil {
					t.Fatal(err)
				}
				o := s.kept()[0]
				if !o.unwanted || o.parts != after || o.facts.Size != int64(len(e.Data)) {
					t.Errorf("%d parts, unwanted %t, %+v", o.parts, o.unwanted, o.facts)
				}
			})
		}
		t.Run(e.Name+", and damaged", func(t *testing.T) {
			m := newMemory(t)
			s := newStore(t, m)
			s.onPart = func(context.Context, *object) (bool, error) { return false, nil }
			e.Row = func(r *archive.Row) { r.CRC32++ }
			e.Local = func(h *archive.LocalHeader) { h.CRC32++ }
			e.Footer = func(f *archive.Footer) { f.CRC32++ }
			_, _, err := reading{data: archive.Build(e), memory: m, store: s}.do(t)
			checkError(t, err, &stream.ChecksumError{Entry: e.Name})
		})
	}
}

func TestStoreFails(t *testing.T) {
	boom := &stream.StoreError{Op: "UploadPart", Key: "a.sym", Err: errors.New("boom")}
	for _, e := range append(bigEntries(), entry("small.sym"), entry("small.dll"), archive.Entry{Name: "empty.sym"}) {
		data := archive.Build(entry("before.sym"), e, entry("behind.sym"), entry("behind.dll"))
		fail := func(t *testing.T, prepare func(*store)) {
			t.Helper()
			m := newMemory(t)
			s := newStore(t, m)
			prepare(s)
			s, _, err := reading{data: data, memory: m, store: s}.do(t)
			if !errors.Is(err, boom) {
				t.Errorf("the error is %v", err)
			}
			if kept := s.kept(); len(kept) > 0 {
				t.Errorf("%q is kept", kept[0].Name)
			}
		}
		if len(e.Data) > part {
			for n := range 2 {
				t.Run(fmt.Sprintf("%s, part %d", e.Name, n), func(t *testing.T) {
					fail(t, func(s *store) {
						s.onPart = func(_ context.Context, o *object) (bool, error) {
							if o.Name == e.Name && o.parts == n {
								return false, boom
							}
							return true, nil
						}
					})
				})
			}
		}
		t.Run(e.Name+", commit", func(t *testing.T) {
			fail(t, func(s *store) {
				s.onCommit = func(_ context.Context, o *object) error {
					if o.Name == e.Name {
						return boom
					}
					return nil
				}
			})
		})
	}
}

// TestCommitsComeBeforeReadZipReturns lets the store take its time.
func TestCommitsComeBeforeReadZipReturns(t *testing.T) {
	var entries []archive.Entry
	for i := range 100 {
		entries = append(entries, entry(fmt.Sprintf("%d.sym", i)), entry(fmt.Sprintf("%d.dll", i)))
	}
	data := archive.Build(entries...)
	m := newMemory(t)
	s := newStore(t, m)
	begun, last := make(chan struct{}, len(entries)), make(chan struct{})
	s.onCommit = func(ctx context.Context, o *object) error {
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
	s, _, err := reading{data: data, memory: m, store: s}.do(t)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(contents(t, s)); n != len(entries) {
		t.Errorf("%d entries, want %d", n, len(entries))
	}
}

// TestLongEntryTable reads an archive whose table outgrows the floor.
func TestLongEntryTable(t *testing.T) {
	var entries []archive.Entry
	want := make(map[string][]byte)
	for i := range 3000 {
		name := fmt.Sprintf("%0200d.dll", i)
		entries = append(entries, archive.Entry{Name: name})
		want[name] = nil
	}
	m := newMemory(t)
	rules := &stream.Rules{Form: formByName, MaxEntries: len(entries), MaxExpanded: 1}
	s := newStore(t, m)
	var grown atomic.Bool
	s.onCommit = func(context.Context, *object) error {
		if m.Usage().Leased > 0 {
			grown.Store(true)
		}
		return nil
	}
	_, _, err := reading{data: archive.Build(entries...), memory: m, store: s, rules: rules}.do(t)
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, contents(t, s), want)
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
		{"no end of the last line", "MODULE Linux arm64 0A lib.so\nINFO CODE_ID 0B", stream.Symbol{
			OS: "Linux", Arch: "arm64", DebugID: "0A", DebugFile: "lib.so", CodeID: "0B",
		}},
		{"a file name with spaces", "MODULE mac x86_64 0A Google Chrome\nINFO CODE_ID 0B Google Chrome\n", stream.Symbol{
			OS: "mac", Arch: "x86_64", DebugID: "0A", DebugFile: "Google Chrome", CodeID: "0B", CodeFile: "Google Chrome",
		}},
		{"fields that are missing", "MODULE Linux x86_64\nINFO CODE_ID\n", stream.Symbol{OS: "Linux", Arch: "x86_64"}},
		{"other INFO lines between", "MODULE Linux x86 0A a\nINFO URL https://example.com\nINFO GENERATOR g\n", stream.Symbol{
			OS: "Linux", Arch: "x86", DebugID: "0A", DebugFile: "a", Generator: "g",
		}},
		{"INFO behind other records", "MODULE Linux x86 0A a\nFILE 0 a.c\nINFO GENERATOR g\n", stream.Symbol{
			OS: "Linux", Arch: "x86", DebugID: "0A", DebugFile: "a",
		}},
		{"no MODULE at the start", "\nMODULE Linux x86 0A a\n", stream.Symbol{}},
		{"INFO without MODULE", "INFO GENERATOR g\n", stream.Symbol{}},
		{"a second MODULE", "MODULE Linux x86 0A a\nMODULE Linux x86 0B b\n", stream.Symbol{OS: "Linux", Arch: "x86", DebugID: "0A", DebugFile: "a"}},
		{"an unending line", "MODULE Linux x86 0A " + strings.Repeat("a", 1<<20), stream.Symbol{}},
		{"an unending second line", "MODULE Linux x86 0A a\nINFO GENERATOR " + strings.Repeat("g", 1<<20), stream.Symbol{
			OS: "Linux", Arch: "x86", DebugID: "0A", DebugFile: "a",
		}},
		{"nothing", "", stream.Symbol{}},
		{"no text", "\x7fELF\x02\x01\x01\x00", stream.Symbol{}},
	}
	for _, tt := range tests {
		for _, method := range []uint16{archive.Store, archive.Deflate} {
			for _, descriptor := range []archive.Descriptor{archive.NoDescriptor, archive.Signed32} {
				t.Run(fmt.Sprintf("%s/%d/%d", tt.name, method, descriptor), func(t *testing.T) {
					s, _, err := reading{data: archive.Build(archive.Entry{
						Name: "a.sym", Data: []byte(tt.content), Method: method, Descriptor: descriptor, LocalSizes: true,
					})}.do(t)
					if err != nil {
						t.Fatal(err)
					}
					if got := s.kept()[0].facts.Symbol; got != tt.want {
						t.Errorf("the file says %+v, want %+v", got, tt.want)
					}
				})
			}
		}
	}
}

func TestReport(t *testing.T) {
	data := archive.Build(archive.Entry{Name: "d/"}, entry("a.sym"), entry("z-symbols.txt"),
		archive.Entry{Name: "big.dll", Data: make([]byte, 5000), Method: archive.Deflate}, entry("a-symbols.txt"))
	_, got, err := reading{data: data}.do(t)
	if err != nil {
		t.Fatal(err)
	}
	want := stream.Report{
		Bytes: int64(len(data)), Entries: 4, Expanded: int64(5000 + len(text("a.sym")+text("z-symbols.txt")+text("a-symbols.txt"))),
		Ignored: []string{"z-symbols.txt", "a-symbols.txt"}, Biggest: "big.dll", BiggestSize: 5000, At: "a-symbols.txt",
		Kinds: map[string]stream.Kind{
			"sym": {Files: 1, Bytes: int64(len(text("a.sym")))},
			"dll": {Files: 1, Bytes: 5000},
			"txt": {Files: 2, Bytes: int64(len(text("z-symbols.txt") + text("a-symbols.txt")))},
		},
	}
	if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", want) {
		t.Errorf("the report is %+v, want %+v", *got, want)
	}

	// As far as it was read.
	_, got, err = reading{data: data[:len(data)/2]}.do(t)
	if !errors.Is(err, stream.ErrNotZip) || got.Entries == 0 || got.Bytes > int64(len(data)/2) || got.At == "" {
		t.Errorf("%+v: %v", *got, err)
	}
}
