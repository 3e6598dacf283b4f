package main

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/s3server"
)

const (
	heldSmall  = 10_000
	heldLarge  = 300 << 20
	heldMemory = 110 << 20 // what the process may have resident, with --memory 32MiB
)

// Archives that cannot be read forward are stored byte for byte. Small ones need
// no disk.
func TestHeldArchives(t *testing.T) {
	for _, quota := range []string{"0", "4GiB"} {
		t.Run("--spill-quota="+quota, func(t *testing.T) {
			t.Parallel()
			for i, l := range archive.Layouts {
				t.Run(l.Name, func(t *testing.T) {
					folder := t.TempDir()
					s := startBeside(t, "--spill-dir="+folder, "--spill-quota="+quota)
					s.wantHeld(t, l.Lay(archive.Mixed(uint64(10*i), heldSmall)))
					wantEmpty(t, s.PID(), folder)
				})
			}
		})
	}
}

// Large ones go through a process of little memory, and its disk is empty when
// it answers.
func TestLargeHeldArchives(t *testing.T) {
	const quota = heldLarge * 11 / 10
	binary, err := plainProgram()
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range archive.Layouts {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			server := s3server.Start(t)
			bucket := server.Bucket(t)
			folder := t.TempDir()
			d := startBinary(t, binary, credentialsOf(server), "--dev", "--log-format=json",
				"--s3-endpoint="+server.Endpoint, "--s3-bucket="+bucket, "--memory=32MiB",
				"--spill-dir="+folder, "--spill-quota="+strconv.Itoa(quota), "--spill-min-free=0")
			s := system{d, server.Client, bucket}
			disk := sample(d.PID(), folder)
			s.wantHeld(t, l.Lay(archive.Mixed(uint64(10*i), heldLarge)))
			peak, last := disk.end(t)
			if peak > quota || peak < heldLarge/2 || disk.samples < 100 {
				t.Errorf("%d bytes were on the disk at the most, in %d samples, want some, and at most %d", peak, disk.samples, quota)
			}
			if last != 0 {
				t.Errorf("%d bytes are left on the disk", last)
			}
			wantEmpty(t, d.PID(), folder)
			if most := resident(t, d.PID()); most > heldMemory {
				t.Errorf("%d MiB were resident at the most, want at most %d", most>>20, heldMemory>>20)
			} else {
				t.Logf("%d MiB resident, %d MiB on the disk at the most", most>>20, peak>>20)
			}
		})
	}
}

// wantHeld uploads an archive and checks that its entries are what the bucket
// holds.
func (s system) wantHeld(t *testing.T, a archive.Archive) {
	t.Helper()
	got, err := send(within(t), s.API, "dev", a.Reader())
	if err != nil {
		t.Fatal(err)
	}
	if got.status != 201 || len(got.Upload.UploadedKeys) != len(a.Entries) {
		t.Fatalf("%+v, want %d files stored", got, len(a.Entries))
	}
	s.wantEntries(t, a.Entries)
	s.wantNoUploads(t)
}

// wantEntries checks that the bucket holds the entries of patterns, as the
// service stores them, and nothing else.
func (s system) wantEntries(t *testing.T, entries []archive.Entry) {
	t.Helper()
	keys := []string{}
	for _, e := range entries {
		keys = append(keys, "v1/"+e.Name)
		s.wantEntry(t, e)
	}
	slices.Sort(keys)
	if got := s.s3.Keys(t, s.bucket); !slices.Equal(got, keys) {
		t.Errorf("the bucket holds %q, want %q", got, keys)
	}
}

func (s system) wantEntry(t *testing.T, e archive.Entry) {
	t.Helper()
	body, object, err := s.s3.Open(context.WithoutCancel(t.Context()), s.bucket, "v1/"+e.Name)
	if err != nil {
		t.Error(err)
		return
	}
	defer body.Close()
	content := io.Reader(body)
	if strings.HasSuffix(e.Name, ".sym") {
		if object.ContentEncoding != "gzip" || object.ContentType != "text/plain" {
			t.Errorf("%s: %+v", e.Name, object)
		}
		if content, err = gzip.NewReader(body); err != nil {
			t.Errorf("%s: %v", e.Name, err)
			return
		}
	}
	if at, err := differ(content, e.Large.Reader()); err != nil || at >= 0 {
		t.Errorf("%s: the object differs from the file at byte %d, error %v", e.Name, at, err)
	}
	for key, want := range map[string]string{
		"original_size":  strconv.FormatInt(e.Large.Size(), 10),
		"original_crc32": fmt.Sprintf("%08x", e.Large.CRC32()),
	} {
		if got := object.Metadata[key]; got != want {
			t.Errorf("%s: %s is %q, want %q", e.Name, key, got, want)
		}
	}
}
