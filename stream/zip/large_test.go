package zip_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"spillway/stream"
	"spillway/stream/zip"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/ziptest"
)

// inParts are the entries that come in parts as they are: stored files, and deflated ones
// that are stored as gzip.
func inParts(size int) map[string]archive.Entry {
	return map[string]archive.Entry{
		"stored":   {Name: "a.dll", Data: archive.Noise(1, size)},
		"deflated": {Name: "a.sym", Data: archive.Noise(1, size), Method: archive.Deflate},
	}
}

func isFormatError(err error) bool {
	_, ok := errors.AsType[*stream.FormatError](err)
	return ok
}

// TestDamageInParts damages an entry of several parts, in each of them. The archive is
// refused, and nothing is left.
func TestDamageInParts(t *testing.T) {
	const size = 3*budgettest.Part + 1000
	for kind, entry := range inParts(size) {
		good := archive.Build(entry)
		begins := bytes.Index(good, []byte(entry.Name)) + len(entry.Name)
		for _, at := range []int{100, budgettest.Part - 100, budgettest.Part + 100, 2*budgettest.Part + 100, size - 100} {
			t.Run(fmt.Sprintf("%s at %d", kind, at), func(t *testing.T) {
				data := bytes.Clone(good)
				data[begins+at] ^= 0xff
				store, _, err := ziptest.Reading{Data: data}.Do(t)
				_, otherSum := errors.AsType[*stream.ChecksumError](err)
				if !isFormatError(err) && !otherSum {
					t.Errorf("the error is %v", err)
				}
				if kept := store.Kept(); len(kept) > 0 {
					t.Errorf("%d objects are kept", len(kept))
				}
			})
		}
		t.Run(kind+", cut off", func(t *testing.T) {
			for _, end := range []int{budgettest.Part / 2, budgettest.Part + 100, size} {
				_, _, err := ziptest.Reading{Data: good[:end]}.Do(t)
				if e, ok := errors.AsType[*zip.NotZipError](err); !ok || !e.CutOff || e.Entry != entry.Name {
					t.Errorf("at %d: the error is %v", end, err)
				}
			}
		})
		t.Run(kind+", one after the other", func(t *testing.T) {
			other := entry
			other.Name = "b" + entry.Name[1:]
			store, _, err := ziptest.Reading{Data: archive.Build(entry, other)}.Do(t)
			if err != nil {
				t.Fatal(err)
			}
			if got := ziptest.Contents(t, store); !bytes.Equal(got[entry.Name], entry.Data) || !bytes.Equal(got[other.Name], entry.Data) {
				t.Error("the objects have other contents")
			}
		})
		t.Run(kind+", stored already", func(t *testing.T) {
			m := budgettest.New(t)
			store := ziptest.NewStore(t, m)
			store.OnPart = func(context.Context, *ziptest.Object) (bool, error) { return false, nil }
			store, report, err := ziptest.Reading{Data: good, Budget: m, Store: store}.Do(t)
			if err != nil {
				t.Fatal(err)
			}
			if o := store.Kept()[0]; report.Uncompressed != size || o.BodyLength > 0 || o.Facts.Size != size {
				t.Errorf("%d bytes verified, %d sent: %+v", report.Uncompressed, o.BodyLength, o.Facts)
			}
		})
	}
}

// TestPartsAreVerifiedAsTheyFill has a client that stalls in the third part. The damage in
// the first one is found meanwhile, and ends the upload.
func TestPartsAreVerifiedAsTheyFill(t *testing.T) {
	const size = 4 * budgettest.Part
	entry := inParts(size)["deflated"]
	good := archive.Build(entry)
	synctest.Test(t, func(t *testing.T) {
		data := bytes.Clone(good)
		data[bytes.Index(data, []byte(entry.Name))+len(entry.Name)] |= 6 // no block is of this type
		source := ziptest.StallAt(data, 2*budgettest.Part+1000)
		if _, _, err := (ziptest.Reading{Source: source}).Do(t); !isFormatError(err) {
			t.Errorf("the error is %v", err)
		}
	})
}
