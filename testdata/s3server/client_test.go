package s3server

import (
	"slices"
	"testing"
)

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
