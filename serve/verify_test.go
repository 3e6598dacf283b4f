package serve

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"

	"spillway/s3sink"
	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/s3quirk"
	"spillway/testdata/s3server"
)

// With --s3-verify, an upload to a store that loses objects gets a 503, and a retry stores what
// is missing. Without it, the client is told that all is stored.
func TestVerify(t *testing.T) {
	t.Parallel()
	server := s3server.Start(t)
	for _, verify := range []bool{false, true} {
		t.Run(fmt.Sprint(verify), func(t *testing.T) {
			endpoint := s3quirk.Before(t, server.Client, s3quirk.Loses())
			svc := startServiceAt(t, server.Client, endpoint, overrides{
				adjustStore: func(cfg *s3sink.Config) { cfg.Concurrency = 100 }, // all objects at once
			}, fmt.Sprint("--s3-verify=", verify), "--spill-dir="+t.TempDir())
			files := archive.Samples(1)
			upload := func() int {
				t.Helper()
				a, err := client.Send(client.Within(t), svc.api(), "dev", bytes.NewReader(archive.PythonZipfile(files...)))
				if err != nil {
					t.Fatal(err)
				}
				return a.Status
			}
			if !verify {
				if status := upload(); status != http.StatusCreated {
					t.Errorf("status %d", status)
				}
				if keys := server.Keys(t, svc.BucketName); len(keys) > 0 {
					t.Errorf("the store has not lost %q", keys)
				}
				return
			}
			retries := 0
			for upload() != http.StatusCreated {
				if retries++; retries > len(files) {
					t.Fatal("no retry has stored the archive")
				}
			}
			if retries == 0 {
				t.Error("no object was missed")
			}
			svc.WantStored(t, "v1/", files)
		})
	}
}
