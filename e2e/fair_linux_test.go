package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/client"
)

// TestProcessorsAreShared: beside 60 decoding uploads of one token, an upload of another
// token takes at most ten times as long as alone.
func TestProcessorsAreShared(t *testing.T) {
	// It expands a hundredfold, so that decoding takes nearly all of the time.
	text := bytes.Repeat(archive.Symbols(1, 10_000), 800)
	raw := archive.Compress(archive.Deflate, text)
	for _, way := range []struct {
		name       string
		descriptor archive.DescriptorLayout
	}{{"sizes in front", archive.NoDescriptor}, {"descriptors", archive.Signed32}} {
		t.Run(way.name, func(t *testing.T) {
			zip := func(client, files int) []byte {
				var entries []archive.Entry
				for n := range files {
					entries = append(entries, archive.Entry{
						Name: fmt.Sprintf("c%d.so/AB/%d.dbg.gz", client, n), Data: text, Raw: raw, Method: archive.Deflate, Descriptor: way.descriptor,
					})
				}
				return archive.Build(entries...)
			}
			// The 60 uploads are the same, so that S3 stores it once.
			s := startMeasuredBeside(t, "--memory=1GiB")
			many, single := zip(0, 4), zip(1, 4)
			for _, warm := range [][]byte{many, single} {
				if a := client.MustSend(t, s.API, "dev", warm); a.Status != http.StatusCreated {
					t.Fatalf("%+v", a)
				}
			}
			once := func() time.Duration {
				begun := time.Now()
				if a := client.MustSend(t, s.API, "devtry", single); a.Status != http.StatusCreated {
					t.Errorf("%+v", a)
				}
				return time.Since(begun)
			}
			once()
			alone := min(once(), once())

			load, end := context.WithCancel(t.Context())
			var clients sync.WaitGroup
			for range 60 {
				clients.Go(func() {
					for load.Err() == nil {
						if a, err := client.Send(load, s.API, "dev", bytes.NewReader(many)); load.Err() == nil && (err != nil || a.Status != http.StatusCreated) {
							t.Errorf("%+v, error %v", a, err)
						}
					}
				})
			}
			awaitSum(t, s, `spillway_uploads_in_flight\{stage="(\w+)"\}`, func(n int64) bool { return n >= 60 })
			beside := min(once(), once())
			end()
			clients.Wait()
			t.Logf("%v alone, %v beside 60 of another token", alone, beside)
			if beside > 10*alone {
				t.Errorf("it takes %v beside 60 uploads of another token, and %v alone", beside, alone)
			}
		})
	}
}
