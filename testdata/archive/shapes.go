package archive

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// Sample is an archive on disk.
type Sample struct {
	Name  string
	Path  string
	Bytes int64
	Files int
}

// shaped is a file of a shape.
type shaped struct {
	name   string
	size   int64 // uncompressed bytes
	seed   uint64
	noise  bool // the content is noise; else symbols
	method uint16
}

// shapes are the archives that people upload, and larger and smaller ones. They are the same
// on every machine.
var shapes = map[string]func() []shaped{
	"small": func() []shaped {
		var all []shaped
		for n := range uint64(72) {
			all = append(all, shapedSymbols(n, 39_000), shapedNoise(n, 32_000))
		}
		return all
	},
	"many":   func() []shaped { return many(5000) },
	"crowd":  func() []shaped { return many(20_000) },
	"zstd":   func() []shaped { return compressed(Zstd) },
	"bzip2":  func() []shaped { return compressed(BZip2) },
	"stored": func() []shaped { return compressed(Store) },
	"names": func() (all []shaped) {
		for n := range uint64(3000) {
			f := shapedSymbols(n, 300)
			f.name = strings.TrimSuffix(f.name, ".sym") + strings.Repeat("-", 900-len(f.name)) + ".sym"
			all = append(all, f)
		}
		return all
	},
	"100mb":   func() []shaped { return firefox(0, 0.213) },
	"firefox": func() []shaped { return firefox(0, 1) },
	"1gb":     func() []shaped { return firefox(0, 2.13) },
	"big": func() []shaped {
		var all []shaped
		for n := range uint64(9) {
			all = append(all, firefox(n*1000, 1)[:78]...)
		}
		return all
	},
}

// many are files of 5 to 109 KB.
func many(count uint64) (all []shaped) {
	r := rand.New(rand.NewPCG(5000, 1))
	for n := range count {
		all = append(all, shapedSymbols(n, 5_000+r.Int64N(104_000)))
	}
	return all
}

// firefox is one huge file, sixty medium ones and twenty stored ones, with the sizes of a real
// archive times scale.
func firefox(seed uint64, scale float64) []shaped {
	size := func(n int64) int64 { return int64(float64(n) * scale) }
	all := []shaped{shapedSymbols(seed, size(1_200_000_000))}
	r := rand.New(rand.NewPCG(seed, 2))
	for n := range uint64(60) {
		all = append(all, shapedSymbols(seed+n+1, size(2_300_000+r.Int64N(8_000_000))))
	}
	for n := range uint64(20) {
		all = append(all, shapedNoise(seed+n+1, size(3_000_000+r.Int64N(6_600_000))))
	}
	return all
}

// compressed is forty files of symbols, all compressed with one method.
func compressed(method uint16) (all []shaped) {
	r := rand.New(rand.NewPCG(uint64(method), 3))
	for n := range uint64(40) {
		f := shapedSymbols(n, 50_000+r.Int64N(3_000_000))
		f.method = method
		all = append(all, f)
	}
	return all
}

func shapedSymbols(seed uint64, size int64) shaped {
	return shaped{name: SymbolsName(seed), size: size, seed: seed, method: Deflate}
}

func shapedNoise(seed uint64, size int64) shaped {
	return shaped{name: SymbolsName(seed) + ".dbg.gz", size: size, seed: seed, noise: true, method: Store}
}

// shapesVersion is in the names of the cached archives. It changes with their contents.
const shapesVersion = 1

// Cache returns the user's folder for archives that are slow to make.
func Cache() (string, error) {
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "spillway-bench"), err
}

// Prepare makes an archive of a shape (small, many, crowd, 100mb, firefox, 1gb,
// big, zstd, bzip2, stored or names) in a folder, unless it is there already. It reports
// progress to tell. The shape bzip2 needs the program bzip2.
func Prepare(ctx context.Context, cache, name string, tell func(format string, args ...any)) (Sample, error) {
	shape, ok := shapes[name]
	if !ok {
		return Sample{}, fmt.Errorf("unknown archive %q", name)
	}
	files := shape()
	s := Sample{Name: name, Path: filepath.Join(cache, fmt.Sprintf("%s-%d.zip", name, shapesVersion)), Files: len(files)}
	info, err := os.Stat(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = s.write(ctx, files, tell); err == nil {
			info, err = os.Stat(s.Path)
		}
	}
	if err != nil {
		return Sample{}, err
	}
	s.Bytes = info.Size()
	return s, nil
}

// write writes an archive as Python's zipfile does: local headers have all sizes.
func (s Sample) write(ctx context.Context, files []shaped, tell func(format string, args ...any)) (err error) {
	if err := os.MkdirAll(filepath.Dir(s.Path), 0o755); err != nil {
		return err
	}
	out, err := renameio.NewPendingFile(s.Path, renameio.WithTempDir(filepath.Dir(s.Path)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Cleanup()) }()
	var total int64
	for _, f := range files {
		total += f.size
	}
	var done int64 // bytes
	z := zip.NewWriter(out)
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, data, err := f.compress(ctx, func(n int64) {
			if now := (done + n) * 100 / total; now > done*100/total {
				tell("making %s: %d %%", s.Name, now)
			}
			done += n
		})
		if err != nil {
			return err
		}
		w, err := z.CreateRaw(h)
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	return out.CloseAtomicallyReplace()
}

// compress returns a file's header and its compressed bytes. It calls made with the number of
// uncompressed bytes as it goes.
func (f shaped) compress(ctx context.Context, made func(int64)) (*zip.FileHeader, []byte, error) {
	h := &zip.FileHeader{Name: f.name, Method: f.method, UncompressedSize64: uint64(f.size)}
	var out bytes.Buffer
	w, err := f.compressor(ctx, &out)
	if err != nil {
		return nil, nil, err
	}
	sum := crc32.NewIEEE()
	content := SymbolsReader(f.seed, f.size)
	if f.noise {
		content = bytes.NewReader(Noise(f.seed, int(f.size)))
	}
	for left := f.size; left > 0; {
		n, err := io.CopyN(io.MultiWriter(w, sum), content, min(left, 4<<20))
		if err != nil {
			return nil, nil, err
		}
		left -= n
		made(n)
	}
	if err := w.Close(); err != nil {
		return nil, nil, err
	}
	h.CRC32, h.CompressedSize64 = sum.Sum32(), uint64(out.Len())
	return h, out.Bytes(), nil
}

// compressor returns a writer that compresses to out with f's method.
func (f shaped) compressor(ctx context.Context, out io.Writer) (io.WriteCloser, error) {
	switch f.method {
	case Deflate:
		return flate.NewWriter(out, 6)
	case Zstd:
		return zstd.NewWriter(out, zstd.WithEncoderConcurrency(1))
	case BZip2:
		return newBzip2(ctx, out)
	}
	return plain{out}, nil
}

// plain writes bytes unchanged.
type plain struct{ io.Writer }

func (plain) Close() error { return nil }

// bzip2Writer compresses with the program bzip2, because the Go library only decompresses.
type bzip2Writer struct {
	io.WriteCloser // the program's standard input
	command        *exec.Cmd
}

func newBzip2(ctx context.Context, out io.Writer) (*bzip2Writer, error) {
	w := &bzip2Writer{command: exec.CommandContext(ctx, "bzip2", "-9")}
	w.command.Stdout = out
	var err error
	if w.WriteCloser, err = w.command.StdinPipe(); err != nil {
		return nil, err
	}
	return w, w.command.Start()
}

func (w *bzip2Writer) Close() error { return errors.Join(w.WriteCloser.Close(), w.command.Wait()) }
