package zip_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"spillway/stream"
	"spillway/stream/zip"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/ziptest"
)

// readers return the same bytes in different pieces.
var readers = []struct {
	name string
	wrap func(io.Reader) io.Reader
}{
	{"one byte at a time", iotest.OneByteReader},
	{"half of what is asked for", iotest.HalfReader},
	{"the last bytes with the end", iotest.DataErrReader},
}

// TestZipRulesInPieces reads the archive of every rule in pieces.
func TestZipRulesInPieces(t *testing.T) {
	m := budgettest.New(t)
	for _, reader := range readers {
		t.Run(reader.name, func(t *testing.T) {
			for _, r := range allRules() {
				t.Run(r.name, func(t *testing.T) {
					s, report, err := ziptest.Reading{Source: reader.wrap(bytes.NewReader(r.archive)), Budget: m, Rules: r.limits}.Do(t)
					r.check(t, s, report, err)
				})
			}
		})
	}
}

// mixed returns an archive of less than 3 KB with an entry of every kind.
func mixed() rule {
	withDescriptor := func(name string, d archive.DescriptorLayout) archive.Entry {
		return with(entry(name), func(e *archive.Entry) { e.Descriptor = d })
	}
	r := rule{archive: archive.Archive{
		Entries: []archive.Entry{
			{Name: "d/"},
			entry("d/a.sym"),
			withDescriptor("d/b.sym", archive.Signed32),
			withDescriptor("d/c.dll", archive.Unsigned64),
			with(entry("d/stored.sym"), func(e *archive.Entry) { e.Method = archive.Store }),
			with(entry("d/stored.dll"), func(e *archive.Entry) { e.Method = archive.Store }),
			with(withDescriptor("d/sized.dll", archive.Signed32), func(e *archive.Entry) { e.Method, e.LocalSizes = archive.Store, true }),
			with(entry("d/zstd.dll"), func(e *archive.Entry) { e.Method = archive.Zstd }),
			with(entry("d/wide.dll"), func(e *archive.Entry) { e.Zip64Local, e.Zip64Central = true, true }),
			with(entry("é.sym"), func(e *archive.Entry) { e.Flags, e.Comment = archive.FlagUTF8, "comment" }),
			{Name: "d/empty.sym", Descriptor: archive.Signed32},
			entry("build-symbols.txt"),
		},
		Zip64: true,
		End:   func(e *archive.End) { e.Comment = []byte("made by a test") },
	}.Bytes()}
	r.files = append(texts("d/a.sym", "d/b.sym", "d/c.dll", "d/stored.sym", "d/stored.dll", "d/sized.dll", "d/zstd.dll",
		"d/wide.dll", "é.sym", "build-symbols.txt"), file{"d/empty.sym", ""})
	return r
}

func TestMixed(t *testing.T) {
	r := mixed()
	if len(r.archive) > 3<<10 {
		t.Errorf("the archive has %d bytes", len(r.archive))
	}
	s, report, err := ziptest.Reading{Data: r.archive}.Do(t)
	r.check(t, s, report, err)
}

// TestSourceFails has a source that fails at every byte.
func TestSourceFails(t *testing.T) {
	gone := errors.New("the client has gone")
	data, m := mixed().archive, budgettest.New(t)
	for _, with := range []string{"after the bytes", "with the bytes"} {
		t.Run(with, func(t *testing.T) {
			for n := range len(data) + 1 {
				source := io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(gone))
				if with == "with the bytes" {
					source = iotest.DataErrReader(source)
				}
				s, _, err := ziptest.Reading{Source: source, Budget: m}.Do(t)
				if _, ok := errors.AsType[*stream.SourceError](err); !ok || !errors.Is(err, gone) {
					t.Fatalf("after %d of %d bytes: %v", n, len(data), err)
				}
				if len(s.Kept()) > 0 {
					t.Fatalf("after %d bytes %q is kept", n, s.Kept()[0].Name)
				}
			}
		})
	}
}

