package stream_test

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"

	"spillway/stream"
	"spillway/stream/budget"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/nightly"
	"spillway/testdata/ziptest"
)

// TestDecodersAreCountedWhileTheyLive has uploads that stop in the middle of an entry. The
// memory of the decoder counts as leased, then as idle, and is dropped when others need it.
func TestDecodersAreCountedWhileTheyLive(t *testing.T) {
	text := archive.Symbols(1, 200_000)
	for _, c := range []struct {
		name  string
		entry archive.Entry
		least int64 // bytes
	}{
		{"zstd", archive.Entry{Name: "a.dll", Data: text, Method: archive.Zstd}, 9 * mib},
		{"bzip2", archive.Entry{Name: "a.dll", Data: text, Method: archive.BZip2}, 3600 << 10},
		{"gzip", archive.Entry{Name: "a.sym", Data: archive.Noise(1, 200_000)}, mib},
		{"bzip2, gzip", archive.Entry{Name: "a.sym", Data: text, Method: archive.BZip2}, 3600<<10 + mib},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := budgettest.New(t)
				data := archive.Build(c.entry)
				source := ziptest.StallAt(data, len(data)/2)
				upload := background(t, m, source, 0)
				<-source.Stalled
				if u := m.Usage(); u.Leased < c.least {
					t.Errorf("%d bytes are leased, want at least %d", u.Leased, c.least)
				}
				source.LetGo()
				if end := <-upload; end.err != nil {
					t.Fatal(end.err)
				}
				budgettest.CheckUnused(t, m)
				if idle := m.Idle(); idle < c.least {
					t.Errorf("%d bytes are idle, want %d", idle, c.least)
				}
				ctx, share := admit(t, m)
				all := leaseAll(t, ctx, share)
				if u := m.Usage(); u.Used()+m.Idle() > u.Total {
					t.Errorf("%d bytes are idle while parts need them", m.Idle())
				}
				release(all...)
				share.Close()
			})
		})
	}
}

// TestDecodersThatFailAreDropped: a decoder is not used again after a damaged entry.
func TestDecodersThatFailAreDropped(t *testing.T) {
	m := budgettest.New(t)
	for _, method := range []uint16{archive.Zstd, archive.BZip2} {
		e := archive.Entry{Name: "a.dll", Data: archive.Symbols(1, 200_000), Method: method}
		e.Raw = archive.Compress(method, e.Data)
		e.Raw[len(e.Raw)/2] ^= 0x10
		if _, _, err := (ziptest.Reading{Data: archive.Build(e), Budget: m}).Do(t); err == nil {
			t.Error("a damaged entry was accepted")
		}
		if idle := m.Idle(); idle > int64(m.PartSize()) {
			t.Errorf("%d bytes are idle", idle)
		}
	}
}

// TestManyEntriesShareADecoder: thousands of entries with few bytes or none take one
// decoder. With one for each, 20,000 would take 72 GB.
func TestManyEntriesShareADecoder(t *testing.T) {
	count := nightly.Pick(5000, 20_000)
	m := budgettest.New(t, func(c *budget.Config) { c.Memory, c.Needs = 256*mib, stream.Needs(count, false) })
	for name, e := range map[string]archive.Entry{
		"zstd, no bytes":     {Method: archive.Zstd, Raw: []byte{}},
		"zstd, empty":        {Method: archive.Zstd, Raw: []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3, 1, 0, 0}},
		"zstd, a few bytes":  {Method: archive.Zstd, Data: []byte("MODULE")},
		"bzip2, empty":       {Method: archive.BZip2},
		"bzip2, a few bytes": {Method: archive.BZip2, Data: []byte("MODULE")},
		"stored, empty":      {},
	} {
		t.Run(name, func(t *testing.T) {
			if e.Raw == nil {
				e.Raw = archive.Compress(e.Method, e.Data)
			}
			entries := make([]archive.Entry, count)
			for i := range entries {
				entries[i] = e
				entries[i].Name = fmt.Sprintf("%d.sym", i)
			}
			data := archive.Build(entries...)
			s := ziptest.NewStore(t, m)
			s.Discard = true
			rules := &stream.Rules{Form: ziptest.FormByName, MaxEntries: len(entries), MaxUncompressed: mib}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, _, err := (ziptest.Reading{Source: bytes.NewReader(data), Budget: m, Rules: rules, Store: s}).Do(t); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 200*mib {
				t.Errorf("%d MiB were allocated", n>>20)
			} else {
				t.Logf("%d MiB were allocated", n>>20)
			}
		})
	}
}
