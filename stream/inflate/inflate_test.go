package inflate_test

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	fastflate "github.com/klauspost/compress/flate"

	"spillway/stream/inflate"
	"spillway/testdata/archive"
	"spillway/testdata/pieces"
)

// all reads a stream to its end. It checks that a chunk stays valid until the next call but
// one.
func all(r *inflate.Reader, s inflate.Source) ([]byte, error) {
	r.Reset(s)
	var out, before, kept []byte
	for {
		chunk, err := r.Next()
		if !bytes.Equal(before, kept) {
			return out, errors.New("a chunk was changed while it was valid")
		}
		if err != nil {
			if len(chunk) > 0 {
				return out, errors.New("a chunk with an error")
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return out, err
		}
		if len(chunk) == 0 || len(chunk) > inflate.MaxChunk {
			return out, fmt.Errorf("a chunk of %d bytes", len(chunk))
		}
		out = append(out, chunk...)
		before, kept = chunk, bytes.Clone(chunk)
	}
}

// deflated compresses data at a level.
func deflated(t testing.TB, data []byte, level int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := fastflate.NewWriter(&out, level)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Flush() // an empty stored block
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// contents are what the tests compress.
func contents() map[string][]byte {
	text := archive.Symbols(1, 300_000)
	words := make([]byte, 0, 200_000)
	for r := rand.New(rand.NewPCG(1, 2)); len(words) < cap(words); {
		words = append(words, "abcdefghij"[r.IntN(10)], byte(r.IntN(3)))
	}
	return map[string][]byte{
		"nothing": {}, "a byte": {7}, "zeros": make([]byte, 200_000), "symbols": text, "noise": archive.Noise(1, 200_000),
		"words": words, "a period of 3": bytes.Repeat([]byte("abc"), 50_000), "a period of 32 KiB": bytes.Repeat(archive.Noise(2, 32<<10), 5),
		"a little": []byte("a little, a little more"),
	}
}

// TestStreams decodes streams in pieces of any size, and stops at their ends.
func TestStreams(t *testing.T) {
	r := inflate.New()
	for name, data := range contents() {
		for _, level := range []int{fastflate.HuffmanOnly, 0, 1, 5, 9} {
			compressed := deflated(t, data, level)
			for _, most := range []int{1, 2, 3, 5, 7, 8, 9, 11, 17, 4096, 1 << 20} {
				s := &pieces.Source{Data: append(bytes.Clone(compressed), "what follows"...), Most: most}
				got, err := all(r, s)
				if err != nil || !bytes.Equal(got, data) {
					t.Fatalf("%s, level %d, %d bytes at a time: %d bytes of %d, error %v", name, level, most, len(got), len(data), err)
				}
				if s.At != len(compressed) {
					t.Fatalf("%s, level %d, %d bytes at a time: used %d bytes of %d", name, level, most, s.At, len(compressed))
				}
			}
		}
	}
}

// split is a source that returns data in two pieces.
type split struct {
	pieces.Source
	cut int
}

func (s *split) Peek() ([]byte, error) {
	s.Most = len(s.Data)
	if s.At < s.cut {
		s.Most = s.cut - s.At
	}
	return s.Source.Peek()
}

// TestEverySplitAndEveryEnd: the input may be split anywhere, and a stream that ends too
// early never looks complete.
func TestEverySplitAndEveryEnd(t *testing.T) {
	r := inflate.New()
	data := archive.Symbols(3, 6000)
	for _, level := range []int{fastflate.HuffmanOnly, 0, 6} {
		compressed := deflated(t, data, level)
		for cut := range len(compressed) {
			got, err := all(r, &split{pieces.Source{Data: compressed}, cut})
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("level %d, split at %d: error %v", level, cut, err)
			}
			got, err = all(r, &pieces.Source{Data: compressed[:cut], Most: 1000})
			if !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.HasPrefix(data, got) {
				t.Fatalf("level %d, ends at %d: %d bytes, error %v", level, cut, len(got), err)
			}
			boom := errors.New("boom")
			if _, err = all(r, &pieces.Source{Data: compressed[:cut], Most: 1000, Err: boom}); !errors.Is(err, boom) {
				t.Fatalf("level %d, fails at %d: error %v", level, cut, err)
			}
		}
	}
}

// bitWriter writes streams bit by bit.
type bitWriter struct {
	bytes []byte
	n     int
}

func (w *bitWriter) put(v uint, n int) *bitWriter {
	for i := range n {
		if w.n%8 == 0 {
			w.bytes = append(w.bytes, 0)
		}
		w.bytes[w.n/8] |= byte(v>>i&1) << (w.n % 8)
		w.n++
	}
	return w
}

// code writes a code, highest bit first.
func (w *bitWriter) code(v uint, n int) *bitWriter {
	for i := n - 1; i >= 0; i-- {
		w.put(v>>i, 1)
	}
	return w
}

// dynamic begins a final block with dynamic codes: lits and dists are the numbers of code
// lengths, and lengths the code lengths of their code, in the order of the format.
func dynamic(lits, dists uint, lengths ...uint) *bitWriter {
	w := new(bitWriter).put(1, 1).put(2, 2).put(lits-257, 5).put(dists-1, 5).put(uint(len(lengths))-4, 4)
	for _, n := range lengths {
		w.put(n, 3)
	}
	return w
}

// oneBitLengths are codes of one bit for the lengths 0 and 1: 0 is 0, 1 is 1.
var oneBitLengths = []uint{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}

// TestRules has streams that encoders never write.
func TestRules(t *testing.T) {
	fixed := func() *bitWriter { return new(bitWriter).put(1, 1).put(1, 2) }
	literal := func(w *bitWriter, b byte) *bitWriter { return w.code(0x30+uint(b), 8) }
	zeros := func(w *bitWriter, n int) *bitWriter {
		for range n {
			w.put(0, 1)
		}
		return w
	}
	lengthsOf := func(dists uint, set ...int) *bitWriter { // of code length 1; all others have 0
		w := dynamic(257, dists, oneBitLengths...)
		for s := range 257 + int(dists) {
			one := uint(0)
			for _, i := range set {
				if i == s {
					one = 1
				}
			}
			w.put(one, 1)
		}
		return w
	}
	for name, c := range map[string]struct {
		stream *bitWriter
		want   string // of the output
		valid  bool
	}{
		"nothing":                         {new(bitWriter), "", false},
		"block type 3":                    {new(bitWriter).put(1, 1).put(3, 2), "", false},
		"an empty fixed block":            {fixed().code(0, 7), "", true},
		"a literal":                       {literal(fixed(), 'a').code(0, 7), "a", true},
		"a match that overlaps":           {literal(fixed(), 'a').code(2, 7).code(0, 5).code(0, 7), "aaaaa", true}, // of 4
		"a match before the stream":       {literal(fixed(), 'a').code(1, 7).code(1, 5).code(0, 7), "a", false},    // at 2
		"a match at the start":            {fixed().code(1, 7).code(0, 5).code(0, 7), "", false},
		"literal 286":                     {fixed().code(0xC6, 8).code(0, 7), "", false},
		"distance 30":                     {literal(fixed(), 'a').code(1, 7).code(30, 5).code(0, 7), "a", false},
		"a stored block":                  {new(bitWriter).put(1, 3).put(0, 5).put(2, 16).put(0xfffd, 16).put('h', 8).put('i', 8), "hi", true},
		"an empty stored block":           {new(bitWriter).put(1, 3).put(0, 5).put(0, 16).put(0xffff, 16), "", true},
		"a stored block, lengths differ":  {new(bitWriter).put(1, 3).put(0, 5).put(2, 16).put(0xfffc, 16).put('h', 8).put('i', 8), "", false},
		"only an end code, of one bit":    {lengthsOf(1, 256).put(0, 1), "", true},
		"the other code of one bit":       {lengthsOf(1, 256).put(1, 1).put(0, 15), "", false},
		"no symbols":                      {zeros(lengthsOf(1), 16), "", false},
		"two literals and no end":         {lengthsOf(1, 97, 98).put(0, 1).put(1, 1), "abaaaaa", false},
		"three codes of one bit":          {lengthsOf(1, 97, 98, 256), "", false},
		"a literal, an end, no distances": {lengthsOf(1, 97, 256).put(0, 1).put(0, 1).put(1, 1), "aa", true},
		"287 literals":                    {dynamic(287, 1, oneBitLengths...), "", false},
		"31 distances":                    {dynamic(257, 31, oneBitLengths...), "", false},
		"repeats nothing":                 {dynamic(257, 1, 1, 0, 0, 1).put(1, 1).put(0, 2), "", false}, // 0 is 0, 16 is 1
		"repeats too much":                {dynamic(257, 1, 0, 0, 1, 1).put(1, 1).put(127, 7).put(1, 1).put(127, 7).put(0, 1), "", false},
		"code lengths that are no code":   {dynamic(257, 1, 1, 1, 1, 1), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &pieces.Source{Data: c.stream.bytes, Most: 100}
			got, err := all(inflate.New(), s)
			if string(got) != c.want || (err == nil) != c.valid {
				t.Errorf("got %q, error %v", got, err)
			}
			if c.valid && s.At != len(s.Data) {
				t.Errorf("used %d bytes of %d", s.At, len(s.Data))
			}
			for most := range 16 {
				compare(t, c.stream.bytes, most+1)
			}
		})
	}
}

