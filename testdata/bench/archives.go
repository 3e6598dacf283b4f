package main

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
	"path/filepath"

	"github.com/klauspost/compress/flate"

	"spillway/testdata/archive"
)

// sample is an archive on disk.
type sample struct {
	Name  string
	Path  string
	Bytes int64
	Files int
}

// file is one of an archive's.
type file struct {
	name   string
	size   int64
	seed   uint64
	stored bool // and of noise; others are of symbols, deflated
}

// shapes are what is in the archives. They are the same on every machine.
var shapes = map[string]func() []file{
	"small": func() []file {
		var all []file
		for n := range uint64(72) {
			all = append(all, symbols(n, 39_000), stored(n, 32_000))
		}
		return all
	},
	"many":    func() []file { return many(5000) },
	"crowd":   func() []file { return many(20_000) },
	"100mb":   func() []file { return firefox(0, 0.213) },
	"firefox": func() []file { return firefox(0, 1) },
	"1gb":     func() []file { return firefox(0, 2.13) },
	"big": func() []file {
		var all []file
		for n := range uint64(9) {
			all = append(all, firefox(n*1000, 1)[:78]...)
		}
		return all
	},
}

// many are files of 5 to 109 KB.
func many(count uint64) (all []file) {
	r := rand.New(rand.NewPCG(5000, 1))
	for n := range count {
		all = append(all, symbols(n, 5_000+r.Int64N(104_000)))
	}
	return all
}

// firefox is one huge file, sixty middling ones and twenty that are stored, each
// so many times as large as in a real archive.
func firefox(seed uint64, scale float64) []file {
	size := func(n int64) int64 { return int64(float64(n) * scale) }
	all := []file{symbols(seed, size(1_200_000_000))}
	r := rand.New(rand.NewPCG(seed, 2))
	for n := range uint64(60) {
		all = append(all, symbols(seed+n+1, size(2_300_000+r.Int64N(8_000_000))))
	}
	for n := range uint64(20) {
		all = append(all, stored(seed+n+1, size(3_000_000+r.Int64N(6_600_000))))
	}
	return all
}

func symbols(seed uint64, size int64) file {
	return file{name: archive.SymbolsName(seed), size: size, seed: seed}
}

func stored(seed uint64, size int64) file {
	return file{name: archive.SymbolsName(seed) + ".dbg.gz", size: size, seed: seed, stored: true}
}

// version is in the names of the archives; it changes with what is in them.
const version = 1

// prepare makes an archive, unless it has been made before.
func prepare(ctx context.Context, cache, name string) (sample, error) {
	shape, ok := shapes[name]
	if !ok {
		return sample{}, fmt.Errorf("there is no archive %q", name)
	}
	files := shape()
	s := sample{Name: name, Path: filepath.Join(cache, fmt.Sprintf("%s-%d.zip", name, version)), Files: len(files)}
	info, err := os.Stat(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = write(ctx, s, files); err == nil {
			info, err = os.Stat(s.Path)
		}
	}
	if err != nil {
		return sample{}, err
	}
	s.Bytes = info.Size()
	return s, nil
}

// write writes an archive as Python's zipfile does to a file: all sizes are in
// front of what they are of.
func write(ctx context.Context, s sample, files []file) (err error) {
	if err := os.MkdirAll(filepath.Dir(s.Path), 0o755); err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(s.Path), s.Name+"-*.part")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, out.Close(), os.Remove(out.Name()))
		}
	}()
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
		h, data, err := f.pack(func(n int64) {
			if now := (done + n) * 100 / total; now > done*100/total {
				say("making %s: %d %%", s.Name, now)
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
	if err := errors.Join(z.Close(), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), s.Path)
}

// pack makes what is in a file, and its header.
func (f file) pack(made func(int64)) (*zip.FileHeader, []byte, error) {
	h := &zip.FileHeader{Name: f.name, UncompressedSize64: uint64(f.size)}
	if f.stored {
		data := archive.Noise(f.seed, int(f.size))
		h.CRC32, h.CompressedSize64 = crc32.ChecksumIEEE(data), uint64(f.size)
		made(f.size)
		return h, data, nil
	}
	h.Method = zip.Deflate
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, 6)
	if err != nil {
		return nil, nil, err
	}
	sum := crc32.NewIEEE()
	text := archive.SymbolsReader(f.seed, f.size)
	for left := f.size; left > 0; {
		n, err := io.CopyN(io.MultiWriter(w, sum), text, min(left, 4<<20))
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