// TestUnexpectedEOF has a source that ends with [io.ErrUnexpectedEOF], as readers of request
// bodies do.
func TestUnexpectedEOF(t *testing.T) {
	data := mixed().archive
	for _, n := range []int{0, 100, len(data)} {
		_, _, err := ziptest.Reading{Source: io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(io.ErrUnexpectedEOF))}.Do(t)
		if _, ok := errors.AsType[*stream.SourceError](err); !ok {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

// TestCutOff cuts an archive off at every byte.
func TestCutOff(t *testing.T) {
	data, m := mixed().archive, budgettest.New(t)
	directory := indexFirst(data, "PK\x01\x02")
	for n := range data {
		s, _, err := ziptest.Reading{Data: data[:n], Budget: m}.Do(t)
		e, ok := errors.AsType[*zip.NotZipError](err)
		if !ok || !errors.Is(err, zip.ErrNotZip) {
			t.Fatalf("after %d of %d bytes: %v", n, len(data), err)
		}
		// Four bytes tell a zip archive from other files.
		if want := (zip.NotZipError{CutOff: n >= 4, Offset: int64(n), Entry: e.Entry}); n >= 4 && *e != want {
			t.Errorf("after %d bytes: %+v, want %+v", n, *e, want)
		}
		if n >= directory && e.Entry != "" {
			t.Errorf("after %d bytes: within %q, and the directory starts at %d", n, e.Entry, directory)
		}
		if len(s.Kept()) > 0 {
			t.Errorf("after %d bytes %q is kept", n, s.Kept()[0].Name)
		}
	}
}

// TestErrorsSayWhere checks the offsets of errors: those of the entry's local header, or of
// the header or record in question.
func TestErrorsSayWhere(t *testing.T) {
	a, b := entry("a.sym"), entry("b.dll")
	honest := archive.Build(a, b)
	second, directory := lastIndex(honest, "PK\x03\x04"), indexFirst(honest, "PK\x01\x02")
	end := len(honest) - 22
	wrongSize := with(b, func(e *archive.Entry) {
		e.Local = func(h *archive.LocalHeader) { h.Uncompressed++ }
		e.Central = func(r *archive.CentralHeader) { r.Uncompressed++ }
	})
	wrongFlags := with(b, func(e *archive.Entry) { e.Central = func(r *archive.CentralHeader) { r.Flags = 1 << 13 } })
	wrongName := with(b, func(e *archive.Entry) { e.Central = func(r *archive.CentralHeader) { r.Name = []byte("c.dll") } })
	for _, tt := range []struct {
		name  string
		data  []byte
		entry string
		want  int
	}{
		{"an entry's bytes", archive.Build(a, wrongSize), "b.dll", second},
		{"a local header", archive.Build(a, with(b, func(e *archive.Entry) { e.Method = archive.Store; e.Flags = 1 << 13 })), "b.dll", second},
		{"a central directory header", archive.Build(a, wrongFlags), "b.dll", lastIndex(honest, "PK\x01\x02")},
		{"headers that disagree", archive.Build(a, wrongName), "c.dll", second},
		{"what follows the directory", archive.Archive{Entries: []archive.Entry{a, b}, AfterDirectory: []byte("x")}.Bytes(), "", end},
		{"the end record", archive.Archive{Entries: []archive.Entry{a, b}, End: func(e *archive.End) { e.Size++ }}.Bytes(), "", end},
		{"a byte after the end", append(slices.Clone(honest), 0, 0, 'x'), "", len(honest) + 2},
		{"a false locator", archive.Build(a, with(b, func(e *archive.Entry) { e.Comment = "PK\x06\x07" + string(make([]byte, 16)) })), "", end},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := ziptest.Reading{Data: tt.data}.Do(t)
			e, ok := errors.AsType[*stream.FormatError](err)
			if !ok || e.Entry != tt.entry || e.Offset != int64(tt.want) {
				t.Errorf("%v, want entry %q at byte %d (the directory is at %d)", err, tt.entry, tt.want, directory)
			}
		})
	}
}

// TestTheEarlierFaultIsReported: a damaged entry is reported before a later fault, whichever
// is found first.
func TestTheEarlierFaultIsReported(t *testing.T) {
	damaged := entry("a.sym")
	damaged.Local = func(h *archive.LocalHeader) { h.CRC32++ }
	damaged.Central = func(r *archive.CentralHeader) { r.CRC32++ }
	data := archive.Build(damaged, entry("b.dll"))
	m := budgettest.New(t)
	for range 200 {
		_, _, err := ziptest.Reading{Data: data[:len(data)-1], Budget: m}.Do(t)
		ziptest.CheckError(t, err, &stream.ChecksumError{Entry: "a.sym"})
	}
}

// TestCutOffWithinParts cuts off archives whose bodies have several parts.
func TestCutOffWithinParts(t *testing.T) {
	m := budgettest.New(t)
	for _, e := range ziptest.BigEntries() {
		data := archive.Build(e)
		for _, n := range []int{part / 2, part, part + 100, len(data) - 1} {
			s, _, err := ziptest.Reading{Data: data[:n], Budget: m}.Do(t)
			if !errors.Is(err, zip.ErrNotZip) || len(s.Kept()) > 0 {
				t.Errorf("%s after %d of %d bytes: %v", e.Name, n, len(data), err)
			}
		}
	}
}

