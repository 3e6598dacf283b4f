package zip_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream"
	"spillway/stream/zip"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/ziptest"
)

const kib = 1 << 10

// laidOut is an archive whose entries are stored, and their offsets, with that of the directory.
type laidOut struct {
	data    []byte
	offsets map[string]int64
}

// layOut makes an archive of names and sizes, such as "a.dll 1000".
func layOut(t *testing.T, files ...string) laidOut {
	t.Helper()
	l := laidOut{offsets: map[string]int64{}}
	var entries []archive.Entry
	at := int64(0)
	for i, f := range files {
		name, size, _ := strings.Cut(f, " ")
		n := 0
		if _, err := fmt.Sscan(size, &n); size != "" && err != nil {
			t.Fatal(err)
		}
		entries = append(entries, archive.Entry{Name: name, Data: archive.Noise(uint64(i), n)})
		l.offsets[name] = at
		at += 30 + int64(len(name)+n)
	}
	l.offsets["directory"] = at
	l.data = archive.Build(entries...)
	return l
}

// TestRangesThatAreRead checks what of an archive is asked for.
func TestRangesThatAreRead(t *testing.T) {
	three := []string{"a.dll 1000000", "b.dll 2000000", "c.dll 3000000"}
	for _, c := range []struct {
		name  string
		files []string
		lacks string   // what the store does not have
		want  []string // ranges, from one name up to the next
	}{
		{"everything is stored", three, "", nil},
		{"nothing is stored", three, "a.dll b.dll c.dll", []string{"a.dll tail"}},
		{"the first", three, "a.dll", []string{"a.dll b.dll"}},
		{"one in the middle", three, "b.dll", []string{"b.dll c.dll"}},
		{"the last", three, "c.dll", []string{"c.dll tail"}},
		{"the first and the last", three, "a.dll c.dll", []string{"a.dll b.dll", "c.dll tail"}},
		{"neighbours", three, "a.dll b.dll", []string{"a.dll c.dll"}},
		{"a gap that is read through", []string{"a.dll 500000", "b.dll 262000", "c.dll 500000"}, "a.dll c.dll", []string{"a.dll tail"}},
		{"a gap that is not", []string{"a.dll 500000", "b.dll 263000", "c.dll 500000"}, "a.dll c.dll", []string{"a.dll b.dll", "c.dll tail"}},
		{"gaps that are read through", []string{"a.dll 500000", "b.dll 200000", "c.dll 5", "d.dll 200000", "e.dll 500000"}, "a.dll c.dll e.dll", []string{"a.dll tail"}},
		{"what is in the tail", []string{"a.dll 500000", "b.dll 1000"}, "b.dll", nil},
		{"a small archive", []string{"a.dll 100", "b.dll 1000"}, "a.dll b.dll", nil},
		{"folders of stored files", []string{"a/", "a/a.dll 900000", "b/", "b/b.dll 900000", "c/"}, "", nil},
		{"a folder of a file", []string{"a/", "a/a.dll 900000", "b/", "b/1/", "b/b.dll 900000", "c/", "c/c.dll 900000"}, "b/b.dll", []string{"b/ c/"}},
		{"folders only", []string{"a/", "b/"}, "", nil},
		{"an ignored file before a stored one", []string{"a-symbols.txt 900000", "b.dll 900000"}, "", nil},
		{"an ignored file before another", []string{"a-symbols.txt 900000", "b.dll 900000"}, "b.dll", []string{"a-symbols.txt tail"}},
		{"an ignored file at the end", []string{"a.dll 900000", "b-symbols.txt 900000"}, "", nil},
		{"an ignored file alone", []string{"b-symbols.txt 900000"}, "", []string{"b-symbols.txt tail"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := layOut(t, c.files...)
			l.offsets["tail"] = max(0, int64(len(l.data)-zip.TailSize))
			lacks := strings.Fields(c.lacks)
			source := &ziptest.Ranged{Data: l.data, Tail: min(zip.TailSize, len(l.data))}
			r := readRanged(t, budgettest.New(t), source, nil, func(name string) bool { return !slices.Contains(lacks, name) })
			if r.err != nil || source.Rewound() {
				t.Fatalf("%v, read from its start: %t", r.err, source.Rewound())
			}
			if got := slices.Sorted(maps.Keys(r.contents)); !slices.Equal(got, lacks) {
				t.Errorf("stored %q, want %q", got, lacks)
			}
			var want []ziptest.Span
			for _, span := range c.want {
				from, to, _ := strings.Cut(span, " ")
				end := l.offsets[to]
				if to != "tail" {
					end += 4 // the next signature
				}
				want = append(want, ziptest.Span{From: l.offsets[from], To: end})
			}
			if got := source.Requests(); !slices.Equal(got, want) {
				t.Errorf("asked for %v, want %v", got, want)
			}
		})
	}
}

