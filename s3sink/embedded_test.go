package s3sink

import (
	"net/http/httptest"
	"testing"

	"spillway/testdata/s3server"
)

// TestEmbeddedWithoutUploads lists the unfinished uploads of a bucket that never had any,
// which is empty, and of a bucket that does not exist, which is an error.
func TestEmbeddedWithoutUploads(t *testing.T) {
	handler, err := NewEmbedded("symbols")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	client := s3server.NewClient(server.URL, "any", "any")
	if uploads := client.Uploads(t, "symbols"); len(uploads) != 0 {
		t.Errorf("unfinished uploads in a new bucket: %v", uploads)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/another?uploads", nil))
	if w.Code != 404 {
		t.Errorf("a bucket that is not there: status %d, want 404", w.Code)
	}
}
