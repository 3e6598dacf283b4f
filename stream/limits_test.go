package stream_test

import (
	"bytes"
	"compress/flate"
	"fmt"
	"slices"
	"sync"
	"testing"

	"spillway/stream"
	"spillway/testdata/archive"
	"spillway/testdata/ziptest"
)

// Archives that are too large are refused while they arrive. These tests check each fixed
// limit at its value, one below it and one above. The caller's limits are in limitRules of
// the zip package.

// TestBombIsRefusedEarly: an archive of 64 MiB of zeros is refused at the limit.
func TestBombIsRefusedEarly(t *testing.T) {
	const limit = 1 << 20
	bomb := archive.Build(archive.Entry{Name: "a.sym", Data: make([]byte, 64*mib), Raw: zeroStream(64 * mib), Method: archive.Deflate, Descriptor: archive.Signed32})
	_, report, err := ziptest.Reading{Data: bomb, Rules: &stream.Rules{Form: ziptest.FormByName, MaxEntries: 1, MaxUncompressed: limit}}.Do(t)
	ziptest.CheckError(t, err, &stream.LimitError{What: stream.UncompressedBound, Limit: limit})
	if report.Uncompressed > limit+mib {
		t.Errorf("refused after %d bytes", report.Uncompressed)
	}
}

const (
	maxRatio  = 200
	ratioFree = 16 * mib // bytes of any ratio
)

var unlimited = &stream.Rules{Form: ziptest.FormByName, MaxEntries: 1 << 20, MaxUncompressed: 1 << 40}

// TestExpansionRatio: an entry of too high a ratio is refused long before the limit on the
// archive, with sizes or a descriptor. A small one may have any ratio.
func TestExpansionRatio(t *testing.T) {
	for name, descriptor := range map[string]archive.DescriptorLayout{"sizes": archive.NoDescriptor, "a descriptor": archive.Signed32} {
		for size, refused := range map[int]bool{ratioFree - 1: false, ratioFree: false, ratioFree + 1: true, 4 * ratioFree: true} {
			t.Run(fmt.Sprintf("%s, %d bytes", name, size), func(t *testing.T) {
				bomb := archive.Build(archive.Entry{Name: "a.sym", Data: make([]byte, size), Raw: zeroStream(int64(size)), Method: archive.Deflate, Descriptor: descriptor})
				_, report, err := ziptest.Reading{Data: bomb, Rules: unlimited}.Do(t)
				var want error
				if refused {
					want = &stream.LimitError{What: stream.RatioBound, Limit: maxRatio, Entry: "a.sym"}
				}
				ziptest.CheckError(t, err, want)
				if report.Uncompressed > ratioFree+mib {
					t.Errorf("refused after %d bytes", report.Uncompressed)
				}
			})
		}
	}
}

// TestExpansionRatioAtItsValue has entries whose ratio is the limit, to the byte.
func TestExpansionRatioAtItsValue(t *testing.T) {
	for over := range int64(3) {
		data, raw := expanding(t, over-1)
		e := archive.Entry{Name: "a.dll", Method: archive.Deflate, Raw: raw, Data: data}
		_, _, err := ziptest.Reading{Data: archive.Build(e), Rules: unlimited}.Do(t)
		var want error
		if over-1 > 0 {
			want = &stream.LimitError{What: stream.RatioBound, Limit: maxRatio, Entry: "a.dll"}
		}
		ziptest.CheckError(t, err, want)
	}
}

// expanding returns a deflate stream and its content, which has over bytes more than the
// ratio allows.
func expanding(t *testing.T, over int64) (data, raw []byte) {
	t.Helper()
	noise := archive.Noise(1, 120_000)
	// Two stored blocks of noise (RFC 1951, section 3.2.4), and as many zeros as
	// needed.
	var head []byte
	for block := range slices.Chunk(noise, len(noise)/2) {
		n := uint16(len(block))
		head = append(append(head, 0, byte(n), byte(n>>8), ^byte(n), ^byte(n>>8)), block...)
	}
	zeros := int64(maxRatio * len(head))
	for range 100 {
		raw = slices.Concat(head, zeroStream(zeros))
		size := maxRatio*int64(len(raw)) + over
		if int64(len(noise))+zeros == size {
			return slices.Concat(noise, make([]byte, zeros)), raw
		}
		zeros = size - int64(len(noise))
	}
	t.Fatal("no number of zeros gives that ratio")
	return nil, nil
}

// zeroStream returns a deflate stream of n zeros. It repeats one block, because compressing
// is slow under the race detector.
func zeroStream(n int64) []byte {
	return append(bytes.Repeat(zeroBlock(), int(n/mib)), archive.Compress(archive.Deflate, make([]byte, n%mib))...)
}

// zeroBlock is a MiB of zeros, deflated, that ends at a byte boundary (RFC 1951, section
// 3.2.4).
var zeroBlock = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.DefaultCompression) // cannot fail: the level is valid
	_, _ = w.Write(make([]byte, mib))
	_ = w.Flush()
	return b.Bytes()
})

// TestBombInPieces: the ratio of all entries together is limited too.
func TestBombInPieces(t *testing.T) {
	const piece = 512 << 10
	data := append(archive.Noise(1, 1400), make([]byte, piece-1400)...) // so that the limit on work is not reached
	for pieces, refused := range map[int]bool{ratioFree/piece - 1: false, ratioFree / piece: false, ratioFree/piece + 1: true, 8 * ratioFree / piece: true} {
		for _, way := range []struct {
			method     uint16
			descriptor archive.DescriptorLayout // with one, the decoder reads ahead into the next piece
		}{{archive.Deflate, archive.NoDescriptor}, {archive.Deflate, archive.Signed32}, {archive.Zstd, archive.NoDescriptor}} {
			t.Run(fmt.Sprintf("%d pieces, %+v", pieces, way), func(t *testing.T) {
				var entries []archive.Entry
				raw := archive.Compress(way.method, data)
				for i := range pieces {
					entries = append(entries, archive.Entry{Name: fmt.Sprintf("%d.dll", i), Data: data, Raw: raw, Method: way.method, Descriptor: way.descriptor})
				}
				_, report, err := ziptest.Reading{Data: archive.Build(entries...), Rules: unlimited}.Do(t)
				var want error
				if refused {
					want = &stream.LimitError{What: stream.RatioBound, Limit: maxRatio}
				}
				ziptest.CheckError(t, err, want)
				if report.Uncompressed > ratioFree+8*mib {
					t.Errorf("refused after %d bytes", report.Uncompressed)
				}
			})
		}
	}
}
