package serve

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/nightly"
	"spillway/testdata/remote"
)

// partsOf returns an archive of files of every kind, and one of which a third of the files are others.
func partsOf() (content, next []byte) {
	var files, changed []archive.Entry
	for n := range uint64(12) {
		e := archive.Entry{Name: archive.SymbolsName(n), Data: archive.Symbols(n, 400_000), Method: archive.Deflate}
		switch n % 4 {
		case 1:
			e.Descriptor = archive.Signed32
		case 2:
			e = archive.Entry{Name: archive.SymbolsName(n) + ".dbg.gz", Data: archive.Noise(n, 500_000)}
		case 3:
			e = archive.Entry{Name: archive.SymbolsName(n) + ".pd_", Data: archive.Noise(n, 600_000), Descriptor: archive.Signed32}
		}
		if n == 6 {
			e.Data = archive.Noise(n, 9<<20) // in parts
		}
		files = append(files, e)
		if n%3 == 1 {
			e.Data = append([]byte("MODULE new\n"), e.Data...)
		}
		changed = append(changed, e)
	}
	files = append(files, archive.Entry{Name: "build-symbols.txt", Data: []byte("list")})
	changed = append(changed, files[len(files)-1])
	return archive.Build(files...), archive.Build(changed...)
}

// TestRangesThatBreak breaks the download of what is missing at random places. The same objects are
// stored as when the archive is read forward, and nothing else of it is sent.
func TestRangesThatBreak(t *testing.T) {
	t.Parallel()
	svc := startService(t, overrides{}, "--download-any")
	content, next := partsOf()
	upload := func(f *remote.File) client.Answer {
		a := svc.uploadFrom(t, f)
		if a.Status != http.StatusCreated || a.Upload.Size != int64(len(f.Content)) {
			t.Fatalf("breaks at %v: %+v", f.Breaks, a)
		}
		return a
	}
	forward := func(content []byte) *remote.File { return &remote.File{Content: content, NoRanges: true} }
	ranged := func(content []byte) *remote.File { return &remote.File{Content: content, Header: remote.StrongETag()} }
	upload(forward(content))
	upload(forward(next))
	want := svc.sums(t)
	random := rand.New(rand.NewPCG(9, 10))
	for range nightly.Pick(6, 100) {
		svc.drop(t)
		for _, f := range []*remote.File{ranged(content), ranged(next)} {
			clean := len(f.Content)
			f.Breaks = []int{random.IntN(clean)} // of the tail, mostly not
			for range 4 {
				f.Breaks = append(f.Breaks, random.IntN(clean))
			}
			slices.Sort(f.Breaks[1:])
			upload(f)
		}
		if got := svc.sums(t); !maps.Equal(got, want) {
			t.Errorf("stored %v, want %v", got, want)
		}
	}
	f := ranged(next)
	if a := upload(f); len(a.Upload.UploadedKeys) > 0 || len(a.Upload.SkippedKeys) != 12 || len(f.Spans()) != 1 {
		t.Errorf("all is stored: %+v, asked for %v", a, f.Spans())
	}
}

// firefox returns the files of an archive with the shape of a Firefox build, an eighth of its size
// compressed: one huge file, sixty medium ones and twenty that are compressed already. Every fourth
// one from a number on is of another build; none is if that is negative.
func firefox(other int) (files []archive.Entry) {
	random := rand.New(rand.NewPCG(1, 2))
	add := func(n int, extension string, size int) {
		seed := uint64(n)
		if other >= 0 && n%4 == other {
			seed += 1000
		}
		files = append(files, archive.Entry{Name: archive.SymbolsName(uint64(n)) + extension, Data: archive.Noise(seed, size), Method: archive.Store})
	}
	add(0, "", 9<<20)
	for n := range 80 {
		add(n+1, map[bool]string{true: ".dbg.gz", false: ".dll"}[n >= 60], 300_000+random.IntN(400_000))
	}
	return files
}

// TestOnlyWhatIsMissing counts the bytes and the requests of uploads by URL whose files are stored
// already, all or some.
func TestOnlyWhatIsMissing(t *testing.T) {
	t.Parallel()
	svc := startService(t, overrides{}, "--download-any")
	for _, c := range []struct {
		name     string
		other    int
		uploaded int
		most     func(archive, missing int) int // bytes
		requests int
	}{
		{"the first upload", -1, 81, func(archive, _ int) int { return archive }, 2},
		{"a second upload", -1, 0, func(archive, _ int) int { return archive / 100 }, 1},
		{"a quarter is new", 2, 20, func(_, missing int) int { return missing * 102 / 100 }, 21},
		{"that again", 2, 0, func(archive, _ int) int { return archive / 100 }, 1},
		{"every other one, and the huge one", 0, 41, func(_, missing int) int { return missing * 102 / 100 }, 42},
	} {
		files := firefox(c.other)
		f := &remote.File{Content: archive.Build(files...), Header: remote.StrongETag()}
		a := svc.uploadFrom(t, f)
		if a.Status != http.StatusCreated || len(a.Upload.UploadedKeys) != c.uploaded || len(a.Upload.SkippedKeys) != 81-c.uploaded || a.Upload.Size != int64(len(f.Content)) {
			t.Fatalf("%s: %d uploaded, %d skipped: %+v", c.name, len(a.Upload.UploadedKeys), len(a.Upload.SkippedKeys), a.Error)
		}
		missing := 0
		for _, e := range files {
			if slices.Contains(a.Upload.UploadedKeys, e.Name) {
				missing += len(e.Data)
			}
		}
		if sent := f.Sent(); sent > c.most(len(f.Content), missing) || len(f.Spans()) != c.requests {
			t.Errorf("%s: %d bytes in %d requests, want at most %d in %d", c.name, sent, len(f.Spans()), c.most(len(f.Content), missing), c.requests)
		} else {
			t.Logf("%s: %.2f %% of the archive, %.2f %% of what is missing, %d requests", c.name,
				100*float64(sent)/float64(len(f.Content)), 100*float64(sent)/float64(missing), len(f.Spans()))
		}
	}
}