// match writes a match in the fixed codes (RFC 1951, sections 3.2.5 and 3.2.6).
func (w *bitWriter) match(length, distance uint) *bitWriter {
	symbol, base, extra := uint(257), uint(3), 0
	for length >= base+1<<extra {
		base += 1 << extra
		symbol++
		extra = max(0, (int(symbol)-261)/4)
	}
	if length == 258 {
		symbol, base, extra = 285, 258, 0
	}
	if symbol < 280 {
		w.code(symbol-256, 7)
	} else {
		w.code(0xC0+symbol-280, 8)
	}
	w.put(length-base, extra)
	symbol, base, extra = 0, 1, 0
	for distance >= base+1<<extra {
		base += 1 << extra
		symbol++
		extra = max(0, int(symbol)/2-1)
	}
	return w.code(symbol, 5).put(distance-base, extra)
}

// TestMatches copies matches of every length from every short distance, and from some long
// ones.
func TestMatches(t *testing.T) {
	distances := []uint{63, 64, 65, 255, 256, 257, 4095, 4096, 4097, 24576, 24577, 32767, 32768}
	for d := range uint(40) {
		distances = append(distances, d+1)
	}
	r := inflate.New()
	before := archive.Noise(1, 32<<10)
	for _, distance := range distances {
		var want []byte
		w := new(bitWriter).put(1, 1).put(1, 2)
		for _, c := range before[:distance] {
			if c < 144 {
				w.code(0x30+uint(c), 8)
			} else {
				w.code(0x190+uint(c)-144, 9)
			}
		}
		want = append(want, before[:distance]...)
		for length := uint(3); length <= 258; length++ {
			w.match(length, distance)
			for range length {
				want = append(want, want[uint(len(want))-distance])
			}
			w.code(0x30+length%100, 8)
			want = append(want, byte(length%100))
		}
		w.code(0, 7)
		got, err := all(r, &pieces.Source{Data: w.bytes, Most: 1 << 20})
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("distance %d: error %v, %d bytes of %d", distance, err, len(got), len(want))
		}
	}
}

