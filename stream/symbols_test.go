package stream_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"spillway/stream"
	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/ziptest"
)

// TestSymbols reads archives with files of all kinds, and asks what their symbol files state.
func TestSymbols(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	files := []struct {
		name, text string
		want       stream.Symbol
	}{
		{"windows.sym", "MODULE windows x86 A1 a b.pdb\nINFO CODE_ID 5CF2 a.dll\nINFO GENERATOR mozilla/dump_syms 2.3.4\nFILE 0 a.c\n", stream.Symbol{
			DebugID: "A1", DebugFile: "a b.pdb", CodeID: "5CF2", CodeFile: "a.dll", Generator: "mozilla/dump_syms 2.3.4",
		}},
		{"linux.sym", "MODULE Linux x86_64 B2 libb.so\r\nINFO CODE_ID deadbeef\r\nPUBLIC 0 0 f\r\n", stream.Symbol{DebugID: "B2", DebugFile: "libb.so", CodeID: "deadbeef"}},
		{"ignored-symbols.txt", "MODULE Linux x86_64 C3 c\n", stream.Symbol{}},
		{"binary.dll", "MZ\x00\n", stream.Symbol{}},
		{"a.dll", "MODULE Linux x86_64 D4 d\n", stream.Symbol{DebugID: "D4", DebugFile: "d"}},
		{"late.sym", "INFO CODE_ID deadbeef\nMODULE Linux x86_64 E5 e\n", stream.Symbol{}},
		{"cut.sym", "MODULE Linux x86_64 F6 f\nINFO CODE_ID 1", stream.Symbol{DebugID: "F6", DebugFile: "f", CodeID: "1"}},
		{"empty.sym", "", stream.Symbol{}},
		{"longest.sym", fmt.Sprintf("MODULE a b %s %s\nINFO CODE_ID %s %s\nINFO GENERATOR %s\n", long(64), long(255), long(64), long(255), long(100)), stream.Symbol{
			DebugID: long(64), DebugFile: long(255), CodeID: long(64), CodeFile: long(255), Generator: long(100),
		}},
		{"longer.sym", fmt.Sprintf("MODULE a b %s %s\nINFO CODE_ID %s %s\nINFO GENERATOR %s\n", long(65), long(256), long(65), long(256), long(101)), stream.Symbol{}},
		{"partly.sym", fmt.Sprintf("MODULE a b AB %s\nINFO CODE_ID %s c\n", long(256), long(65)), stream.Symbol{DebugID: "AB", CodeFile: "c"}},
		{"binary.sym", "MODULE \xff\x00 b A\x00B \xff\xfe\n", stream.Symbol{DebugID: "A\x00B", DebugFile: "\xff\xfe"}},
		{"head.sym", "MODULE a b AC d\nINFO GENERATOR " + long(4<<10) + "\n", stream.Symbol{DebugID: "AC", DebugFile: "d"}},
	}
	for _, descriptor := range []archive.DescriptorLayout{archive.NoDescriptor, archive.Signed32} {
		symbols := new(stream.Symbols)
		rules := ziptest.Ordinary
		rules.Symbols = symbols
		entries := []archive.Entry{{Name: "folder/"}}
		for _, f := range files {
			entries = append(entries, archive.Entry{Name: f.name, Data: []byte(f.text), Method: archive.Deflate, Descriptor: descriptor})
		}
		if _, _, err := (ziptest.Reading{Data: archive.Build(entries...), Rules: &rules}).Do(t); err != nil {
			t.Fatal(err)
		}
		object := 0
		for _, f := range files {
			if strings.HasSuffix(f.name, "-symbols.txt") {
				continue
			}
			if got := symbols.At(object); got != f.want {
				t.Errorf("%s: %+v, want %+v", f.name, got, f.want)
			}
			object++
		}
	}
}

// TestSymbolsInTheBudget reads archives of many entries. What symbol files state counts as
// part of the entry table; what they might have stated is given back. So 1,500 entries with
// short headers need no ticket, and the ticket has room for the longest.
func TestSymbolsInTheBudget(t *testing.T) {
	const count = 1500
	room := func(c *budget.Config) { c.Needs = stream.Needs(count, true) }
	header := func(n, bytes int) string {
		text := fmt.Sprintf("%0*d", bytes, n)
		return fmt.Sprintf("MODULE a b %.64s %.255s\nINFO CODE_ID %.64s %.255s\nINFO GENERATOR %.100s\n", text, text, text, text, text)
	}
	for _, test := range []struct {
		name         string
		named, bytes int // lengths of each name and of each field
		ticket       bool
	}{{"no symbol files", 80, 0, false}, {"short", 80, 10, false}, {"long headers", 20, 255, true}, {"the longest", 1000, 255, true}} {
		t.Run(test.name, func(t *testing.T) {
			entries := make([]archive.Entry, count)
			for i := range entries {
				entries[i] = archive.Entry{Name: fmt.Sprintf("%0*d.sym", test.named-4, i), Method: archive.Deflate}
				if test.bytes > 0 {
					entries[i].Data = []byte(header(i, test.bytes))
				}
			}
			m := budgettest.New(t, room)
			symbols := new(stream.Symbols)
			rules := stream.Rules{Form: ziptest.FormByName, MaxEntries: count, MaxUncompressed: 64 * mib, Symbols: symbols}
			var ticket atomic.Bool
			store := ziptest.NewStore(t, m)
			store.Discard = true
			store.OnCommit = func(_ context.Context, o *ziptest.Object) error {
				if o.Name == entries[count-1].Name {
					ticket.Store(m.Usage().Leased > 0)
				}
				return nil
			}
			if _, _, err := (ziptest.Reading{Data: archive.Build(entries...), Budget: m, Rules: &rules, Store: store}).Do(t); err != nil {
				t.Fatal(err)
			}
			if ticket.Load() != test.ticket {
				t.Errorf("a ticket was taken: %v", ticket.Load())
			}
			for i := range count {
				if got := symbols.At(i).DebugFile; test.bytes > 0 && got != fmt.Sprintf("%.255s", fmt.Sprintf("%0*d", test.bytes, i)) {
					t.Fatalf("entry %d: %q", i, got)
				}
			}
		})
	}
}
