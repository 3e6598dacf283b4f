package stream_test

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"spillway/stream"
	"spillway/testdata/archive"
	"spillway/testdata/ziptest"
)

// TestDecodersAreCountedWhileTheyLive has uploads that stop amid an entry whose
// decoder takes memory: that is in use, and then free, and what is kept of it gives
// way.
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
				m := budget(t, 1)
				data := archive.Build(c.entry)
				source := newPausing(data, len(data)/2)
				upload := background(t, m, source, 0)
				<-source.stalled
				// Beside it, a part may be filling.
				if u, part := m.Usage(), int64(m.PartSize()); u.Leased < c.least || u.Leased > c.least+c.least/4+part {
					t.Errorf("%d bytes are leased, want about %d", u.Leased, c.least)
				}
				close(source.letGo)
				if end := <-upload; end.err != nil {
					t.Fatal(end.err)
				}
				checkEmpty(t, m)
				if idle := m.Idle(); idle < c.least {
					t.Errorf("%d bytes are kept for the next upload, want %d", idle, c.least)
				}
				ctx, share := admit(t, m)
				all := leaseAll(t, ctx, share)
				if idle := m.Idle(); idle > int64(m.PartSize()) {
					t.Errorf("%d bytes are kept where they are wanted for parts", idle)
				}
				for _, b := range all {
					b.Release()
				}
				share.Close()
			})
		})
	}
}

// TestDecodersThatFailAreDropped: what has read a damaged entry is not used again.
func TestDecodersThatFailAreDropped(t *testing.T) {
	m := ziptest.NewMemory(t)
	for _, method := range []uint16{archive.Zstd, archive.BZip2} {
		e := archive.Entry{Name: "a.dll", Data: archive.Symbols(1, 200_000), Method: method}
		e.Raw = archive.Compress(method, e.Data)
		e.Raw[len(e.Raw)/2] ^= 0x10
		if _, _, err := (ziptest.Reading{Data: archive.Build(e), Memory: m}).Do(t); err == nil {
			t.Error("a damaged entry was taken")
		}
		if idle := m.Idle(); idle > int64(m.PartSize()) {
			t.Errorf("%d bytes are kept", idle)
		}
	}
}

// TestManyEntriesShareADecoder: 20,000 entries of nothing or next to nothing take
// one decoder, which would be 72 GB if each had its own.
func TestManyEntriesShareADecoder(t *testing.T) {
	m, err := stream.NewMemory(256*mib, 5*mib, 1, time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
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
			entries := make([]archive.Entry, 20_000)
			for i := range entries {
				entries[i] = e
				entries[i].Name = fmt.Sprintf("%d.sym", i)
			}
			data := archive.Build(entries...)
			s := ziptest.NewStore(t, m)
			s.Discard = true
			rules := &stream.Rules{Form: ziptest.FormByName, MaxEntries: len(entries), MaxExpanded: mib}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, _, err := (ziptest.Reading{Source: bytes.NewReader(data), Memory: m, Rules: rules, Store: s}).Do(t); err != nil {
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
