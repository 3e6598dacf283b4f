package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/remote"
)

// TestManyLookups: 64 uploads of many files at once, while the store answers no lookup, keep the
// process within --memory + 130 MiB. So do 64 that are read in ranges.
func TestManyLookups(t *testing.T) {
	const uploads, files, memory = 64, 150, 256
	all := make([]archive.Entry, files)
	for i := range all {
		all[i] = archive.Entry{Name: fmt.Sprintf("m%d.pdb/A%d/m.pd_", i, i), Data: archive.Noise(1, 42_000)}
	}
	zip := archive.Build(all...)
	host := remote.Start(t, &remote.File{Content: zip, Header: remote.StrongETag()}, false)
	for name, c := range map[string]struct {
		send       func(api string) error
		goroutines int64 // that wait for lookups
	}{
		"forward": {func(api string) error {
			_, err := client.SendWhole(t.Context(), api, "dev", zip)
			return err
		}, uploads * 128},
		"in ranges": {func(api string) error {
			_, err := client.SendURL(t.Context(), api, "dev", host.URL+"/x.zip")
			return err
		}, uploads * 64},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead && !strings.Contains(r.URL.Path, "/.spillway") {
					<-r.Context().Done()
				}
				w.WriteHeader(http.StatusNotFound)
			}))
			t.Cleanup(func() {
				server.CloseClientConnections()
				server.Close()
			})
			d := startMeasured(t, []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"}, "--dev", "--s3-endpoint="+server.URL, "--s3-bucket=b",
				fmt.Sprintf("--memory=%dMiB", memory), "--download-any", "--drain-timeout=1s")
			for range uploads {
				go func() { _ = c.send(d.API) }() // ends with the program
			}
			client.Until(t, "all wait for lookups", func() bool {
				return counters(t, d.Admin, `(go_goroutines)`)["go_goroutines"] > c.goroutines
			})
			wantWithinBudget(t, d, memory)
			// The stacks are in no budget: they leave half of what is beside it to the rest.
			stacks := counters(t, d.Admin, `(go_memstats_stack_inuse_bytes)`)["go_memstats_stack_inuse_bytes"]
			t.Logf("stacks of %d MiB", stacks>>20)
			if stacks > outsideBudget/2 {
				t.Errorf("stacks of %d MiB, want at most half of %d MiB", stacks>>20, outsideBudget>>20)
			}
		})
	}
}
