package stream_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"spillway/stream"
	"spillway/testdata/archive"
	"spillway/testdata/ziptest"
)

// methods are the compression methods.
var methods = map[string]uint16{"deflate": archive.Deflate, "zstd": archive.Zstd, "bzip2": archive.BZip2}

// workLimit returns the error of an archive that needs too much processor time.
func workLimit(entry string) error {
	return &stream.LimitError{What: stream.WorkBound, Limit: 3000, Entry: entry}
}

// zeroFrame returns a zstd frame of n zeros: 4 bytes for each 128 KiB (RFC 8878, section
// 3.1.1.2).
func zeroFrame(n int) []byte {
	const block = 128 << 10
	raw := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3}
	for ; n > 0; n -= block {
		header := uint32(min(n, block)<<3 | 1<<1) // an RLE block
		if n <= block {
			header |= 1 // the last
		}
		raw = append(raw, byte(header), byte(header>>8), byte(header>>16), 0)
	}
	return raw
}

// TestWork: an entry that needs far too much processor time for its size is refused by name,
// long before it has been decoded.
func TestWork(t *testing.T) {
	const size = 16 * mib
	zeros := make([]byte, size)
	// Its inverse transform jumps about in memory, though it compresses well.
	periodic := bytes.Repeat(archive.Noise(1, 256), 4*mib/256)
	for _, c := range []struct {
		name string
		bomb archive.Entry
		most int64 // bytes decoded before the refusal
	}{
		{"bzip2, zeros", archive.Entry{Data: zeros, Method: archive.BZip2}, 7 * mib},
		{"bzip2, a block that is slow to invert", archive.Entry{Data: periodic, Method: archive.BZip2}, 3 * mib},
		{"zstd, zeros", archive.Entry{Data: zeros, Method: archive.Zstd, Raw: zeroFrame(size)}, 7 * mib},
	} {
		for _, name := range []string{"a.dll", "a.sym"} {
			t.Run(c.name+", "+name, func(t *testing.T) {
				c.bomb.Name = name
				data := archive.Build(archive.Entry{Name: "b.dll", Data: []byte("before")}, c.bomb)
				_, report, err := ziptest.Reading{Data: data, Rules: unlimited}.Do(t)
				ziptest.CheckError(t, err, workLimit(name))
				if report.Uncompressed > c.most {
					t.Errorf("refused after %d bytes", report.Uncompressed)
				}
			})
		}
	}
}

// TestWorkInPieces: the work of all entries together is limited too.
func TestWorkInPieces(t *testing.T) {
	for name, raw := range map[string][]byte{"zstd": zeroFrame(mib), "bzip2": archive.Compress(archive.BZip2, make([]byte, mib))} {
		var entries []archive.Entry
		for i := range 64 {
			entries = append(entries, archive.Entry{Name: fmt.Sprintf("%d.dll", i), Data: make([]byte, mib), Method: methods[name], Raw: raw})
		}
		_, report, err := ziptest.Reading{Data: archive.Build(entries...), Rules: unlimited}.Do(t)
		if limit, ok := errors.AsType[*stream.LimitError](err); !ok || limit.What != stream.WorkBound || report.Uncompressed > 16*mib {
			t.Errorf("%s: error %v after %d bytes", name, err, report.Uncompressed)
		}
	}
}

// TestHonestWork: honest files are accepted, even those that compress best.
func TestHonestWork(t *testing.T) {
	for _, c := range []struct {
		name  string
		entry string
		data  []byte
		ratio map[string]int // the least ratio, so that the test means something
	}{
		{"symbols", "a.sym", archive.Symbols(1, 2*mib), map[string]int{"deflate": 3, "zstd": 3, "bzip2": 4}},
		{
			"symbols that repeat", "a.sym", bytes.Repeat(archive.Symbols(2, 10_000), 400),
			map[string]int{"deflate": 100, "zstd": 1000, "bzip2": 100},
		},
		{"a large file of zeros", "a.dbg", make([]byte, 4*mib), map[string]int{"deflate": 1000, "zstd": 9000, "bzip2": 50_000}},
		{
			"a file with a long padding", "a.dbg", append(archive.Noise(3, 5_000), make([]byte, 8*mib)...),
			map[string]int{"deflate": 500, "zstd": 1000, "bzip2": 1000},
		},
	} {
		for method, m := range methods {
			t.Run(c.name+", "+method, func(t *testing.T) {
				e := archive.Entry{Name: c.entry, Data: c.data, Method: m}
				e.Raw = archive.Compress(m, c.data)
				if ratio := len(c.data) / len(e.Raw); ratio < c.ratio[method] {
					t.Errorf("compression ratio %d, want at least %d", ratio, c.ratio[method])
				}
				_, _, err := ziptest.Reading{Data: archive.Build(e), Rules: unlimited}.Do(t)
				ziptest.CheckError(t, err, nil)
			})
		}
	}
}