// compare checks that the standard library agrees on a stream. If the stream is valid,
// klauspost's decoder must agree too. That also accepts some invalid streams, with an unused
// distance code.
func compare(t *testing.T, data []byte, most int) {
	t.Helper()
	s := &pieces.Source{Data: data, Most: most}
	got, err := all(inflate.New(), s)
	in := bytes.NewReader(data)
	want, wantErr := io.ReadAll(flate.NewReader(in))
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("error %v; the library returns %v", err, wantErr)
	}
	early := errors.Is(wantErr, io.ErrUnexpectedEOF) && (bytes.HasPrefix(got, want) || bytes.HasPrefix(want, got))
	if !bytes.Equal(got, want) && !early {
		t.Fatalf("%d bytes and error %v; the library returns %d", len(got), err, len(want))
	}
	if err != nil {
		return
	}
	if used := len(data) - in.Len(); s.At != used {
		t.Fatalf("used %d bytes, the library %d", s.At, used)
	}
	if again, err := io.ReadAll(fastflate.NewReader(bytes.NewReader(data))); err != nil || !bytes.Equal(got, again) {
		t.Fatalf("klauspost's decoder: error %v, output differs %t", err, !bytes.Equal(got, again))
	}
}

// TestReset: a Reader may be used again after any stream, and allocates nothing.
func TestReset(t *testing.T) {
	r := inflate.New()
	data := archive.Symbols(1, 100_000)
	compressed := deflated(t, data, 6)
	for n := range 50 {
		broken := bytes.Clone(compressed[:len(compressed)*n/50])
		if n > 0 {
			broken[n*7%len(broken)] ^= 0x55
		}
		_, _ = all(r, &pieces.Source{Data: broken, Most: 100}) // any error will do
		if got, err := all(r, &pieces.Source{Data: compressed, Most: 1000}); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("after a broken stream: %v", err)
		}
	}
	src := &inMemory{}
	allocs := testing.AllocsPerRun(20, func() {
		src.data = compressed
		r.Reset(src)
		for {
			if _, err := r.Next(); err != nil {
				return
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// FuzzInflate decodes arbitrary bytes.
func FuzzInflate(f *testing.F) {
	for _, data := range contents() {
		for _, level := range []int{fastflate.HuffmanOnly, 1, 6} {
			compressed := deflated(f, data[:min(len(data), 3000)], level)
			f.Add(compressed, byte(9))
			f.Add(compressed[:len(compressed)/2], byte(1))
			compressed[len(compressed)/3] ^= 4
			f.Add(compressed, byte(200))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, most byte) { compare(t, data, int(most)+1) })
}

// FuzzDeflated damages valid streams, since few arbitrary inputs are valid.
func FuzzDeflated(f *testing.F) {
	for _, data := range contents() {
		f.Add(data[:min(len(data), 5000)], byte(6), uint16(100), byte(1), byte(8))
		f.Add(data[:min(len(data), 5000)], byte(1), uint16(3), byte(0), byte(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, level byte, at uint16, flip, most byte) {
		compressed := deflated(t, data, int(level)%12-2)
		compressed[int(at)%len(compressed)] ^= flip
		compare(t, compressed, int(most)+1)
	})
}
