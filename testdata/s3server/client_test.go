package s3server

import (
	"slices"
	"testing"
)

// TestEach starts every server that is installed here, twice at once, and ends it.
func TestEach(t *testing.T) {
	Each(t, func(t *testing.T, k Kind) {
		version, err := k.Version()
		if err != nil || version == "" {
			t.Errorf("version %q, error %v", version, err)
		}
		one, other := k.Start(t), k.Start(t)
		bucket := one.Bucket(t)
		one.Put(t, bucket, "key", Object{Body: []byte("body")})
		if keys := one.Keys(t, bucket); len(keys) != 1 {
			t.Errorf("keys %q", keys)
		}
		if _, err := other.ListKeys(t.Context(), bucket); err == nil {
			t.Error("both servers have the same buckets")
		}
	})
}

// TestUploadsOnPages: all are listed, wherever a page ends.
func TestUploadsOnPages(t *testing.T) {
	server, err := New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	bucket := server.Bucket(t)
	want := []string{"a", "a", "b", "c", "c", "c", "d"}
	for _, key := range want {
		server.Begin(t, bucket, key)
	}
	for _, limit := range []int32{4, 5, 6, 7, 1000} {
		uploads, err := server.listUploads(t.Context(), bucket, limit)
		if err != nil {
			t.Fatalf("pages of %d: %v", limit, err)
		}
		var keys []string
		ids := map[string]bool{}
		for _, u := range uploads {
			keys = append(keys, u.Key)
			ids[u.ID] = true
		}
		if !slices.Equal(keys, want) || len(ids) != len(want) {
			t.Errorf("pages of %d: %q with %d different identifiers", limit, keys, len(ids))
		}
	}
	if _, err := server.listUploads(t.Context(), bucket, 3); err == nil {
		t.Error("three of one key on pages of three, of which there might be more: no error")
	}
}