// TestRemotesThatChange has remotes that answer a request for a range with something else. The file
// is read from its start then, once, and what it has there is stored; if that fails, nothing is.
func TestRemotesThatChange(t *testing.T) {
	t.Parallel()
	svc := startService(t, overrides{}, "--download-any")
	old, next := archive.Build(firefox(-1)[:12]...), archive.Build(firefox(1)[:11]...)
	const changed = `"two"`
	for _, c := range []struct {
		name   string
		answer func(w http.ResponseWriter, f *remote.File, r *http.Request) // to a request for a range but the tail
		whole  []byte                                                       // answers a request for the whole file; nil: 500
		status int
	}{
		{"200", func(w http.ResponseWriter, _ *remote.File, _ *http.Request) {
			w.Header().Set("ETag", changed)
			_, _ = w.Write(next)
		}, next, 201},
		{"another ETag", func(w http.ResponseWriter, f *remote.File, r *http.Request) {
			r.Header.Set("If-Range", changed)
			(&remote.File{Content: f.Content, Header: http.Header{"Etag": {changed}}}).ServeHTTP(w, r)
		}, next, 201},
		{"another range", func(w http.ResponseWriter, f *remote.File, r *http.Request) {
			r.Header.Set("Range", strings.Replace(r.Header.Get("Range"), "bytes=", "bytes=1", 1))
			f.ServeHTTP(w, r)
		}, old, 201},
		{"412", func(w http.ResponseWriter, _ *remote.File, _ *http.Request) { w.WriteHeader(412) }, old, 201},
		{"416", func(w http.ResponseWriter, _ *remote.File, _ *http.Request) { w.WriteHeader(416) }, next, 201},
		{"416, and no file", func(w http.ResponseWriter, _ *remote.File, _ *http.Request) { w.WriteHeader(416) }, nil, 503},
		{"403", func(w http.ResponseWriter, _ *remote.File, _ *http.Request) { w.WriteHeader(403) }, old, 503},
		{"503", func(w http.ResponseWriter, _ *remote.File, _ *http.Request) { w.WriteHeader(503) }, old, 503},
	} {
		failed := 1 // requests for the range that is not right
		if c.name == "503" {
			failed = 2 // it is asked for again
		}
		for _, after := range []int{0, 1} { // ranges that were right
			svc.drop(t)
			var seed []archive.Entry
			for i, e := range firefox(-1)[:12] {
				if i%3 == 2 {
					seed = append(seed, e)
				}
			}
			svc.uploadFrom(t, &remote.File{Content: archive.Build(seed...), NoRanges: true})
			before := svc.sums(t)
			f, ranges := &remote.File{Content: old, Header: remote.StrongETag()}, 0
			whole := 0
			a := svc.uploadFromHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked := r.Header.Get("Range")
				switch {
				case asked == "":
					if whole++; c.whole == nil {
						w.WriteHeader(500)
						return
					}
					_, _ = w.Write(c.whole)
					return
				case !strings.HasPrefix(asked, "bytes=-"):
					if ranges++; ranges > after {
						c.answer(w, f, r)
						return
					}
				}
				f.ServeHTTP(w, r)
			}))
			what := fmt.Sprintf("%s, after %d ranges", c.name, after)
			if a.Status != c.status || whole > 1 || ranges != after+failed {
				t.Errorf("%s: %d requests for the file, %d for ranges: %+v", what, whole, ranges, a)
			}
			if c.status != http.StatusCreated {
				if got := svc.sums(t); !maps.Equal(got, before) {
					t.Errorf("%s: stored %v, want %v", what, got, before)
				}
				continue
			}
			got := svc.sums(t)
			svc.drop(t)
			svc.uploadFrom(t, &remote.File{Content: archive.Build(seed...), NoRanges: true})
			svc.uploadFrom(t, &remote.File{Content: c.whole, NoRanges: true})
			if want := svc.sums(t); !maps.Equal(got, want) || a.Upload.Size != int64(len(c.whole)) {
				t.Errorf("%s: stored %v, want %v", what, got, want)
			}
		}
	}
}
