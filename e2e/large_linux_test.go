package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
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
	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/nightly"
	"spillway/testdata/s3server"
)

const (
	largeBlock  = 8 << 20   // bytes that are made; the rest of the entry repeats them
	largeMemory = 160 << 20 // bytes that may be resident with --memory=64MiB
	heldMemory  = 110 << 20 // bytes that may be resident with --memory=32MiB
)

var (
	largeSize = nightly.Pick(400<<20, 1200<<20)       // bytes of the entry, uncompressed
	heldLarge = nightly.Pick[int64](150<<20, 300<<20) // bytes of an archive that has to be held
)

// An entry far larger than the process's memory becomes an object of many parts, without
// the disk.
func TestLargeEntry(t *testing.T) {
	backend := newBackend(t)
	d := backend.start(t, released, "--memory=64MiB", "--spill-quota=0").Daemon
	before := usedBy(t, d).Written

	entry := newLargeEntry(t)
	w := &watched{r: entry.archive(), look: func() { wantNoFiles(t, d.PID()) }}
	a, err := client.Send(client.Within(t), d.API, "dev", w)
	if err != nil {
		t.Fatal(err)
	}
	if a.Status != 201 || !slices.Equal(a.Upload.UploadedKeys, []string{entry.Name}) {
		t.Fatalf("%+v", a)
	}
	if w.looks < 50 {
		t.Errorf("the process was looked at %d times only", w.looks)
	}
	if peak := usedBy(t, d).Peak; peak > largeMemory {
		t.Errorf("%d MiB were resident at the most, want at most %d", peak>>20, largeMemory>>20)
	} else {
		t.Logf("%d MiB were resident at the most", peak>>20)
	}
	if got := usedBy(t, d).Written - before; got != 0 {
		t.Errorf("%d bytes were written to a disk", got)
	}
	entry.wantObject(t, backend, "v1/"+entry.Name)

	again, err := client.Send(client.Within(t), d.API, "dev", entry.archive())
	if err != nil || again.Status != 201 || !slices.Equal(again.Upload.SkippedKeys, []string{entry.Name}) {
		t.Errorf("again: %+v, error %v; want it skipped", again, err)
	}
}

// Large archives that cannot be read forward pass through a process with little memory. Its
// disk is empty when it answers.
func TestLargeHeldArchives(t *testing.T) {
	quota := heldLarge * 11 / 10
	for i, l := range archive.SpillLayouts {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			s := startMeasuredBeside(t, "--memory=32MiB", "--spill-dir="+folder, "--spill-quota="+strconv.FormatInt(quota, 10), "--spill-min-free=0")
			disk := sample(s.PID(), folder)
			s.wantHeld(t, l.Lay(archive.Mixed(uint64(10*i), heldLarge)))
			peak, last := disk.end(t)
			if peak > quota || peak < heldLarge/2 || disk.samples < 50 {
				t.Errorf("%d bytes were on the disk at the most, in %d samples, want some, and at most %d", peak, disk.samples, quota)
			}
			if last != 0 {
				t.Errorf("%d bytes are left on the disk", last)
			}
			wantEmpty(t, s.PID(), folder)
			if most := usedBy(t, s.Daemon).Peak; most > heldMemory {
				t.Errorf("%d MiB were resident at the most, want at most %d", most>>20, heldMemory>>20)
			} else {
				t.Logf("%d MiB resident, %d MiB on the disk at the most", most>>20, peak>>20)
			}
		})
	}
}

// largeEntry is an entry whose text, and whose deflate stream, repeat one block.
type largeEntry struct {
	archive.Entry
	crc32 uint32
}

func newLargeEntry(t *testing.T) *largeEntry {
	t.Helper()
	text := archive.Pattern{Block: archive.Symbols(9, largeBlock), Times: largeSize / largeBlock}
	packed := archive.Deflated(text)
	block := io.MultiReader(bytes.NewReader(packed.Block), bytes.NewReader(packed.End))
	expanded, err := io.ReadAll(flate.NewReader(block))
	if err != nil || !bytes.Equal(expanded, text.Block) {
		t.Fatalf("a block expands to %d bytes, error %v, want %d", len(expanded), err, len(text.Block))
	}
	return &largeEntry{
		archive.Entry{Name: archive.SymbolsName(9), Method: archive.Deflate, Large: &text, LargeRaw: &packed},
		text.CRC32(),
	}
}

// archive returns a zip of the entry, as Python's zipfile writes it.
func (e *largeEntry) archive() io.Reader {
	return archive.Archive{Entries: []archive.Entry{e.Entry}}.Reader()
}

// wantObject checks that the object was stored in parts and decompresses to the entry.
func (e *largeEntry) wantObject(t *testing.T, b backend, key string) {
	t.Helper()
	api := s3.New(s3.Options{
		BaseEndpoint: &b.Endpoint, Region: s3server.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(b.AccessKey, b.SecretKey, ""),
	})
	object, err := api.GetObject(context.WithoutCancel(t.Context()), &s3.GetObjectInput{Bucket: &b.BucketName, Key: &key})
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
	b.WantNoUploads(t)
}

// wantGzip checks that body is a gzip member (RFC 1952) of the entry. It compares the deflate
// stream, which is known, instead of decompressing it.
func (e *largeEntry) wantGzip(t *testing.T, body io.Reader) {
	t.Helper()
	r := bufio.NewReader(body)
	head := make([]byte, 10)
	if _, err := io.ReadFull(r, head); err != nil || !bytes.HasPrefix(head, []byte{0x1f, 0x8b, 8, 0}) {
		t.Fatalf("the object begins with %x, error %v", head, err)
	}
	if at, err := client.FirstDifference(io.LimitReader(r, e.LargeRaw.Size()), e.LargeRaw.Reader()); err != nil || at >= 0 {
		t.Errorf("the deflate stream is not the archive's at byte %d, error %v", at, err)
	}
	trailer := binary.LittleEndian.AppendUint32(nil, e.crc32)
	trailer = binary.LittleEndian.AppendUint32(trailer, uint32(largeSize))
	if rest, err := io.ReadAll(r); err != nil || !bytes.Equal(rest, trailer) {
		t.Errorf("the object ends with %x, error %v, want %x", rest, err, trailer)
	}
}

// watched calls look for each megabyte that is read through it.
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

// wantNoFiles checks that a process has no file open, except in /dev, /proc and /sys.
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

// usedBy returns what a process has used so far.
func usedBy(t *testing.T, d *daemon.Daemon) daemon.Usage {
	t.Helper()
	u, err := daemon.UsageOf(d.PID())
	if err != nil {
		t.Fatal(err)
	}
	return u
}
