package bzip2_test

import (
	"bytes"
	stdbzip2 "compress/bzip2"
	"errors"
	"fmt"
	"io"
	"testing"

	"spillway/stream/bzip2"
	"spillway/testdata/archive"
	"spillway/testdata/pieces"
)

// decode decodes a stream, read in pieces of at most that many bytes.
func decode(r *bzip2.Reader, data []byte, most int) ([]byte, error) {
	r.Reset(&pieces.Source{Data: data, Most: most})
	return io.ReadAll(r)
}

func reference(data []byte) ([]byte, error) {
	return io.ReadAll(stdbzip2.NewReader(bytes.NewReader(data)))
}

// contents are contents whose streams use different features.
func contents() map[string][]byte {
	periodic := bytes.Repeat(archive.Noise(4, 256), 400)
	all := map[string][]byte{
		"nothing":        {},
		"a byte":         {7},
		"symbols":        archive.Symbols(1, 350_000),
		"noise":          archive.Noise(2, 150_000),
		"periodic noise": periodic,
		"zeros":          make([]byte, 3_000_000),
		"skewed":         skewed(),
	}
	for _, n := range []int{3, 4, 5, 6, 254, 255, 256, 258, 259, 260, 1000} {
		all[fmt.Sprintf("a run of %d", n)] = append(bytes.Repeat([]byte{'x'}, n), "yxxxxz"...)
	}
	return all
}

// skewed returns bytes of very different frequencies, which have long codes.
func skewed() (out []byte) {
	for i := range 17 {
		for range 1 << i {
			out = append(out, byte(i), byte(i+100))
		}
	}
	return out
}

// TestReader: one Reader decodes streams as the standard library does, in pieces of any size.
func TestReader(t *testing.T) {
	r := bzip2.New()
	for name, want := range contents() {
		for _, level := range []int{1, 9} {
			stream := archive.BZip2Stream(level, want)
			if got, err := reference(stream); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: the standard library reads %d bytes of %d, error %v", name, len(got), len(want), err)
			}
			for _, most := range []int{1, 7, 64, 4096, 1 << 30} {
				got, err := decode(r, stream, most)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s, level %d, pieces of %d: %d bytes of %d, error %v", name, level, most, len(got), len(want), err)
				}
			}
		}
	}
}

// TestStreamsInARow: only another stream may follow a stream.
func TestStreamsInARow(t *testing.T) {
	one, two := archive.BZip2Stream(1, []byte("one ")), archive.BZip2Stream(9, archive.Symbols(1, 200_000))
	got, err := decode(bzip2.New(), append(bytes.Clone(one), two...), 100)
	if want := append([]byte("one "), archive.Symbols(1, 200_000)...); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	for _, more := range []string{"x", "BZ", "BZh0", "more"} {
		if got, err := decode(bzip2.New(), append(bytes.Clone(one), more...), 100); err == nil || string(got) != "one " {
			t.Errorf("%q before %q, error %v", got, more, err)
		}
	}
}

// TestCutOff: a stream that ends too early never looks complete.
func TestCutOff(t *testing.T) {
	r := bzip2.New()
	stream := archive.BZip2Stream(9, archive.Symbols(3, 2_000))
	for n := range stream {
		if _, err := decode(r, stream[:n], 1<<20); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%d bytes of %d: error %v, want %v", n, len(stream), err, io.ErrUnexpectedEOF)
		}
	}
	failure := errors.New("the source fails")
	r.Reset(&pieces.Source{Data: stream[:100], Most: 10, Err: failure})
	if _, err := io.ReadAll(r); !errors.Is(err, failure) {
		t.Errorf("error %v, want the source's", err)
	}
}

// TestDamage: a stream with a flipped bit is refused.
func TestDamage(t *testing.T) {
	r := bzip2.New()
	stream := archive.BZip2Stream(9, archive.Symbols(3, 2_000))
	for bit := range 8 * (len(stream) - 1) {
		damaged := bytes.Clone(stream)
		damaged[bit/8] ^= 1 << (bit % 8)
		got, err := decode(r, damaged, 1<<20)
		if bit/8 == 3 && err == nil {
			continue // another level whose blocks are long enough
		}
		if err == nil {
			t.Errorf("bit %d: %d bytes and no error", bit, len(got))
		}
	}
	if got, err := decode(r, stream, 1<<20); err != nil || len(got) != 2_000 {
		t.Errorf("the intact stream: %d bytes, error %v", len(got), err)
	}
}

// TestResetAllocatesNothing: using a Reader again allocates nothing.
func TestResetAllocatesNothing(t *testing.T) {
	r := bzip2.New()
	stream := archive.BZip2Stream(9, archive.Symbols(3, 2_000))
	src := &inMemory{}
	buf := make([]byte, 4<<10)
	if n := testing.AllocsPerRun(10, func() {
		src.rest = stream
		r.Reset(src)
		for {
			if _, err := r.Read(buf); err != nil {
				return
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	r.Reset(nil)
	if n, err := r.Read(buf); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("without a source: %d bytes, error %v", n, err)
	}
}

// inMemory is a source that returns all of its data at once.
type inMemory struct{ rest []byte }

func (p *inMemory) Peek() ([]byte, error) {
	if len(p.rest) == 0 {
		return nil, io.EOF
	}
	return p.rest, nil
}

func (p *inMemory) Discard(n int) { p.rest = p.rest[n:] }

// FuzzReader compares the Reader with the standard library's.
func FuzzReader(f *testing.F) {
	for _, content := range contents() {
		f.Add(archive.BZip2Stream(1, content[:min(len(content), 5_000)]), uint16(100))
	}
	r := bzip2.New()
	f.Fuzz(func(t *testing.T, data []byte, most uint16) {
		const enough = 2 << 20 // a short stream may have a long output
		r.Reset(&pieces.Source{Data: data, Most: int(most) + 1})
		got, err := io.ReadAll(io.LimitReader(r, enough))
		want, wantErr := io.ReadAll(io.LimitReader(stdbzip2.NewReader(bytes.NewReader(data)), enough))
		if err == nil && (wantErr != nil || !bytes.Equal(got, want)) {
			t.Errorf("%d bytes; the standard library reads %d, error %v", len(got), len(want), wantErr)
		}
		if err != nil && wantErr == nil {
			if corrupt, ok := errors.AsType[*bzip2.CorruptError](err); !ok || !stricter[corrupt.Reason] {
				t.Errorf("error %v; the standard library reads %d bytes", err, len(want))
			}
		}
	})
}

// stricter are reasons for which the standard library does not refuse a stream.
var stricter = map[string]bool{
	"the code lengths are not a complete Huffman code": true,
	"a run without its length":                         true,
}

func BenchmarkReader(b *testing.B) {
	for _, bm := range []struct {
		name string
		data []byte
	}{
		{"symbols", archive.Symbols(1, 4<<20)}, {"zeros", make([]byte, 16<<20)}, {"periodic", bytes.Repeat(archive.Noise(4, 256), 8<<10)},
	} {
		stream := archive.BZip2Stream(9, bm.data)
		buf := make([]byte, 32<<10)
		b.Run(bm.name+"/ours", func(b *testing.B) {
			r := bzip2.New()
			b.SetBytes(int64(len(bm.data)))
			for b.Loop() {
				r.Reset(&inMemory{stream})
				if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bm.name+"/std", func(b *testing.B) {
			b.SetBytes(int64(len(bm.data)))
			for b.Loop() {
				r := stdbzip2.NewReader(bytes.NewReader(stream))
				if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
