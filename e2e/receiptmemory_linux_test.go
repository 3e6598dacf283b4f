package e2e

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/nightly"
)

// fullStore is an S3 server that has every symbol file already, with that content. It takes
// receipts, checks their checksums, and keeps nothing.
type fullStore struct {
	content  []byte
	receipts atomic.Int64
	bytes    atomic.Int64 // of receipts
}

func (s *fullStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	switch receipt := strings.HasPrefix(r.URL.Path, "/b/receipts/"); {
	case r.Method == http.MethodHead && !strings.Contains(r.URL.Path, "/.spillway"):
		header["X-Amz-Meta-Original_size"] = []string{fmt.Sprint(len(s.content))}
		header["X-Amz-Meta-Original_crc32"] = []string{fmt.Sprintf("%08x", crc32.ChecksumIEEE(s.content))}
	case r.Method == http.MethodPut && receipt:
		sum := crc32.NewIEEE()
		n, err := io.Copy(sum, r.Body)
		text := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum.Sum32()))
		if err != nil || text != r.Header.Get("X-Amz-Checksum-Crc32") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.receipts.Add(1)
		s.bytes.Add(n)
		header.Set("ETag", `"x"`)
		header.Set("X-Amz-Checksum-Crc32", text)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// The receipts of many large uploads at once stay within the budget: names and headers are
// long, and each receipt is longer than a part.
func TestManyLargeReceipts(t *testing.T) {
	const memory, atOnce = 32, 16
	entries := nightly.Pick(1_500, 20_000)
	content := fmt.Appendf(nil, "MODULE windows x86_64 %064X %0100d.pdb\nINFO CODE_ID %064X %0100d.dll\nINFO GENERATOR %040d\n", 1, 2, 3, 4, 5)
	store := &fullStore{content: content}
	server := httptest.NewServer(store)
	t.Cleanup(server.Close)
	all := make([]archive.Entry, entries)
	for i := range all {
		all[i] = archive.Entry{Name: fmt.Sprintf("%0150d.pdb/%064X/%0100d.sym", i, i, i), Data: content, Method: archive.Deflate}
	}
	zip := archive.Build(all...)
	d := startMeasured(t, []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"}, "--dev", "--s3-endpoint="+server.URL, "--s3-bucket=b",
		fmt.Sprintf("--memory=%dMiB", memory), "--room-wait=10m", receiptsFlag)
	var uploads sync.WaitGroup
	for range atOnce {
		uploads.Go(func() {
			a, err := client.SendWhole(t.Context(), d.API, "dev", zip)
			if err != nil || a.Status != http.StatusCreated || len(a.Upload.SkippedKeys) != entries {
				a.Upload.SkippedKeys = a.Upload.SkippedKeys[:min(1, len(a.Upload.SkippedKeys))]
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
	uploads.Wait()
	wantWithinBudget(t, d, memory)
	n, size := store.receipts.Load(), store.bytes.Load()
	t.Logf("%d objects of %d MB in all for %d uploads of %d MB", n, size/1e6, atOnce, len(zip)/1e6)
	if n != 2*atOnce || size < atOnce*int64(entries)*800 { // with their indexes
		t.Errorf("%d objects of %d bytes", n, size)
	}
}