// TestLongDirectory reads a directory that is longer than the tail: it takes one more range.
func TestLongDirectory(t *testing.T) {
	var entries []archive.Entry
	for n := range uint64(900) {
		entries = append(entries, archive.Entry{Name: archive.SymbolsName(n) + strings.Repeat("x", 100), Data: archive.Noise(n, 100)})
	}
	data := archive.Build(entries...)
	directory := int64(indexFirst(data, "PK\x01\x02"))
	source := &ziptest.Ranged{Data: data, Tail: zip.TailSize}
	r := readRanged(t, budgettest.New(t), source, nil, func(string) bool { return true })
	want := []ziptest.Span{{From: directory, To: int64(len(data) - zip.TailSize)}}
	if got := source.Requests(); r.err != nil || r.unread != len(entries) || !slices.Equal(got, want) {
		t.Errorf("asked for %v, want %v: %v", got, want, r.err)
	}
}

// TestRangesWhileLookedUp has a store that takes its time. What it has answered is read meanwhile,
// in ranges of 8 MiB or more, and it is asked for everything at once.
func TestRangesWhileLookedUp(t *testing.T) {
	var files []string
	for n := range 400 {
		files = append(files, fmt.Sprintf("%03d.dll 150000", n))
	}
	l := layOut(t, files...)
	synctest.Test(t, func(t *testing.T) {
		m := budgettest.New(t)
		s := ziptest.NewStore(t, m)
		s.Discard = true
		var atOnce, most atomic.Int64
		s.FindEntry = func(stream.Entry) (stream.Found, error) {
			n := atOnce.Add(1)
			for was := most.Load(); was < n && !most.CompareAndSwap(was, n); was = most.Load() {
			}
			time.Sleep(20 * time.Millisecond)
			atOnce.Add(-1)
			return stream.Absent, nil
		}
		source := &ziptest.Ranged{Data: l.data, Tail: zip.TailSize}
		began := time.Now()
		_, _, err := ziptest.Reading{Source: source, Budget: m, Store: s}.Do(t)
		if err != nil || source.Rewound() {
			t.Fatal(err)
		}
		requests := source.Requests()
		for i, r := range requests[:len(requests)-1] {
			if r.To-r.From < 8*mib || requests[i+1].From != r.To {
				t.Errorf("asked for %v", requests)
			}
		}
		if took := time.Since(began); most.Load() != 64 || took > 140*time.Millisecond || len(requests) < 2 {
			t.Errorf("%d lookups at once, %v, %d requests", most.Load(), took, len(requests))
		}
	})
}

// TestUndecided: what only an MD5 can decide is read, and looked up once more.
func TestUndecided(t *testing.T) {
	l := layOut(t, "a.dll 500000", "b.dll 500000", "c.dll 500000")
	m := budgettest.New(t)
	s := ziptest.NewStore(t, m)
	s.FindEntry = func(e stream.Entry) (stream.Found, error) {
		return map[string]stream.Found{"a.dll": stream.Absent, "b.dll": stream.Undecided, "c.dll": stream.Present}[e.Name], nil
	}
	s, report, err := ziptest.Reading{Source: &ziptest.Ranged{Data: l.data}, Budget: m, Store: s}.Do(t)
	if err != nil || report.Unread != 1 {
		t.Fatalf("%+v: %v", report, err)
	}
	for _, o := range s.Kept() {
		if (o.Found == stream.Absent) != (o.Name == "a.dll") || !o.Stated {
			t.Errorf("%+v", o.Entry)
		}
	}
}

// TestSourceThatChanges has a source that gives no more ranges, after any number of bytes. The
// archive that is there then is stored, whatever has been read of the other.
func TestSourceThatChanges(t *testing.T) {
	old := layOut(t, "a.dll 300000", "b.dll 300000", "c.dll 6000000", "d.dll 300000")
	others := map[string][]byte{
		"the same archive": old.data,
		"another one":      archive.Build(archive.Entry{Name: "c.dll", Data: archive.Noise(50, 10)}, archive.Entry{Name: "x.sym", Data: archive.Symbols(51, 10_000)}),
		"a bad one":        archive.Build(archive.Entry{Name: "a.dll", Data: []byte("a")}, with(entry("b.dll"), func(e *archive.Entry) { e.Local = func(h *archive.LocalHeader) { h.CRC32++ } })),
		"none":             []byte("<html>"),
	}
	random := rand.New(rand.NewPCG(7, 8))
	for name, data := range others {
		t.Run(name, func(t *testing.T) {
			m := budgettest.New(t)
			forward := readForward(t, m, data, nil)
			for run := range 20 {
				source := &ziptest.Ranged{Data: old.data, Tail: zip.TailSize, New: data}
				source.Fault = func(n int, from, to int64) (int, error) {
					if n < 1+run%2 {
						return 0, nil
					}
					return random.IntN(int(to - from)), fmt.Errorf("changed: %w", stream.ErrRanges)
				}
				// The store had b.dll, and has it no more.
				r := readRanged(t, m, source, nil, func(name string) bool { return name == "b.dll" })
				if r.text() != forward.text() || !source.Rewound() || len(r.skipped) > 0 || r.unread > 0 {
					t.Fatalf("%+v, %q; want %q", r, r.text(), forward.text())
				}
				if r.err == nil {
					ziptest.CheckSame(t, r.contents, forward.contents)
				}
			}
		})
	}
}

