package zip_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"spillway/stream"
	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/ziptest"
)

// fuzzed reads archives for a fuzz test. If both the reader and archive/zip accept an
// archive, they must read the same from it. Every [ziptest.Reading] checks that nothing of
// the budget stays in use.
type fuzzed struct {
	budget *budget.Budget
}

func newFuzzed(f *testing.F) fuzzed {
	f.Helper()
	return fuzzed{budgettest.New(f)}
}

// read returns the contents that were stored, or nil if the archive was refused.
func (f fuzzed) read(t *testing.T, data []byte) map[string][]byte {
	rules := &stream.Rules{MaxEntries: 100, MaxUncompressed: 4 * mib, Form: ziptest.FormByName}
	s, report, err := ziptest.Reading{Data: data, Budget: f.budget, Rules: rules}.Do(t)
	if err != nil {
		if kept := s.Kept(); len(kept) > 0 {
			t.Errorf("refused with %v, but keeps %q", err, kept[0].Name)
		}
		return nil
	}
	if report.Bytes != int64(len(data)) {
		t.Errorf("took %d bytes of %d", report.Bytes, len(data))
	}
	got := ziptest.Contents(t, s)
	seen, err := ziptest.Reference(data)
	if err != nil {
		return got
	}
	for _, name := range stream.IgnoredNames(report.Ignored) {
		if _, ok := seen[name]; !ok {
			t.Errorf("ignored %q, which archive/zip does not see", name)
		}
		if !strings.HasSuffix(name, "-symbols.txt") {
			t.Errorf("ignored %q", name)
		}
		delete(seen, name)
	}
	ziptest.CheckSame(t, got, seen)
	return got
}

// seedArchives returns the archive of each rule, and one of each writer.
func seedArchives(f *testing.F) (seeds [][]byte) {
	f.Helper()
	for _, r := range allRules() {
		if len(r.archive) < 64<<10 {
			seeds = append(seeds, r.archive)
		}
	}
	for _, w := range archive.Writers {
		samples := archive.Samples(1)
		for i := range samples {
			samples[i].Data = samples[i].Data[:min(len(samples[i].Data), 500)]
		}
		seeds = append(seeds, w.Write(samples...))
	}
	if rules := len(allRules()); len(seeds) < rules*9/10 {
		f.Fatalf("%d seeds of %d rules", len(seeds), rules)
	}
	return append(seeds, mixed().archive)
}

// FuzzRead reads arbitrary bytes.
func FuzzRead(f *testing.F) {
	for _, data := range seedArchives(f) {
		f.Add(data)
	}
	fuzzed := newFuzzed(f)
	f.Fuzz(func(t *testing.T, data []byte) { fuzzed.read(t, data) })
}

// recordSteps are seeds of [changeRecords]: prefixes that offsets count or do not, records in
// comments and in prefixes, and dropped descriptors, mended afterwards or not.
var recordSteps = [][]byte{
	{},
	{4, 100, 'x', 8, 0, 0},
	{4, 100, 'x', 9, 0, 0},
	{4, 200, 'x', 12, 1, 0, 9, 0, 0},
	{11, 4, 60, 9, 0, 0},
	{11, 5, 200, 11, 2, 9, 9, 0, 0},
	{10, 3, 7, 4, 50, 0, 12, 1, 0, 9, 0, 0},
	{12, 0, 0, 3, 1, 0, 8, 0, 0},
	{1, 2, 3, 8, 0, 0},
	{0, 3, 4, 8, 0, 0},
	{2, 1, 4, 5, 2, 0x03, 8, 0, 0},
}

// FuzzRecords moves, doubles, swaps, embeds and shifts whole headers and records.
func FuzzRecords(f *testing.F) {
	for _, data := range seedArchives(f) {
		if len(data) > 4<<10 {
			continue
		}
		for _, steps := range recordSteps {
			f.Add(data, steps)
		}
	}
	fuzzed := newFuzzed(f)
	f.Fuzz(func(t *testing.T, data, steps []byte) {
		if len(data) <= 64<<10 && len(steps) <= 60 {
			fuzzed.read(t, changeRecords(data, steps))
		}
	})
}

// FuzzRanges reads archives in ranges, of which the store has nothing or a part. What is read must
// be judged as if the archive were read forward.
func FuzzRanges(f *testing.F) {
	for i, data := range seedArchives(f) {
		if len(data) <= 4<<10 {
			f.Add(data, recordSteps[i%len(recordSteps)], uint8(i), uint8(i%200))
		}
	}
	m := budgettest.New(f)
	rules := &stream.Rules{MaxEntries: 100, MaxUncompressed: 4 * mib, Form: ziptest.FormByName}
	f.Fuzz(func(t *testing.T, data, steps []byte, which, tail uint8) {
		if len(data) > 64<<10 || len(steps) > 60 {
			return
		}
		data = changeRecords(data, steps)
		forward := readForward(t, m, data, rules)
		source := func() *ziptest.Ranged { return &ziptest.Ranged{Data: data, Tail: min(int(tail), len(data))} }
		checkUnstored(t, m, source(), rules, &forward)
		checkPartly(t, m, source(), rules, &forward, some(uint32(which)%3))
	})
}

