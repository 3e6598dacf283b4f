package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"spillway/testdata/archive"
)

// heldSmall is the size of archives that need no disk.
const heldSmall = 10_000

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

// differ returns the first place where two contents are not the same, -1 if
// there is none.
func differ(a, b io.Reader) (int64, error) {
	const block = 64 << 10
	inA, inB := make([]byte, block), make([]byte, block)
	for at := int64(0); ; at += block {
		n, errA := io.ReadFull(a, inA)
		m, errB := io.ReadFull(b, inB)
		if !bytes.Equal(inA[:min(n, m)], inB[:min(n, m)]) {
			for i := range min(n, m) {
				if inA[i] != inB[i] {
					return at + int64(i), nil
				}
			}
		}
		if n != m {
			return at + int64(min(n, m)), nil
		}
		for _, err := range []error{errA, errB} {
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return at, err
			}
		}
		if n < block {
			return -1, nil
		}
	}
}
