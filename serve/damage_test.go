package serve

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/nightly"
)

// smallArchive returns an archive of 3 KB with everything that can be in one: each method and
// data descriptor that can be read forward, an empty file, a directory, an ignored file,
// zip64 fields, a comment.
func smallArchive() (zip []byte, files map[string][]byte) {
	text := func(n uint64) []byte { return archive.Symbols(n, 200) }
	entries := []archive.Entry{
		{Name: "a.pdb/"},
		{Name: "a.pdb/A1/a.sym", Data: text(1), Method: archive.Deflate},
		{Name: "a.pdb/A1/a.pd_", Data: archive.Noise(2, 100)},
		{Name: "b.so/B2/b.sym", Data: text(3), Method: archive.Deflate, Descriptor: archive.Signed32},
		{Name: "b.so/B2/b.dbg", Data: text(4), Method: archive.Deflate, Descriptor: archive.Unsigned64},
		{Name: "c.so/C3/c.sym", Data: text(5)},
		{Name: "c.so/C3/c.dbg", Data: text(6), Method: archive.Zstd},
		{Name: "d.so/D4/d.sym", Data: text(7), Method: archive.Deflate, Zip64Local: true, Zip64Central: true},
		{Name: "d.so/D4/d.dbg", Data: archive.Noise(8, 60), Descriptor: archive.Signed32, LocalSizes: true},
		{Name: "œ€.so/E5/œ€.sym", Data: text(9), Method: archive.Deflate, Flags: archive.FlagUTF8, Comment: "a comment"},
		{Name: "f.so/F6/empty.sym", Descriptor: archive.Signed32},
		{Name: "build-symbols.txt", Data: []byte("a.sym\n"), Method: archive.Deflate},
	}
	files = map[string][]byte{}
	for _, e := range entries[1:11] {
		files["v1/"+e.Name] = e.Data
	}
	return archive.Archive{Entries: entries, Zip64: true, End: func(e *archive.End) { e.Comment = []byte("made by a test") }}.Bytes(), files
}

// An archive with a flipped bit, or cut off anywhere, is refused and stores nothing, or it
// is stored with exactly the right content.
func TestEveryByteOfAnArchive(t *testing.T) {
	t.Parallel()
	svc := startService(t, overrides{})
	zip, files := smallArchive()
	if len(zip) < 2800 || len(zip) > 3300 {
		t.Errorf("the archive has %d bytes", len(zip))
	}
	stored := 0
	try := func(what string, data []byte) {
		body, contentType := client.Form(data)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, svc.api()+"/upload/", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", contentType)
		req.Header.Set("Auth-Token", "dev")
		a, err := client.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		<-svc.events
		if a.Status != http.StatusCreated {
			if a.Status != http.StatusBadRequest && a.Status != http.StatusRequestEntityTooLarge || a.Error == "" {
				t.Errorf("%s: %+v", what, a)
			}
			svc.wantNothing(t, what)
			return
		}
		stored++
		keys := svc.Keys(t)
		if len(keys) != len(files) {
			t.Errorf("%s: stored %q", what, keys)
		}
		for _, key := range keys {
			o, _ := svc.Store.Object(t, svc.BucketName, key)
			content := o.Body
			if o.ContentEncoding == "gzip" {
				content = client.Gunzip(t, content)
			}
			if want, ok := files[key]; !ok || !bytes.Equal(content, want) {
				t.Errorf("%s: %s is stored with %q, want %q", what, key, content, want)
			}
			if err := svc.Store.Delete(context.WithoutCancel(t.Context()), svc.BucketName, key); err != nil {
				t.Fatal(err)
			}
		}
	}
	try("as it is", zip)
	if stored != 1 {
		t.Fatal("the archive itself is not stored")
	}
	// The sample's stride is prime, so that it meets all kinds of fields.
	for i := 0; i < len(zip); i += nightly.Pick(29, 1) {
		flipped := slices.Clone(zip)
		flipped[i] ^= 1 << (i % 8)
		try(fmt.Sprintf("byte %d flipped", i), flipped)
		before := stored
		try(fmt.Sprintf("the first %d bytes", i), zip[:i])
		if stored != before {
			t.Errorf("%d of %d bytes were stored", i, len(zip))
		}
	}
	// Versions, times, attributes and comments may be anything.
	t.Logf("%d damaged archives were stored, with the right content", stored-1)
}