// FuzzReconcile combines valid entries with an arbitrary central directory and end record. If
// mended, the end record states the directory's real size and number of entries.
func FuzzReconcile(f *testing.F) {
	var entries [][]byte
	seen := make(map[string]uint16)
	for _, data := range seedArchives(f) {
		at := bytes.Index(data, []byte("PK\x01\x02"))
		if at < 0 || len(data) > 16<<10 {
			continue
		}
		which, ok := seen[string(data[:at])]
		if !ok {
			which = uint16(len(entries))
			seen[string(data[:at])] = which
			entries = append(entries, data[:at])
		}
		f.Add(which, data[at:], false)
	}
	if len(entries) < 20 {
		f.Fatalf("directories of %d kinds of entries", len(entries))
	}
	fuzzed := newFuzzed(f)
	f.Fuzz(func(t *testing.T, which uint16, directory []byte, mended bool) {
		before := entries[int(which)%len(entries)]
		data := append(bytes.Clone(before), directory...)
		if mended {
			mendEnd(data, len(before))
		}
		fuzzed.read(t, data)
	})
}

// mendEnd makes the end record, if there is one, agree with the directory at start.
func mendEnd(data []byte, start int) {
	const length = 22
	end := bytes.LastIndex(data, []byte("PK\x05\x06"))
	if end < start || len(data)-end < length {
		return
	}
	headers := uint16(bytes.Count(data[start:end], []byte("PK\x01\x02")))
	le := binary.LittleEndian
	le.PutUint32(data[end+4:], 0) // disks
	le.PutUint16(data[end+8:], headers)
	le.PutUint16(data[end+10:], headers)
	le.PutUint32(data[end+12:], uint32(end-start))
	le.PutUint32(data[end+16:], uint32(start))
	le.PutUint16(data[end+20:], uint16(len(data)-end-length))
}

// FuzzGzip makes symbol files of arbitrary deflate streams. The archive is refused, or the
// stored object is a gzip member (RFC 1952) of what the standard library decodes. If raw is
// not a deflate stream, it is the content.
func FuzzGzip(f *testing.F) {
	text := archive.Symbols(1, 300)
	for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, flate.BestSpeed, flate.BestCompression} {
		var out bytes.Buffer
		w, err := flate.NewWriter(&out, level)
		for piece := range 3 {
			if err == nil {
				_, err = w.Write(text[piece*100 : piece*100+100])
			}
			if err == nil {
				err = w.Flush()
			}
		}
		if err = errors.Join(err, w.Close()); err != nil {
			f.Fatal(err)
		}
		for _, descriptor := range []bool{false, true} {
			f.Add(out.Bytes(), descriptor)
			f.Add(append(out.Bytes(), 0), descriptor)
			f.Add(out.Bytes()[:out.Len()-1], descriptor)
		}
	}
	f.Add([]byte{3, 0}, false) // nothing
	f.Add([]byte("MODULE Linux x86_64 0A0B a\n"), true)
	f.Add(gzipHeaderAsText(), false)
	fuzzed := newFuzzed(f)
	f.Fuzz(func(t *testing.T, raw []byte, descriptor bool) {
		e := archive.Entry{Name: "a.sym", Method: archive.Deflate}
		if descriptor {
			e.Descriptor = archive.Signed32
		}
		rest := bytes.NewReader(raw)
		complete := true // nothing follows the stream
		var err error
		switch e.Data, err = io.ReadAll(io.LimitReader(flate.NewReader(rest), 64<<10)); {
		case len(e.Data) == 64<<10:
			return // too long
		case err == nil:
			e.Raw, complete = raw, rest.Len() == 0
		default:
			e.Data = raw
		}
		got := fuzzed.read(t, archive.Build(e, archive.Entry{Name: "b.dll", Data: []byte("b")}))
		if accepted := got != nil; accepted != complete {
			t.Fatalf("accepted %t, with %d bytes after the stream", accepted, rest.Len())
		}
		if complete && !bytes.Equal(got["a.sym"], e.Data) {
			t.Fatalf("stored %s, want %s", ziptest.Abridged(got["a.sym"]), ziptest.Abridged(e.Data))
		}
	})
}

// gzipHeaderAsText is content that looks like a gzip member.
func gzipHeaderAsText() []byte {
	return append([]byte(ziptest.GzipHeader), 3, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}
