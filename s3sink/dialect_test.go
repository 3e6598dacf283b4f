package s3sink_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"spillway/internal/s3event"
	"spillway/s3sink"
	"spillway/testdata/s3quirk"
)

// TestDialects uploads to stores that differ from S3. Each is a proxy before a real server.
func TestDialects(t *testing.T) {
	server := real(t)
	for _, store := range []struct {
		name     string
		quirk    s3quirk.Quirk
		checksum s3event.Checksum
	}{
		{"S3", func(next http.Handler) http.Handler { return next }, s3event.WholeCRC32},
		{"Google's front end", s3quirk.Google(), s3event.WholeCRC32},
		{"no checksum of the whole", s3quirk.PartChecksums(), s3event.PartCRC32},
		{"no checksums, 400", s3quirk.NoChecksums(false), s3event.ContentMD5},
		{"no checksums, 501", s3quirk.NoChecksums(true), s3event.ContentMD5},
		{"checksums are ignored", s3quirk.IgnoresChecksums(), s3event.ContentMD5},
		{"radosgw", s3quirk.RadosGW(), s3event.ContentMD5},
		{"MinIO", s3quirk.Minio(t, server), s3event.WholeCRC32},
	} {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			endpoint := s3quirk.Before(t, server, store.quirk)
			var found []s3event.Checksum
			r := newRig(t, server, func(cfg *s3sink.Config) {
				cfg.Endpoint, cfg.TryPrefix = endpoint, cfg.Prefix
				cfg.OnChecksum = func(_ string, c s3event.Checksum) { found = append(found, c) }
			})
			if err := r.sink.Probe(t.Context()); err != nil {
				t.Errorf("probe: %v", err)
			}
			if !slices.Equal(found, []s3event.Checksum{store.checksum}) {
				t.Errorf("checked by %q, want %q", found, store.checksum)
			}
			r.wantNothing(t)
			r.wantLifeOfAnUpload(t)
		})
	}
}

// wantLifeOfAnUpload uploads files of each form, uploads them again, aborts an upload, and
// sweeps what another one has left.
func (r *rig) wantLifeOfAnUpload(t *testing.T) {
	t.Helper()
	files := mixed(r.budget.PartSize())
	if _, err := r.upload(t, files...); err != nil {
		t.Fatalf("first upload: %v", err)
	}
	for _, f := range files {
		r.wantStored(t, f)
	}
	batch, err := r.upload(t, files...)
	if got := batch.Skipped(); err != nil || len(got) != len(files) {
		t.Errorf("second upload: skipped %q of %d files: %v", got, len(files), err)
	}
	keys := len(r.Keys(t, r.bucket))
	r.leave(t, false, 3)
	if aborted, err := r.sink.Sweep(t.Context(), -2*time.Second); aborted != 3 || err != nil {
		t.Errorf("sweep: %d aborted, want 3: %v", aborted, err)
	}
	r.wantFinished(t)
	if n := len(r.Keys(t, r.bucket)); n != keys {
		t.Errorf("%d objects, want %d", n, keys)
	}
	r.idle(t)
}
