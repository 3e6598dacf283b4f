package stream_test

import (
	"archive/zip"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"crypto/md5"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"spillway/stream"
)

// gzipHeader is what each object of the form Gzip starts with (RFC 1952,
// section 2.3): no flags, no time, an unknown system.
const gzipHeader = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

// contents is what the archive's entries hold according to s, by name. On the
// way it checks every object on its own: its form, its parts and its facts.
func contents(t testing.TB, s *store) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for _, o := range s.kept() {
		if _, twice := all[o.Name]; twice {
			t.Errorf("two objects are called %q", o.Name)
		}
		content := o.body
		if o.Form == stream.Gzip {
			var err error
			if content, err = gunzip(o.body); err != nil {
				t.Errorf("object %q: %v", o.Name, err)
			}
		}
		if want := max(0, (len(o.body)-1)/s.partSize); o.parts != want {
			t.Errorf("object %q of %d bytes came in %d parts and a rest, want %d", o.Name, len(o.body), o.parts, want)
		}
		size, sum := int64(len(content)), crc32.ChecksumIEEE(content)
		if f := o.facts; f.Size != size || f.CRC32 != sum || f.MD5 != md5.Sum(content) {
			t.Errorf("object %q of %d bytes with CRC-32 %08x: %+v", o.Name, size, sum, f)
		}
		if o.Stated && (o.Size != size || o.CRC32 != sum) || !o.Stated && (o.Size != 0 || o.CRC32 != 0) {
			t.Errorf("object %q of %d bytes with CRC-32 %08x was created as %+v", o.Name, size, sum, o.Entry)
		}
		all[o.Name] = content
	}
	return all
}

// gunzip returns what a body of the form Gzip holds, which is one member and
// no more.
func gunzip(body []byte) ([]byte, error) {
	if !bytes.HasPrefix(body, []byte(gzipHeader)) {
		return nil, fmt.Errorf("starts with % x", body[:min(len(body), len(gzipHeader))])
	}
	rest := bytes.NewReader(body)
	z, err := gzip.NewReader(rest)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	content, err := io.ReadAll(z)
	if err == nil && rest.Len() > 0 {
		err = fmt.Errorf("%d bytes follow its gzip member", rest.Len())
	}
	return content, err
}

// reference is what the standard library sees in an archive, the last of the
// entries of one name, directories left out.
func reference(data []byte) (map[string][]byte, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	z.RegisterDecompressor(methodBzip2, func(r io.Reader) io.ReadCloser { return io.NopCloser(bzip2.NewReader(r)) })
	z.RegisterDecompressor(methodZstd, zstd.ZipDecompressor(zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1)))
	all := make(map[string][]byte)
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		if all[f.Name], err = readFile(f); err != nil {
			return nil, fmt.Errorf("%q: %w", f.Name, err)
		}
	}
	return all, nil
}

func readFile(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

// checkSame checks that two readings of one archive saw the same.
func checkSame(t testing.TB, got, want map[string][]byte) {
	t.Helper()
	if a, b := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(a, b) {
		t.Fatalf("the entries are %q, want %q", a, b)
	}
	for name := range want {
		if !bytes.Equal(got[name], want[name]) {
			t.Errorf("entry %q: %s, want %s", name, abridged(got[name]), abridged(want[name]))
		}
	}
}

func abridged(b []byte) string {
	if len(b) > 80 {
		return fmt.Sprintf("%q… (%d bytes)", b[:80], len(b))
	}
	return fmt.Sprintf("%q", b)
}
