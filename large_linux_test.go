package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/klauspost/compress/flate"

	"spillway/testdata/archive"
	"spillway/testdata/daemon"
	"spillway/testdata/s3server"
)

const (
	largeSize   = 1200 << 20 // of the entry, expanded
	largeBlock  = 8 << 20    // of it that are made; the rest repeats them
	largeMemory = 160 << 20  // what the process may have resident, with --memory 64MiB
)

// An entry of 1.2 GB goes through a process of little memory into an object of
// many parts, without the disk.
func TestLargeEntry(t *testing.T) {
	// The race detector would multiply the memory that is measured.
	folder := filepath.Join(built, "plain")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	binary, err := daemon.Build(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	server := s3server.Start(t)
	bucket := server.Bucket(t)
	d := startBinary(t, binary, credentialsOf(server),
		"--dev", "--log-format=json", "--memory=64MiB", "--s3-endpoint="+server.Endpoint, "--s3-bucket="+bucket)
	before := written(t, d.PID())

	entry := newLargeEntry(t)
	w := &watched{r: entry.archive(), look: func() { wantNoFiles(t, d.PID()) }}
	a, err := send(within(t), d.API, "dev", w)
	if err != nil {
		t.Fatal(err)
	}
	if a.status != 201 || !slices.Equal(a.Upload.UploadedKeys, []string{entry.name}) {
		t.Fatalf("%+v", a)
	}
	if w.looks < 100 {
		t.Errorf("the process was looked at %d times only", w.looks)
	}
	if peak := resident(t, d.PID()); peak > largeMemory {
		t.Errorf("%d MiB were resident at the most, want at most %d", peak>>20, largeMemory>>20)
	} else {
		t.Logf("%d MiB were resident at the most", peak>>20)
	}
	if got := written(t, d.PID()) - before; got != 0 {
		t.Errorf("%d bytes were written to a disk", got)
	}
	entry.wantObject(t, server, bucket, "v1/"+entry.name)

	again, err := send(within(t), d.API, "dev", entry.archive())
	if err != nil || again.status != 201 || !slices.Equal(again.Upload.SkippedKeys, []string{entry.name}) {
		t.Errorf("again: %+v, error %v; want it skipped", again, err)
	}
}

// largeEntry is an entry whose text is one block again and again, and so is its
// deflate stream.
type largeEntry struct {
	name       string
	block      []byte // deflated, ends at a byte's boundary and refers to nothing before it
	blocks     int
	crc32      uint32
	compressed int64
}

// lastBlock is an empty final block of a deflate stream (RFC 1951, section 3.2.6).
var lastBlock = []byte{3, 0}

func newLargeEntry(t *testing.T) *largeEntry {
	t.Helper()
	e := &largeEntry{name: archive.SymbolsName(9), blocks: largeSize / largeBlock}
	text := archive.Symbols(9, largeBlock)
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	e.block = out.Bytes()
	e.compressed = int64(len(e.block)*e.blocks + len(lastBlock))
	for range e.blocks {
		e.crc32 = crc32.Update(e.crc32, crc32.IEEETable, text)
	}
	expanded, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(e.block), bytes.NewReader(lastBlock))))
	if err != nil || !bytes.Equal(expanded, text) {
		t.Fatalf("a block expands to %d bytes, error %v, want %d", len(expanded), err, len(text))
	}
	return e
}

// archive is a zip of the entry, as Python's zipfile writes it.
func (e *largeEntry) archive() io.Reader {
	stub := archive.Build(archive.Entry{
		Name: e.name, Method: archive.Deflate, Raw: []byte{},
		Local: func(h *archive.LocalHeader) {
			h.CRC32, h.Compressed, h.Expanded = e.crc32, uint32(e.compressed), largeSize
		},
		Row: func(r *archive.Row) {
			r.CRC32, r.Compressed, r.Expanded = e.crc32, uint32(e.compressed), largeSize
		},
	})
	header := 30 + len(e.name)
	// The directory begins where the entry's bytes end (APPNOTE 4.3.16: the
	// offset is at byte 16 of the last 22).
	offset := stub[len(stub)-6:]
	binary.LittleEndian.PutUint32(offset, uint32(header)+uint32(e.compressed))

	parts := []io.Reader{bytes.NewReader(stub[:header])}
	for range e.blocks {
		parts = append(parts, bytes.NewReader(e.block))
	}
	return io.MultiReader(append(parts, bytes.NewReader(lastBlock), bytes.NewReader(stub[header:]))...)
}

