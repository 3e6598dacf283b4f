package e2e

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/client"
	"spillway/testdata/s3server"
)

// TestSkips uploads to a bucket that others have written: Tecken, whose objects have a size
// and perhaps an MD5, and Spillway, whose objects have a CRC-32 and perhaps an MD5. Every
// size and hash that an object has must be the entry's, and one hash is needed at least. How
// an entry reaches the store makes no difference: held, or in parts.
func TestSkips(t *testing.T) {
	t.Parallel()
	s := startBeside(t)
	const (
		right, wrong, none = "right", "wrong", ""
		stored             = 0 // the zip method
	)
	n := uint64(0)
	var (
		entries []archive.Entry
		want    []string
	)
	for _, kind := range []struct {
		extension string
		size      int
		method    uint16
	}{
		{".sym", 40_000, archive.Deflate}, // held
		{".dll", 40_000, stored},
		{".dll", 9 << 20, stored}, // in parts
		{".sym", 9 << 20, archive.Deflate},
	} {
		data := archive.Noise(1, kind.size)
		for _, test := range []struct {
			size, crc, md5 string // of the object's metadata
			skipped        bool
		}{
			{right, none, right, true}, // Tecken
			{right, none, wrong, false},
			{wrong, none, right, false},
			{right, none, none, false},
			{none, none, none, false},
			{right, right, right, true}, // Spillway, held
			{right, right, wrong, false},
			{right, wrong, right, false},
			{right, right, none, true}, // Spillway, in parts
			{right, wrong, none, false},
			{wrong, right, none, false},
		} {
			n++
			f := archive.Entry{Name: archive.SymbolsName(n), Data: data, Method: kind.method}
			if kind.extension == ".dll" {
				f.Name += kind.extension
			}
			entries = append(entries, f)
			o := s3server.Object{Body: []byte("written by another"), Metadata: map[string]string{}}
			set := func(name, state, value, other string) {
				switch state {
				case right:
					o.Metadata[name] = value
				case wrong:
					o.Metadata[name] = other
				}
			}
			sum, crc := md5.Sum(f.Data), crc32.ChecksumIEEE(f.Data)
			set("original_size", test.size, strconv.Itoa(kind.size), strconv.Itoa(kind.size+1))
			set("original_crc32", test.crc, fmt.Sprintf("%08x", crc), fmt.Sprintf("%08x", crc+1))
			set("original_md5_hash", test.md5, hex.EncodeToString(sum[:]), hex.EncodeToString(sum[1:])+"00")
			s.Store.Put(t, s.BucketName, "v1/"+f.Name, o)
			if test.skipped {
				want = append(want, f.Name)
			}
		}
	}
	a := client.MustSend(t, s.API, "dev", archive.Build(entries...))
	if a.Status != 201 {
		t.Fatalf("%+v", a)
	}
	got := slices.Sorted(slices.Values(a.Upload.SkippedKeys))
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("skipped %q, want %q", got, want)
	}
}