// TestSourceThatBreaks: other errors of the source, and of the store, end the reading.
func TestSourceThatBreaks(t *testing.T) {
	l := layOut(t, "a.dll 300000", "b.dll 300000")
	gone, boom := errors.New("gone"), &stream.StoreError{Op: "HeadObject", Err: errors.New("boom")}
	source := &ziptest.Ranged{Data: l.data, Fault: func(int, int64, int64) (int, error) { return 1000, gone }}
	if r := readRanged(t, budgettest.New(t), source, nil, nothing); !errors.Is(r.err, gone) || source.Rewound() {
		t.Errorf("%v, read from its start: %t", r.err, source.Rewound())
	}
	m := budgettest.New(t)
	s := ziptest.NewStore(t, m)
	s.FindEntry = func(stream.Entry) (stream.Found, error) { return stream.Undecided, boom }
	source = &ziptest.Ranged{Data: l.data}
	if _, _, err := (ziptest.Reading{Source: source, Budget: m, Store: s}).Do(t); !errors.Is(err, boom) || source.Rewound() {
		t.Errorf("%v, read from its start: %t", err, source.Rewound())
	}
}

// TestLimitsOnWhatIsRead: what is not read pays for nothing. A noisy file makes up for files that
// expand much, but not if the store has it: whoever uploads need not have sent it.
func TestLimitsOnWhatIsRead(t *testing.T) {
	zeros := make([]byte, 12*mib)
	raw := archive.Compress(archive.Deflate, zeros)
	// With a descriptor, it is decoded before the others begin.
	entries := []archive.Entry{{Name: "noise.dll", Data: archive.Noise(1, 200*kib), Method: archive.Deflate, Descriptor: archive.Signed32}}
	for n := range 2 {
		entries = append(entries, archive.Entry{Name: fmt.Sprintf("%d.sym", n), Data: zeros, Raw: raw, Method: archive.Deflate})
	}
	data, m := archive.Build(entries...), budgettest.New(t)
	if r := readForward(t, m, data, nil); r.err != nil {
		t.Fatal(r.err)
	}
	if r := readRanged(t, m, &ziptest.Ranged{Data: data}, nil, nothing); r.err != nil {
		t.Errorf("nothing is stored: %v", r.err)
	}
	r := readRanged(t, m, &ziptest.Ranged{Data: data}, nil, func(name string) bool { return name == "noise.dll" })
	if _, ok := errors.AsType[*stream.LimitError](r.err); !ok {
		t.Errorf("the noise is stored: %s", r.text())
	}
	rules := ziptest.Ordinary
	rules.MaxUncompressed = 20 * mib
	source := &ziptest.Ranged{Data: data}
	r = readRanged(t, m, source, &rules, func(name string) bool { return name != "0.sym" })
	if want := (stream.LimitError{What: stream.UncompressedBound, Limit: 20 * mib}); !source.Rewound() || r.text() != fmt.Sprintf("%T %v", &want, &want) {
		t.Errorf("most is stored: %s", r.text())
	}
}

// TestTableOfTwoReadings reads an archive forward after its directory. Its table, and the largest
// decoder, just fit into the ticket: the table is counted once.
func TestTableOfTwoReadings(t *testing.T) {
	var entries []archive.Entry
	for n := range 990 {
		entries = append(entries, archive.Entry{Name: fmt.Sprintf("%03d.dll%s", n, strings.Repeat("x", 1000))})
	}
	entries = append(entries, archive.Entry{Name: "z.sym", Data: archive.Symbols(1, 1000), Method: archive.Zstd})
	data := archive.Archive{Entries: entries, BeforeDirectory: make([]byte, 70*kib)}.Bytes()
	source := &ziptest.Ranged{Data: data}
	_, report, err := ziptest.Reading{Source: source, Budget: budgettest.NewWithDisk(t)}.Do(t)
	if err != nil || !source.Rewound() || report.Entries != len(entries) || report.Bytes != int64(len(data)) {
		t.Errorf("%+v, %v", report, err)
	}
}