// TestFlippedBits flips bits in every byte of an archive. The archive is refused, or has the
// same contents as before, for us and for archive/zip.
func TestFlippedBits(t *testing.T) {
	m := budgettest.New(t)
	data := mixed().archive
	intact, _, err := ziptest.Reading{Data: data, Budget: m}.Do(t)
	if err != nil {
		t.Fatal(err)
	}
	was := ziptest.Contents(t, intact)
	masks := []byte{0x01, 0x08, 0x80}
	accepted := 0
	for i := range data {
		for _, mask := range masks {
			flipped := slices.Clone(data)
			flipped[i] ^= mask
			s, report, err := ziptest.Reading{Data: flipped, Budget: m}.Do(t)
			if err != nil {
				continue
			}
			accepted++
			seen, err := ziptest.Reference(flipped)
			if err != nil {
				t.Errorf("byte %d ^ %#x: archive/zip: %v", i, mask, err)
				continue
			}
			for _, name := range stream.IgnoredNames(report.Ignored) {
				delete(seen, name)
			}
			if t.Run(fmt.Sprintf("byte %d ^ %#x", i, mask), func(t *testing.T) {
				ziptest.CheckSame(t, ziptest.Contents(t, s), seen)
				ziptest.CheckSame(t, seen, was)
			}); t.Failed() {
				return
			}
		}
	}
	// Times, versions, attributes and comments may have any value.
	if accepted == 0 || accepted > len(masks)*len(data)/2 {
		t.Errorf("%d of %d changed archives were accepted", accepted, len(masks)*len(data))
	}
}

// TestErrorsInterruptTheSource has errors that occur while the client sends nothing.
func TestErrorsInterruptTheSource(t *testing.T) {
	boom := errors.New("boom")
	damagedEntry := with(entry("a.sym"), func(e *archive.Entry) { e.Local = func(h *archive.LocalHeader) { h.CRC32++ } })
	upToDirectory := func(data []byte) []byte { return data[:indexFirst(data, "PK\x01\x02")] }
	tests := []struct {
		name string
		data []byte
		want error
		act  func(s *ziptest.Store, cancel context.CancelCauseFunc)
	}{
		{"a damaged entry", upToDirectory(archive.Build(damagedEntry)), &stream.ChecksumError{Entry: "a.sym"}, nil},
		{"a store that fails", upToDirectory(archive.Build(entry("a.sym"))), boom, func(s *ziptest.Store, _ context.CancelCauseFunc) {
			s.OnCommit = func(context.Context, *ziptest.Object) error { return boom }
		}},
		{"the end of its context", upToDirectory(archive.Build(entry("a.sym"))), boom, func(s *ziptest.Store, cancel context.CancelCauseFunc) {
			s.OnCommit = func(context.Context, *ziptest.Object) error { cancel(boom); return nil }
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				m := budgettest.New(t)
				s := ziptest.NewStore(t, m)
				if tt.act != nil {
					tt.act(s, cancel)
				}
				_, _, err := ziptest.Reading{Source: ziptest.Stall(tt.data), Ctx: ctx, Budget: m, Store: s}.Do(t)
				ziptest.CheckError(t, err, tt.want)
			})
		})
	}
}

func TestContextEndsBeforeTheArchive(t *testing.T) {
	gone := errors.New("shutting down")
	m := budgettest.New(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	ctx, share := budgettest.Admit(t, ctx, m)
	defer share.Close()
	cancel(gone)
	_, err := ziptest.Read(ctx, bytes.NewReader(mixed().archive), share, ziptest.NewStore(t, m), ziptest.Ordinary)
	if !errors.Is(err, gone) {
		t.Errorf("the error is %v", err)
	}
}

// TestPrefixIsRefusedAtOnce has a client that sends zeros without end.
func TestPrefixIsRefusedAtOnce(t *testing.T) {
	source := &zeros{}
	_, _, err := ziptest.Reading{Source: source}.Do(t)
	if !errors.Is(err, zip.ErrNotZip) {
		t.Error(err)
	}
	if source.n > 256<<10 {
		t.Errorf("refused after %d bytes", source.n)
	}
}

// zeros yields zeros without end.
type zeros struct{ n int }

func (z *zeros) Read(p []byte) (int, error) {
	clear(p)
	z.n += len(p)
	return len(p), nil
}