// wantObject checks that the object has several parts and expands to the entry.
func (e *largeEntry) wantObject(t *testing.T, server *s3server.Server, bucket, key string) {
	t.Helper()
	api := s3.New(s3.Options{
		BaseEndpoint: &server.Endpoint, Region: s3server.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(server.AccessKey, server.SecretKey, ""),
	})
	object, err := api.GetObject(context.WithoutCancel(t.Context()), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Body.Close()
	if etag := aws.ToString(object.ETag); !strings.Contains(etag, "-") {
		t.Errorf("the ETag %s is not one of a multipart object", etag)
	}
	if got := object.Metadata["original_size"]; got != strconv.Itoa(largeSize) {
		t.Errorf("original_size %q, want %d", got, largeSize)
	}
	if got, want := object.Metadata["original_crc32"], fmt.Sprintf("%08x", e.crc32); got != want {
		t.Errorf("original_crc32 %q, want %q", got, want)
	}
	e.wantGzip(t, object.Body)
	if got := server.Uploads(t, bucket); len(got) != 0 {
		t.Errorf("multipart uploads are unfinished: %v", got)
	}
}

// wantGzip checks that body is a gzip member (RFC 1952) of the entry. Its deflate
// stream is known, so that it need not be expanded, which would take a minute
// under the race detector.
func (e *largeEntry) wantGzip(t *testing.T, body io.Reader) {
	t.Helper()
	r := bufio.NewReader(body)
	head := make([]byte, 10)
	if _, err := io.ReadFull(r, head); err != nil || !bytes.HasPrefix(head, []byte{0x1f, 0x8b, 8, 0}) {
		t.Fatalf("the object begins with %x, error %v", head, err)
	}
	got, want := sha256.New(), sha256.New()
	for range e.blocks {
		want.Write(e.block)
	}
	want.Write(lastBlock)
	if n, err := io.CopyN(got, r, e.compressed); err != nil || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Errorf("the deflate stream is not the archive's after %d bytes of %d, error %v", n, e.compressed, err)
	}
	trailer := binary.LittleEndian.AppendUint32(nil, e.crc32)
	trailer = binary.LittleEndian.AppendUint32(trailer, largeSize)
	if rest, err := io.ReadAll(r); err != nil || !bytes.Equal(rest, trailer) {
		t.Errorf("the object ends with %x, error %v, want %x", rest, err, trailer)
	}
}

// watched looks at something for each megabyte that is read through it.
type watched struct {
	r           io.Reader
	look        func()
	read, looks int
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if w.read += n; w.read>>20 > w.looks {
		w.looks++
		w.look()
	}
	return n, err
}

// wantNoFiles checks that a process has no file open, but for devices and what
// the kernel tells of itself.
func wantNoFiles(t *testing.T, pid int) {
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Error(err)
		return
	}
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join(folder, e.Name()))
		top := strings.SplitN(to, "/", 3)
		if err == nil && top[0] == "" && !slices.Contains([]string{"dev", "proc", "sys"}, top[1]) {
			t.Errorf("the process has %s open", to)
		}
	}
}

// resident is the most memory that a process ever had resident, in bytes.
func resident(t *testing.T, pid int) int {
	t.Helper()
	return 1024 * procField(t, fmt.Sprintf("/proc/%d/status", pid), "VmHWM:")
}

// written is how many bytes a process has caused to be written to disks.
func written(t *testing.T, pid int) int {
	t.Helper()
	return procField(t, fmt.Sprintf("/proc/%d/io", pid), "write_bytes:")
}

// procField is the number behind a name in a file of /proc.
func procField(t *testing.T, file, name string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s has no %s", file, name)
	return 0
}
