package e2e

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
)

// The archives of every zip writer are stored. A second upload skips every entry.
func TestEveryWriter(t *testing.T) {
	t.Parallel()
	for _, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			s := store.start(t)
			var all []archive.File
			for i, w := range archive.Writers {
				files := archive.Samples(uint64(100 * (i + 1)))
				all = append(all, client.Stored(files)...)
				zip := w.Write(files...)
				want := names(client.Stored(files))

				first := client.MustSend(t, s.API, "dev", zip)
				slices.Sort(first.Upload.UploadedKeys)
				if first.Status != 201 || !slices.Equal(first.Upload.UploadedKeys, want) || len(first.Upload.SkippedKeys) != 0 {
					t.Errorf("%s: %+v, want %q uploaded", w.Name, first, want)
				}
				if u := first.Upload; u.Size != int64(len(zip)) || u.Filename != "symbols.zip" || u.Bucket != s.BucketName || !slices.Equal(u.IgnoredKeys, []string{"build-symbols.txt"}) {
					t.Errorf("%s: %+v", w.Name, first)
				}
				second := client.MustSend(t, s.API, "dev", zip)
				slices.Sort(second.Upload.SkippedKeys)
				if second.Status != 201 || !slices.Equal(second.Upload.SkippedKeys, want) || len(second.Upload.UploadedKeys) != 0 {
					t.Errorf("%s again: %+v, want %q skipped", w.Name, second, want)
				}
			}
			s.WantStored(t, "v1/", all)
			s.WantNoUploads(t)
		})
	}
}

func TestTrySymbols(t *testing.T) {
	t.Parallel()
	s := startEmbedded(t)
	files := archive.Samples(1)
	if a := client.MustSend(t, s.API, "devtry", archive.PythonZipfile(files...)); a.Status != 201 {
		t.Fatalf("%+v", a)
	}
	s.WantStored(t, "try/v1/", files)
}

// Refused archives leave nothing behind, small or large.
func TestRefused(t *testing.T) {
	t.Parallel()
	wide := archive.SymbolsName(1)
	for _, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			s := store.start(t)
			good := archive.PythonZipfile(archive.File{Name: archive.SymbolsName(2), Data: archive.Symbols(2, 5000)})
			bad := archive.Build(
				archive.Entry{Name: archive.SymbolsName(2), Data: archive.Symbols(2, 5000), Method: archive.Deflate},
				archive.Entry{Name: wide, Data: archive.Noise(1, 20<<20)},
				archive.Entry{
					Name: archive.SymbolsName(3), Data: archive.Symbols(3, 5000), Method: archive.Deflate,
					Local: func(h *archive.LocalHeader) { h.CRC32++ }, Central: func(r *archive.CentralHeader) { r.CRC32++ },
				},
			)
			for _, c := range []struct {
				name, token string
				zip         []byte
				status      int
				says        string
			}{
				{"token", "nobody", good, 403, "API Token not matched"},
				{"not a zip", "dev", archive.Noise(1, 1000), 400, "File is not a zip file"},
				{"checksum", "dev", bad, 400, "Bad CRC-32 for file '" + archive.SymbolsName(3) + "'"},
				{"cut off", "dev", good[:len(good)-1], 400, "File is not a zip file"},
				{"checksum, and cut off behind it", "dev", bad[:len(bad)-1], 400, "Bad CRC-32 for file '" + archive.SymbolsName(3) + "'"},
			} {
				if a := client.MustSend(t, s.API, c.token, c.zip); a.Status != c.status || a.Error != c.says {
					t.Errorf("%s: %d %q, want %d %q", c.name, a.Status, a.Error, c.status, c.says)
				}
			}
			s.WantNothing(t)
		})
	}
}

var errClientGone = errors.New("the client goes away")

// When a client disconnects in the middle of an entry of several parts, its upload ends and
// leaves nothing.
func TestClientGoesAway(t *testing.T) {
	t.Parallel()
	for _, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			s := store.start(t)
			_, zip := large()
			half := io.MultiReader(bytes.NewReader(zip[:len(zip)/2]), failing{errClientGone})
			if a, err := client.Send(client.Within(t), s.API, "dev", half); !errors.Is(err, errClientGone) {
				t.Fatalf("answer %+v, error %v", a, err)
			}
			awaitLog(t, s.Daemon, `"msg":"upload"`, `"outcome":"client gone"`)
			s.WantNothing(t)
		})
	}
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestNamesOfEveryKind: names with every allowed character are stored unchanged, under the
// prefix.
func TestNamesOfEveryKind(t *testing.T) {
	t.Parallel()
	var odd strings.Builder
	for c := rune(' '); c < 0x7f; c++ {
		if !strings.ContainsRune("/\\^`><{}[]#%\"'|", c) {
			odd.WriteRune(c)
		}
	}
	for _, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			s := store.start(t)
			var files []archive.File
			var entries []archive.Entry
			for i, part := range []string{odd.String(), "...", ".hidden", "a b", "a+b", "a?b=c&d", "~", "ĀĂ 漢字 \u202egnp", "*", "-rf", "$HOME", "v1", "try"} {
				f := archive.File{Name: part + "/A0/" + part, Data: archive.Symbols(uint64(i), 100)}
				files = append(files, f)
				entries = append(entries, archive.Entry{Name: f.Name, Data: f.Data, Flags: archive.FlagUTF8})
			}
			zip := archive.Build(entries...)
			if a := client.MustSend(t, s.API, "dev", zip); a.Status != 201 || len(a.Upload.UploadedKeys) != len(files) {
				t.Errorf("%+v", a)
			}
			s.WantStored(t, "v1/", files)
			if a := client.MustSend(t, s.API, "dev", zip); a.Status != 201 || len(a.Upload.SkippedKeys) != len(files) {
				t.Errorf("again: %+v", a)
			}
		})
	}
}
