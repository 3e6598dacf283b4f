package client

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"spillway/testdata/archive"
	"spillway/testdata/s3server"
)

// Bucket is the bucket of a service, in the S3 server behind it.
type Bucket struct {
	Store      s3server.Client
	BucketName string
}

// Stored are the files of an archive that become objects, sorted by name.
func Stored(files []archive.File) []archive.File {
	var out []archive.File
	for _, f := range files {
		if !strings.HasSuffix(f.Name, "/") && !strings.HasSuffix(f.Name, "-symbols.txt") {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b archive.File) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Keys lists the objects of the bucket, sorted, without those of the service's probe, which
// come and go.
func (b Bucket) Keys(t *testing.T) []string {
	t.Helper()
	keys, err := b.ListKeys(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// ListKeys is Keys outside of a test.
func (b Bucket) ListKeys(ctx context.Context) ([]string, error) {
	keys, err := b.Store.ListKeys(ctx, b.BucketName)
	return slices.DeleteFunc(keys, isProbe), err
}

func isProbe(key string) bool { return strings.HasPrefix(path.Base(key), ".spillway-probe") }

// WantStored checks that the bucket holds these files under prefix, as the
// service stores them, and nothing else.
func (b Bucket) WantStored(t *testing.T, prefix string, files []archive.File) {
	t.Helper()
	differences, err := b.Differences(context.WithoutCancel(t.Context()), prefix, files)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range differences {
		t.Error(d)
	}
}

// Differences returns in what the bucket differs from one that holds these files under
// prefix, as the service stores them, and nothing else.
func (b Bucket) Differences(ctx context.Context, prefix string, files []archive.File) (all []string, err error) {
	files = Stored(files)
	keys := []string{}
	for _, f := range files {
		keys = append(keys, prefix+f.Name)
	}
	got, err := b.ListKeys(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(got, keys) {
		all = append(all, fmt.Sprintf("the bucket holds %q, want %q", got, keys))
	}
	for _, f := range files {
		if !slices.Contains(got, prefix+f.Name) {
			continue
		}
		body, o, err := b.Store.Open(ctx, b.BucketName, prefix+f.Name)
		if err != nil {
			return nil, err
		}
		o.Body, err = io.ReadAll(body)
		if err = errors.Join(err, body.Close()); err != nil {
			return nil, err
		}
		for _, d := range differences(o, f) {
			all = append(all, f.Name+": "+d)
		}
	}
	return all, nil
}

// differences returns in what an object differs from a file, as the service stores it.
func differences(o s3server.Object, f archive.File) (all []string) {
	complain := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	contentType, encoding, body := "application/octet-stream", "", o.Body
	if strings.HasSuffix(f.Name, ".sym") {
		contentType, encoding = "text/plain", "gzip"
		var err error
		if body, err = gunzip(o.Body); err != nil {
			complain("%v", err)
		}
	}
	if o.ContentType != contentType {
		complain("Content-Type %q, want %q", o.ContentType, contentType)
	}
	if !bytes.Equal(body, f.Data) {
		complain("the object is %d bytes that are not the %d of the file", len(body), len(f.Data))
	}
	if o.ContentEncoding != encoding {
		complain("Content-Encoding %q, want %q", o.ContentEncoding, encoding)
	}
	sum := md5.Sum(f.Data)
	for key, want := range map[string]string{
		"original_size":     strconv.Itoa(len(f.Data)),
		"original_crc32":    fmt.Sprintf("%08x", crc32.ChecksumIEEE(f.Data)),
		"original_md5_hash": hex.EncodeToString(sum[:]),
	} {
		if got := o.Metadata[key]; got != want {
			complain("%s is %q, want %q", key, got, want)
		}
	}
	return all
}

// WantNothing checks that the bucket holds no object and no unfinished upload.
func (b Bucket) WantNothing(t *testing.T) {
	t.Helper()
	b.WantStored(t, "", nil)
	b.WantNoUploads(t)
}

// WantNoUploads checks that no multipart upload is unfinished, but the probe's.
func (b Bucket) WantNoUploads(t *testing.T) {
	t.Helper()
	got := slices.DeleteFunc(b.Store.Uploads(t, b.BucketName), func(u s3server.Upload) bool { return isProbe(u.Key) })
	if len(got) != 0 {
		t.Errorf("multipart uploads are unfinished: %v", got)
	}
}

// WantEntries checks that the bucket holds the entries of patterns, as the
// service stores them, and nothing else.
func (b Bucket) WantEntries(t *testing.T, entries []archive.Entry) {
	t.Helper()
	keys := []string{}
	for _, e := range entries {
		keys = append(keys, "v1/"+e.Name)
		b.WantEntry(t, e)
	}
	slices.Sort(keys)
	if got := b.Keys(t); !slices.Equal(got, keys) {
		t.Errorf("the bucket holds %q, want %q", got, keys)
	}
}

// WantEntry checks that the bucket holds an entry, as the service stores it.
func (b Bucket) WantEntry(t *testing.T, e archive.Entry) {
	t.Helper()
	body, object, err := b.Store.Open(context.WithoutCancel(t.Context()), b.BucketName, "v1/"+e.Name)
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
	if at, err := FirstDifference(content, e.Large.Reader()); err != nil || at >= 0 {
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

// FirstDifference returns the first place where two contents are not the same, -1 if
// there is none.
func FirstDifference(a, b io.Reader) (int64, error) {
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
