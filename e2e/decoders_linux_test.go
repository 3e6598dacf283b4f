package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/nightly"
)

// decodersMemory is how many bytes may be resident with --memory=64MiB.
const decodersMemory = (64 + 130) << 20

// TestDecodersAreCounted sends many small archives at once whose decoders take far more
// memory than the archives. Together they stay within the budget.
func TestDecodersAreCounted(t *testing.T) {
	for _, load := range []struct {
		name    string
		clients int
		archive func(client int) []byte // called for each client, or once if same
		same    bool
	}{
		{"32 of about 5 KB", 32, func(client int) []byte {
			// The first file makes the archive large enough for the work of the others.
			return archive.Build(namedEntry(client, 0, archive.Store, archive.Noise(1, 4_000)), wideWindow(client), wideBlock(client))
		}, false},
		{"64 with archives of zstd", 64, func(int) []byte { return symbolArchive(archive.Zstd) }, true},
		{"64 with archives of bzip2", 64, func(int) []byte { return symbolArchive(archive.BZip2) }, true},
	} {
		t.Run(load.name, func(t *testing.T) {
			t.Parallel()
			archives := make([][]byte, load.clients)
			for i := range archives {
				if archives[i] = archives[0]; i == 0 || !load.same {
					archives[i] = load.archive(i)
				}
			}
			s := startMeasuredBeside(t, "--memory=64MiB")
			if a := client.MustSend(t, s.API, "dev", archives[0]); a.Status != http.StatusCreated {
				t.Fatalf("%+v", a)
			}
			var uploads sync.WaitGroup
			for _, zip := range archives {
				uploads.Go(func() {
					for range nightly.Pick(1, 2) {
						a, err := client.Send(client.Within(t), s.API, "dev", bytes.NewReader(zip))
						switch {
						case err != nil:
							t.Error(err)
						case a.Status == http.StatusServiceUnavailable && a.RetryAfter != "":
						case a.Status != http.StatusCreated:
							t.Errorf("%+v", a)
						}
					}
				})
			}
			uploads.Wait()
			if peak := usedBy(t, s.Daemon).Peak; peak > decodersMemory {
				t.Errorf("%d MiB were resident at the most, want at most %d", peak>>20, decodersMemory>>20)
			} else {
				t.Logf("%d MiB were resident at the most", peak>>20)
			}
			awaitSum(t, s, `spillway_memory_used_bytes\{use="(leased|held)"\}`, func(n int64) bool { return n == 0 })
		})
	}
}

// namedEntry returns an entry with a name of the client's own.
func namedEntry(client, n int, method uint16, data []byte) archive.Entry {
	return archive.Entry{Name: fmt.Sprintf("c%d.so/AB%d/c%d.dbg", client, n, client), Data: data, Method: method}
}

// wideWindow returns an entry of a few hundred bytes whose zstd decoder needs a window of
// 8 MiB (RFC 8878, section 3.1.1).
func wideWindow(client int) archive.Entry {
	const window, block = 8 << 20, 128 << 10
	raw := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3}
	for i := range window / block {
		header := uint32(block<<3 | 1<<1) // a byte that is repeated
		if i == window/block-1 {
			header |= 1 // the last
		}
		raw = append(raw, byte(header), byte(header>>8), byte(header>>16), 0)
	}
	e := namedEntry(client, 1, archive.Zstd, make([]byte, window))
	e.Raw = raw
	return e
}

// wideBlock returns an entry of a few hundred bytes whose bzip2 decoder fills its block.
func wideBlock(client int) archive.Entry {
	return namedEntry(client, 2, archive.BZip2, binary.LittleEndian.AppendUint64(make([]byte, 256<<10), uint64(client)))
}

// symbolArchive returns an archive that fills a decoder's memory. All clients send the same,
// so that it is verified and skipped.
func symbolArchive(method uint16) []byte {
	data := bytes.Repeat(archive.Symbols(1, 1<<20), 9)
	var raw []byte
	switch method {
	case archive.BZip2:
		raw = archive.BZip2Stream(9, data[:1<<20])
		data = data[:1<<20]
	case archive.Zstd:
		w, err := zstd.NewWriter(nil, zstd.WithWindowSize(8<<20))
		if err != nil {
			panic(err)
		}
		raw = w.EncodeAll(data, nil)
	}
	var entries []archive.Entry
	for n := range 2 {
		entries = append(entries, archive.Entry{Name: fmt.Sprintf("a.so/AB%d/a.dbg", n), Method: method, Data: data, Raw: raw})
	}
	return archive.Build(entries...)
}
