package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/remote"
)

// TestManyDownloads: 64 downloads at once, over TLS and with the longest headers, from a host that
// stalls, keep the process within --memory + 130 MiB.
func TestManyDownloads(t *testing.T) {
	const downloads, memory = 64, 256
	f := &remote.File{
		Content: archive.Build(archive.Entry{Name: archive.SymbolsName(1), Data: archive.Noise(1, 2<<20)}),
		Header:  http.Header{}, Stall: true, NoRanges: true,
	}
	f.Header.Set("X-Pad", strings.Repeat("x", 60<<10))
	for range downloads {
		f.Breaks = append(f.Breaks, 1<<20)
	}
	var under atomic.Int64
	server := remote.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		under.Add(1)
		f.ServeHTTP(w, r)
	}), true)
	d := startMeasured(t, []string{remote.Trust(t, server)}, append(noStore, "--download-any", fmt.Sprintf("--memory=%dMiB", memory), "--drain-timeout=1s")...)
	before, err := daemon.UsageOf(d.PID())
	if err != nil {
		t.Fatal(err)
	}
	for range downloads {
		go func() { _, _ = client.SendURL(t.Context(), d.API, "dev", server.URL+"/x.zip") }() // ends with the test
	}
	client.Until(t, "all downloads are under way", func() bool {
		received := counters(t, d.Admin, `spillway_memory_used_bytes\{use="(\w+)"\}`)
		return under.Load() == downloads && received["leased"] >= downloads<<20
	})
	wantWithinBudget(t, d, memory)
	after, err := daemon.UsageOf(d.PID())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB at the start, at most %d MiB with %d downloads", before.Resident>>20, after.Peak>>20, downloads)
}
