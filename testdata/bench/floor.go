package main

import (
	"archive/zip"
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"spillway/stream/inflate"
)

// gunzips are what inflates the same entries for comparison, each with a CRC-32.
var gunzips = []struct {
	what    string
	program string // empty: this one
	args    []string
	debian  string // the package of the program
}{
	{libdeflate, "libdeflate-gunzip", []string{"-t"}, "libdeflate-tools"},
	{isal, "igzip", []string{"-t"}, "isal"},
	{ownInflater, "", []string{inflateCommand}, ""},
}

// floor measures how long it takes only to inflate the .sym entries of an archive. The
// programs that do it are processes of their own, and their input is in memory.
func (b *bench) floor(ctx context.Context, w work) (err error) {
	folder, err := os.MkdirTemp(memoryFolder(), "spillway-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	names, err := writeMembers(folder, w.Path)
	if err != nil {
		return err
	}
	for _, g := range gunzips {
		program := g.program
		if program == "" {
			program, err = os.Executable()
		} else {
			program, err = exec.LookPath(program)
		}
		if errors.Is(err, exec.ErrNotFound) {
			b.note("%s is not installed (Debian: %s).", g.program, g.debian)
			continue
		}
		if err != nil {
			return err
		}
		say("%s: %s", w.Name, g.what)
		r := b.result(w, g.what)
		cmd := exec.CommandContext(ctx, program, append(g.args, names...)...)
		cmd.Dir = folder
		begun := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", program, err, out)
		}
		r.Wall, r.CPU = time.Since(begun).Seconds(), cpuOf(cmd)
		b.results = append(b.results, r)
	}
	return nil
}

// cpuOf returns the CPU time of a process that has ended, in seconds.
func cpuOf(cmd *exec.Cmd) float64 {
	return (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
}

// memoryFolder is a folder in memory, or empty where there is none.
func memoryFolder() string {
	const folder = "/dev/shm"
	if _, err := os.Stat(folder); err != nil {
		return ""
	}
	return folder
}

// The header of a gzip member without a name (RFC 1952, section 2.3).
const memberHeader = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

// memberTrailer is the length of what follows the deflate stream: CRC-32 and size.
const memberTrailer = 8

// writeMembers writes the deflated .sym entries of an archive as .gz files into a folder, and
// returns their names.
func writeMembers(folder, path string) (names []string, err error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	for _, f := range z.File {
		if f.Method != zip.Deflate || !strings.HasSuffix(f.Name, ".sym") {
			continue
		}
		name := fmt.Sprintf("%d.gz", len(names))
		names = append(names, name)
		if err := writeMember(filepath.Join(folder, name), f); err != nil {
			return nil, err
		}
	}
	return names, nil
}

func writeMember(path string, f *zip.File) (err error) {
	compressed, err := f.OpenRaw()
	if err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.WriteString(out, memberHeader); err != nil {
		return err
	}
	if _, err := io.Copy(out, compressed); err != nil {
		return err
	}
	trailer := binary.LittleEndian.AppendUint32(nil, f.CRC32)
	_, err = out.Write(binary.LittleEndian.AppendUint32(trailer, uint32(f.UncompressedSize64)))
	return err
}

// inflateAll checks .gz files that writeMembers has written, with Spillway's inflater.
func inflateAll(paths []string) error {
	r, in := inflate.New(), bufio.NewReaderSize(nil, 256<<10)
	for _, path := range paths {
		if err := inflateMember(r, in, path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func inflateMember(r *inflate.Reader, in *bufio.Reader, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in.Reset(f)
	if _, err := in.Discard(len(memberHeader)); err != nil {
		return err
	}
	r.Reset(source{in})
	sum, size := uint32(0), uint32(0)
	for {
		chunk, err := r.Next()
		sum, size = crc32.Update(sum, crc32.IEEETable, chunk), size+uint32(len(chunk))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	trailer := make([]byte, memberTrailer)
	if _, err := io.ReadFull(in, trailer); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(trailer) != sum || binary.LittleEndian.Uint32(trailer[4:]) != size {
		return errors.New("its checksum or its size is wrong")
	}
	return nil
}

// source is a file as the inflater reads it.
type source struct{ *bufio.Reader }

func (s source) Peek() ([]byte, error) {
	const little = 16 << 10 // less is decoded slowly
	n := s.Buffered()
	if n < little {
		n = s.Size()
	}
	data, err := s.Reader.Peek(n)
	if len(data) > 0 {
		return data, nil
	}
	return nil, err
}

func (s source) Discard(n int) {
	if _, err := s.Reader.Discard(n); err != nil {
		panic(err) // that many bytes are buffered
	}
}
