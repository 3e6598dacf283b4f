package inflate_test

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"os"
	"testing"

	fastflate "github.com/klauspost/compress/flate"

	"spillway/stream/inflate"
	"spillway/testdata/archive"
)

// BenchmarkInflate compares decoders on the kinds of entries that archives have. The rate
// is of output.
func BenchmarkInflate(b *testing.B) {
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	code, err := os.ReadFile(program)
	if err != nil {
		b.Fatal(err)
	}
	var small [][]byte
	for n := range 20 {
		small = append(small, archive.Symbols(uint64(n), (5+10*n)<<10))
	}
	for _, shape := range []struct {
		name  string
		files [][]byte
	}{
		{"one of 16 MB", [][]byte{archive.Symbols(1, 16<<20)}},
		{"4 of 1 MB", [][]byte{archive.Symbols(1, 1<<20), archive.Symbols(2, 1<<20), archive.Symbols(3, 1<<20), archive.Symbols(4, 1<<20)}},
		{"20 of 5 to 195 KB", small},
		{"machine code", [][]byte{code[:min(len(code), 4<<20)]}},
		{"noise", [][]byte{archive.Noise(1, 4<<20)}},
	} {
		streams, size := make([][]byte, len(shape.files)), 0
		for i, data := range shape.files {
			streams[i] = likeZlib(b, data)
			size += len(data)
		}
		for _, decoder := range decoders() {
			b.Run(shape.name+"/"+decoder.name, func(b *testing.B) {
				b.SetBytes(int64(size))
				for b.Loop() {
					for _, stream := range streams {
						if err := decoder.decode(stream); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

// likeZlib compresses data with the standard library, whose matches and blocks are like
// those of zlib.
func likeZlib(b *testing.B, data []byte) []byte {
	b.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, 6)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

// A decoder decodes a stream and drops its output.
type decoder struct {
	name   string
	decode func([]byte) error
}

func decoders() []decoder {
	r, buffer := inflate.New(), make([]byte, 64<<10)
	reader := func(z io.ReadCloser) func([]byte) error {
		return func(stream []byte) error {
			if err := z.(flate.Resetter).Reset(bytes.NewReader(stream), nil); err != nil {
				return err
			}
			for {
				if _, err := z.Read(buffer); err != nil {
					return unlessEOF(err)
				}
			}
		}
	}
	return []decoder{
		{"this one", func(stream []byte) error {
			r.Reset(&inMemory{stream})
			for {
				if _, err := r.Next(); err != nil {
					return unlessEOF(err)
				}
			}
		}},
		{"klauspost", reader(fastflate.NewReader(nil))},
		{"library", reader(flate.NewReader(nil))},
	}
}

func unlessEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// inMemory is a source that returns all of its data at once.
type inMemory struct{ data []byte }

func (w *inMemory) Peek() ([]byte, error) {
	if len(w.data) == 0 {
		return nil, io.EOF
	}
	return w.data, nil
}

func (w *inMemory) Discard(n int) { w.data = w.data[n:] }
