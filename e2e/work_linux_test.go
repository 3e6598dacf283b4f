package e2e

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/client"
)

// workPerUpload is the CPU time that a tiny archive may take: four times what docs/security.md
// says, because the machine may be busy.
const workPerUpload = 4 * 16 * time.Millisecond

// TestWorkIsBounded: small archives that would take much CPU time are refused with a 413 that
// names the entry.
func TestWorkIsBounded(t *testing.T) {
	const size = 16 << 20
	entry := func(data []byte) archive.Entry {
		return archive.Entry{Name: "a.so/AB/a.dbg", Method: archive.BZip2, Data: data}
	}
	zstd := wideWindow(1)
	zstd.Raw = bytes.Repeat(zstd.Raw, 4) // frames may follow one another
	zstd.Data = make([]byte, 4*len(zstd.Data))
	s := startMeasuredBeside(t)
	for _, bomb := range []struct {
		name  string
		entry archive.Entry
	}{
		{"bzip2, zeros", entry(make([]byte, size))},
		{"bzip2, a block that is costly to invert", entry(bytes.Repeat(archive.Noise(4, 256), size/4/256))},
		{"zstd, zeros", zstd},
	} {
		zip := archive.Build(bomb.entry)
		const uploads = 20
		before := usedBy(t, s.Daemon).CPU
		for range uploads {
			a := client.MustSend(t, s.API, "dev", zip)
			if a.Status != http.StatusRequestEntityTooLarge || !strings.Contains(a.Error, "'"+bomb.entry.Name+"'") || !strings.Contains(a.Error, "processor time") {
				t.Fatalf("%s: %+v", bomb.name, a)
			}
		}
		if each := (usedBy(t, s.Daemon).CPU - before) / uploads; each > workPerUpload {
			t.Errorf("%s: an upload takes %v, want at most %v", bomb.name, each, workPerUpload)
		} else {
			t.Logf("%s: an upload of %d bytes takes %v", bomb.name, len(zip), each)
		}
	}
	s.WantNoUploads(t)
}
