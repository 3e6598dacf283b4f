package ziptest

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
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"spillway/stream"
	"spillway/testdata/archive"
)

// GzipHeader begins each object of the form Gzip (RFC 1952, section 2.3): no flags, no time,
// unknown system.
const GzipHeader = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

// Contents returns the contents of the objects in s, by name. It checks each object's form,
// parts and facts.
func Contents(t testing.TB, s *Store) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for _, o := range s.Kept() {
		if _, twice := all[o.Name]; twice {
			t.Errorf("two objects are named %q", o.Name)
		}
		content := o.Body
		if o.Form == stream.Gzip {
			var err error
			if content, err = gunzip(o.Body); err != nil {
				t.Errorf("object %q: %v", o.Name, err)
			}
		}
		if want := max(0, (len(o.Body)-1)/s.PartSize); o.Parts != want {
			t.Errorf("object %q of %d bytes has %d parts before the rest, want %d", o.Name, len(o.Body), o.Parts, want)
		}
		size, sum := int64(len(content)), crc32.ChecksumIEEE(content)
		if f := o.Facts; f.Size != size || f.CRC32 != sum || f.HasMD5 && f.MD5 != md5.Sum(content) || !f.HasMD5 && s.NeedsMD5 == nil {
			t.Errorf("object %q of %d bytes with CRC-32 %08x: %+v", o.Name, size, sum, f)
		}
		if o.Stated && (o.Size != size || o.CRC32 != sum) || !o.Stated && (o.Size != 0 || o.CRC32 != 0) {
			t.Errorf("object %q of %d bytes with CRC-32 %08x was created as %+v", o.Name, size, sum, o.Entry)
		}
		all[o.Name] = content
	}
	return all
}

// gunzip returns the content of a body of the form Gzip. The body must be one member.
func gunzip(body []byte) ([]byte, error) {
	if !bytes.HasPrefix(body, []byte(GzipHeader)) {
		return nil, fmt.Errorf("starts with % x", body[:min(len(body), len(GzipHeader))])
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

// Reference returns what the standard library reads from an archive, without directories. Of
// several entries of the same name, it returns the last.
func Reference(data []byte) (map[string][]byte, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	z.RegisterDecompressor(archive.BZip2, func(r io.Reader) io.ReadCloser { return io.NopCloser(bzip2.NewReader(r)) })
	z.RegisterDecompressor(archive.Zstd, zstd.ZipDecompressor(zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1)))
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

// CheckSame checks that two readings of an archive have the same entries.
func CheckSame(t testing.TB, got, want map[string][]byte) {
	t.Helper()
	if a, b := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(a, b) {
		t.Fatalf("the entries are %q, want %q", a, b)
	}
	for name := range want {
		if !bytes.Equal(got[name], want[name]) {
			t.Errorf("entry %q: %s, want %s", name, Abridged(got[name]), Abridged(want[name]))
		}
	}
}

// Abridged returns b for a message.
func Abridged(b []byte) string {
	if len(b) > 80 {
		return fmt.Sprintf("%q… (%d bytes)", b[:80], len(b))
	}
	return fmt.Sprintf("%q", b)
}

// CheckError checks that err is want. Of a [*stream.FormatError], want's Reason may be a part.
func CheckError(t *testing.T, err, want error) {
	t.Helper()
	ok := false
	if format, is := want.(*stream.FormatError); is { //nolint:errorlint // want is never wrapped
		got, is := errors.AsType[*stream.FormatError](err)
		ok = is && got.Entry == format.Entry && strings.Contains(got.Reason, format.Reason)
	} else {
		ok = reflect.DeepEqual(err, want) || errors.Is(err, want)
	}
	if !ok {
		t.Errorf("the error is %v (%T), want %v (%T)", err, err, want, want)
	}
}
